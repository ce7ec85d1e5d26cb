// SPDX-License-Identifier: Apache-2.0
// Commands about the shell itself: open, close, help, quit, sleep, abort, sigraise; and those of
// qemu-io that have nothing to act on here, refused with the reason.
#include <fmt/format.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <utility>

#include "app/io_arguments.h"
#include "app/io_number.h"
#include "app/io_output.h"
#include "app/io_shell.h"

namespace zbdkit::app {
namespace {

constexpr std::uint64_t kNanosecondsInMillisecond = 1'000'000;

bool complain_of(const IoShell& shell, const Failure& failure) {
    complain("{}: {}", shell.program(), failure.message);
    return false;
}

// --- open, close --------------------------------------------------------------------------------

/// Adds "key=value,..." to the options.
Outcome<void> add_options(OptionValues& options, const std::string& text) {
    const Outcome<OptionValues> more = OptionValues::parse(text, "", "node options");
    if (!more) return std::unexpected(more.error());
    for (const auto& [key, value] : more->items()) options.replace(key, value);
    return {};
}

Outcome<void> take_open_option(const IoCommand& self, CommandWords& words, int letter,
                               IoOpening& opening) {
    switch (letter) {
        case 'k': return {};
        case 'i': return check_io_aio_mode(words.value());
        case 'n': opening.cache = IoCache::none; return {};
        case 'o': return add_options(opening.options, words.value());
        case 'r': opening.read_only = true; return {};
        case 'U': opening.force_share = true; return {};
        case 's': return failure(std::string(kNoSnapshot), Errc::not_supported);
        case 'C': return failure(std::string(kNoCopyOnRead), Errc::not_supported);
        case 't': {
            const Outcome<IoCache> cache = parse_io_cache(words.value());
            if (!cache) return std::unexpected(cache.error());
            opening.cache = *cache;
            return {};
        }
        case 'd': {
            const Outcome<bool> discards = parse_io_discard(words.value());
            if (!discards) return std::unexpected(discards.error());
            opening.discards = *discards;
            return {};
        }
        default: return misuse(self);
    }
}

bool run_open(IoShell& shell, const IoCommand& self, CommandWords& words) {
    IoOpening opening{.options = OptionValues("node options")};
    for (int letter = 0; (letter = words.next_option("Cd:i:kno:rst:U")) != -1;) {
        const Outcome<void> taken = take_open_option(self, words, letter, opening);
        if (taken) continue;
        return letter == '?' ? refuse(taken.error()) : complain_of(shell, taken.error());
    }
    const std::vector<std::string> operands = words.operands();
    if (operands.size() > 1) return refuse(misuse(self).error());
    if (!operands.empty()) opening.filename = operands[0];
    if (shell.has_disk()) {
        complain("{}: file open already, try 'help close'", shell.program());
        return false;
    }
    return shell.open_disk(opening);
}

bool run_close(IoShell& shell, const IoCommand& /*self*/, CommandWords& /*words*/) {
    return shell.close_disk();
}

// --- help, quit, sleep --------------------------------------------------------------------------

bool run_help(IoShell& /*shell*/, const IoCommand& /*self*/, CommandWords& words) {
    const std::string wanted = words.count() == 0 ? "" : words.word(1);
    if (wanted.empty()) {
        for (const IoCommand* command : io_commands()) {
            say("{}\n", usage_line(*command, command->name));
        }
        say("\nUse 'help commandname' for extended help.\n");
        return true;
    }
    const IoCommand* command = find_io_command(wanted);
    if (command == nullptr) {
        say("command {} not found\n", wanted);
        return false;
    }
    say("{}\n{}", usage_line(*command, wanted), command->details);
    return true;
}

bool run_quit(IoShell& shell, const IoCommand& /*self*/, CommandWords& /*words*/) {
    shell.end();
    return true;
}

Task<void> nap(Reactor& reactor, std::uint64_t duration_ns) {
    co_await reactor.sleep_ns(duration_ns);
}

bool run_sleep(IoShell& shell, const IoCommand& /*self*/, CommandWords& words) {
    const Outcome<std::uint64_t> milliseconds = parse_io_milliseconds(words.word(1));
    if (!milliseconds) return refuse(milliseconds.error());
    shell.run(nap(shell.reactor(), *milliseconds * kNanosecondsInMillisecond));
    return true;
}

// --- abort, sigraise ----------------------------------------------------------------------------

bool run_abort(IoShell& /*shell*/, const IoCommand& /*self*/, CommandWords& /*words*/) {
    std::abort();
}

bool run_sigraise(IoShell& /*shell*/, const IoCommand& /*self*/, CommandWords& words) {
    const Outcome<std::uint64_t> number = parse_io_number(words.word(1));
    if (!number) return refuse(number.error());
    if (*number < 1 || *number > static_cast<std::uint64_t>(SIGRTMAX)) {
        say("signal argument '{}' is no signal number\n", words.word(1));
        return false;
    }
    std::fflush(stdout);
    return std::raise(static_cast<int>(*number)) == 0;
}

// --- Refused ------------------------------------------------------------------------------------

bool refuse_breakpoint(IoShell& shell, const IoCommand& self, CommandWords& /*words*/) {
    complain(
        "{}: {} is not supported: drivers here have no breakpoints; driver 'delay' holds "
        "requests back",
        shell.program(), self.name);
    return false;
}

bool refuse_reopen(IoShell& shell, const IoCommand& self, CommandWords& /*words*/) {
    complain("{}: {} is not supported: expected close, and open with the new options",
             shell.program(), self.name);
    return false;
}

constexpr std::string_view kOpenDetails =
    "\n"
    "Opens a disk for the commands that follow: a file, or what the options say.\n"
    "Example: 'open -n -o driver=raw /tmp/data' opens a file as it is, without the page cache.\n"
    " -r  for reading only\n"
    " -n  without the host's page cache, as -t none\n"
    " -t  cache mode: none, directsync, writeback, writethrough, unsafe\n"
    " -d  discard mode: unmap, ignore\n"
    " -o  options of the node: key=value,...\n"
    " -U  also if it is in use (with -r)\n"
    " -k, -i  accepted: all requests go through io_uring\n"
    " -s, -C  refused: there are no snapshots, and nothing to copy from\n"
    "\n";

constexpr std::array kCommands = {
    IoCommand{.name = "open",
              .alias = "o",
              .least_words = 1,
              .most_words = IoCommand::kAnyNumber,
              .arguments = "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]",
              .summary = "open the file specified by path",
              .details = kOpenDetails,
              .needs_disk = false,
              .run = run_open},
    IoCommand{
        .name = "close", .alias = "c", .summary = "close the current open file", .run = run_close},
    IoCommand{.name = "help",
              .alias = "?",
              .most_words = 1,
              .arguments = "[command]",
              .summary = "help for one or all commands",
              .needs_disk = false,
              .run = run_help},
    IoCommand{.name = "quit",
              .alias = "q",
              .most_words = IoCommand::kAnyNumber,
              .summary = "exit the program",
              .needs_disk = false,
              .run = run_quit},
    IoCommand{.name = "sleep",
              .least_words = 1,
              .most_words = 1,
              .summary = "waits for the given value in milliseconds",
              .needs_disk = false,
              .run = run_sleep},
    IoCommand{.name = "abort",
              .summary = "simulate a program crash using abort(3)",
              .needs_disk = false,
              .run = run_abort},
    IoCommand{.name = "sigraise",
              .least_words = 1,
              .most_words = 1,
              .arguments = "signal",
              .summary = "raises a signal",
              .needs_disk = false,
              .run = run_sigraise},
    IoCommand{.name = "break",
              .least_words = 2,
              .most_words = 2,
              .arguments = "event tag",
              .summary = "not supported",
              .run = refuse_breakpoint},
    IoCommand{.name = "remove_break",
              .least_words = 1,
              .most_words = 1,
              .arguments = "tag",
              .summary = "not supported",
              .run = refuse_breakpoint},
    IoCommand{.name = "wait_break",
              .least_words = 1,
              .most_words = 1,
              .arguments = "tag",
              .summary = "not supported",
              .run = refuse_breakpoint},
    IoCommand{.name = "resume",
              .least_words = 1,
              .most_words = 1,
              .arguments = "tag",
              .summary = "not supported",
              .run = refuse_breakpoint},
    IoCommand{.name = "reopen",
              .most_words = IoCommand::kAnyNumber,
              .arguments = "[(-r|-w)] [-c cache] [-o options]",
              .summary = "not supported",
              .run = refuse_reopen},
};

}  // namespace

std::span<const IoCommand> io_tool_commands() { return kCommands; }

}  // namespace zbdkit::app
