// SPDX-License-Identifier: Apache-2.0
#include "app/io_shell.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "app/io_arguments.h"
#include "app/io_output.h"
#include "base/assert.h"
#include "graph/graph.h"
#include "graph/storage_address.h"

namespace zbdkit::app {
namespace {

std::vector<const IoCommand*> sorted_commands() {
    std::vector<const IoCommand*> commands;
    for (const auto& group : {io_read_commands(), io_write_commands(), io_fact_commands(),
                              io_async_commands(), io_zone_commands(), io_tool_commands()}) {
        for (const IoCommand& command : group) commands.push_back(&command);
    }
    std::ranges::sort(commands, {}, &IoCommand::name);
    return commands;
}

std::string expected_count(const IoCommand& command) {
    if (command.most_words == IoCommand::kAnyNumber) {
        return fmt::format("at least {}", command.least_words);
    }
    if (command.least_words == command.most_words) return std::to_string(command.least_words);
    return fmt::format("between {} and {}", command.least_words, command.most_words);
}

bool accepts_count(const IoCommand& command, std::size_t count) {
    const auto words = static_cast<int>(count);
    return words >= command.least_words &&
           (command.most_words == IoCommand::kAnyNumber || words <= command.most_words);
}

Task<void> join(TaskScope& scope) { co_await scope.join(); }

/// Opens what is at the address to look at it, and closes it again.
Task<Outcome<std::string_view>> probe_address(OpenContext& context, std::string address) {
    OptionValues options = co_await ok(storage_options(address));
    options.replace("read-only", "on");
    NamedNodes none;
    const std::unique_ptr<BlockNode> node =
        co_await ok(open_node(context, std::move(options), none));
    const std::string_view format = co_await format_of(*node);
    co_await ok(node->close());
    co_return format;
}

/// The plan for an opening; of an address that nobody named a format for, after a look at it.
Outcome<IoPlan> make_plan(Workshop& workshop, IoOpening opening) {
    const bool is_probed = needs_probe(opening);
    if (is_probed) {
        Outcome<std::string_view> format =
            workshop.run(probe_address(workshop.context(), opening.filename));
        if (!format) return std::unexpected(std::move(format.error()));
        opening.options.replace("driver", std::string(*format));
    }
    Outcome<IoPlan> plan = plan_io_opening(opening);
    if (plan && is_probed) plan->guessed_raw = opening.options.text("driver") == "raw";
    return plan;
}

}  // namespace

const std::vector<const IoCommand*>& io_commands() {
    static const std::vector<const IoCommand*> kCommands = sorted_commands();
    return kCommands;
}

const IoCommand* find_io_command(std::string_view word) {
    const auto& commands = io_commands();
    const auto found = std::ranges::find_if(commands, [word](const IoCommand* command) {
        return command->name == word || (!command->alias.empty() && command->alias == word);
    });
    return found == commands.end() ? nullptr : *found;
}

std::string usage_line(const IoCommand& command, std::string_view name) {
    return fmt::format("{}{}{} -- {}", name, command.arguments.empty() ? "" : " ",
                       command.arguments, command.summary);
}

std::unexpected<Failure> misuse(const IoCommand& command) {
    return failure(usage_line(command, command.name), Errc::not_supported);
}

bool refuse_feature(const IoShell& shell, std::string_view command, std::string_view reason) {
    refuse(command, Error{Errc::not_supported, 0, ""});
    complain("{}: {}", shell.program(), reason);
    return false;
}

IoShell::~IoShell() { ZBDKIT_ASSERT(disk_ == nullptr); }

bool IoShell::may_run(const IoCommand& command, const CommandWords& words) const {
    if (command.needs_disk && !has_disk()) {
        complain("no file open, try 'help open'");
        return false;
    }
    if (!accepts_count(command, words.count())) {
        complain("bad argument count {} to {}, expected {} arguments", words.count(), words.word(0),
                 expected_count(command));
        return false;
    }
    if (command.modifies && disk_->info().read_only) {
        complain("{}: Block node is read-only", program_);
        return false;
    }
    return true;
}

bool IoShell::run_line(std::string_view line) {
    CommandWords words(split_words(line));
    if (words.is_empty()) return true;
    const IoCommand* command = find_io_command(words.word(0));
    if (command == nullptr) {
        complain("command \"{}\" not found", words.word(0));
        return false;
    }
    return may_run(*command, words) && command->run(*this, *command, words);
}

bool IoShell::open_disk(const IoOpening& opening) {
    ZBDKIT_ASSERT(!has_disk());
    const std::string place = opening.filename.empty() ? "" : " device " + opening.filename;
    Outcome<IoPlan> plan = make_plan(workshop_, opening);
    if (!plan) {
        complain("{}: can't open{}: {}", program_, place, plan.error().message);
        return false;
    }
    Outcome<std::unique_ptr<IoDisk>> disk =
        IoDisk::open(workshop_, std::move(plan->options), IoDisk::modes_of(opening));
    if (!disk) {
        complain("{}: can't open{}: {}", program_, place, disk.error().message);
        return false;
    }
    disk_ = std::move(*disk);
    if (plan->guessed_raw && !disk_->info().read_only) {
        complain("{}: '{}' is no zoned image and is taken as raw; -f raw says so without this line",
                 program_, opening.filename);
    }
    return true;
}

bool IoShell::close_disk() {
    finish_requests();
    if (!has_disk()) return true;
    const Outcome<void> closed = run(disk_->close());
    disk_.reset();
    if (!closed) complain("{}: {}", program_, closed.error().message);
    return closed.has_value();
}

void IoShell::finish_requests() { run(join(requests_)); }

}  // namespace zbdkit::app
