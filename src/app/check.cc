// SPDX-License-Identifier: Apache-2.0
#include "app/check.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "app/exit_status.h"
#include "app/image_check.h"
#include "app/image_state.h"
#include "app/messages.h"
#include "app/workshop.h"
#include "graph/graph.h"

namespace zbdkit::app {
namespace {

using Json = nlohmann::ordered_json;
using zoned::Cure;
using zoned::Finding;

constexpr std::string_view kCommand = "check";

/// What was found, and what is left of it.
struct Checkup {
    CheckResult found;
    std::optional<CheckResult> left;  ///< after a repair

    [[nodiscard]] const CheckResult& now() const { return left ? *left : found; }
    [[nodiscard]] bool is_repaired() const { return left && found.is_damaged && !left->is_damaged; }
};

// --- Checking and repairing ---------------------------------------------------------------------

/// An image that is being written changes under the reader, who would call it damaged.
Outcome<void> check_not_in_use(const std::string& filename) {
    const Outcome<FileState> state = file_state(filename);
    if (!state) return std::unexpected(state.error());
    if (state->user.empty()) return {};
    return failure(
        fmt::format("'{}' is in use by {}: check it when that has ended", filename, state->user));
}

/// On a terminal: one line that tells how far it is, for images that take a while.
void print_progress(void* /*context*/, std::uint64_t done, std::uint64_t total) {
    constexpr std::uint64_t kWorthTelling = 4096;
    if (total < kWorthTelling) return;
    fmt::print(stderr, "\r{}% of {} commit pages", done * 100 / total, total);
    if (done == total) fmt::print(stderr, "\r\033[K");
    std::fflush(stderr);
}

CheckProgress terminal_progress() {
    if (::isatty(STDERR_FILENO) == 0) return {};
    return {.report = print_progress};
}

/// The storage of the image, with all that is needed to open it again.
struct Opened {
    OpenContext& context;
    OptionValues options;
    ImageStorage storage;
};

Task<Outcome<void>> open(Opened& opened) {
    OptionValues options = opened.options;
    opened.storage = co_await ok(open_image_storage(opened.context, options));
    co_return Outcome<void>{};
}

Outcome<void> check_can_grow(const ImageStorage& storage) {
    const Outcome<FileState> state = file_state(storage.filename);
    if (state && !state->is_device) return {};
    return failure(
        fmt::format("'{}' is shorter than its image, and no file that can be made longer",
                    storage.node->describe()),
        Errc::not_supported);
}

/// Makes the file as long as the image. The node of the storage keeps its length, so it is opened
/// again; in between the image is not locked, and whoever takes it then is named by the second
/// open.
Task<Outcome<void>> grow(Opened& opened, std::uint64_t length) {
    const std::string filename = opened.storage.filename;
    if (::truncate(filename.c_str(), static_cast<off_t>(length)) != 0) {
        co_return failure(
            fmt::format("cannot make '{}' longer: {}", filename, std::strerror(errno)));
    }
    const std::unique_ptr<BlockNode> node = std::move(opened.storage.node);
    co_await ok(node->close());
    co_return co_await open(opened);
}

Task<Outcome<void>> repair(Opened& opened, Checkup& checkup, Permission permission) {
    const CheckResult* found = &checkup.found;
    CheckResult longer;
    if (found->is_truncated && permits(permission, found->length_cure)) {
        co_await ok(check_can_grow(opened.storage));
        const std::uint64_t length = zoned::layout_of(found->superblock->geometry).image_size;
        co_await ok(grow(opened, length));
        longer = co_await ok(check_image(*opened.storage.node));
        found = &longer;
    }
    co_await ok(repair_image(*opened.storage.node, *found, permission));
    checkup.left = co_await ok(check_repaired_image(*opened.storage.node, permission));
    co_return Outcome<void>{};
}

Task<Outcome<Checkup>> check_opened(Opened& opened, const CheckArguments& arguments) {
    if (!arguments.repair && !opened.storage.filename.empty()) {
        co_await ok(check_not_in_use(opened.storage.filename));
    }
    Checkup checkup;
    const CheckProgress progress = terminal_progress();
    checkup.found = co_await ok(check_image(*opened.storage.node, progress));
    if (arguments.repair && checkup.found.is_damaged) {
        const Permission permission = arguments.force ? Permission::force : Permission::repair;
        co_await ok(repair(opened, checkup, permission));
    }
    const std::unique_ptr<BlockNode> node = std::move(opened.storage.node);
    co_await ok(node->close());
    co_return checkup;
}

Task<Outcome<Checkup>> check(OpenContext& context, OptionValues options, CheckArguments arguments) {
    Opened opened{context, std::move(options), {}};
    co_await ok(open(opened));
    Outcome<Checkup> checkup = co_await check_opened(opened, arguments);
    co_await close_left_behind(std::move(opened.storage.node));
    co_return checkup;
}

Outcome<Checkup> run(const CheckArguments& arguments) {
    if (arguments.force && !arguments.repair) {
        return failure("--force goes with --repair", Errc::not_supported);
    }
    const Access access = arguments.repair ? Access::serve : Access::look;
    Outcome<OptionValues> options = disk_options(arguments.disk, access);
    if (!options) return std::unexpected(std::move(options.error()));
    Outcome<std::unique_ptr<Workshop>> workshop = Workshop::make();
    if (!workshop) return std::unexpected(std::move(workshop.error()));
    return (*workshop)->run(check((*workshop)->context(), std::move(*options), arguments));
}

// --- Saying so ----------------------------------------------------------------------------------

/// Whether a repair that was made has mended this.
bool is_mended(const Checkup& checkup, const CheckArguments& arguments, const Finding& finding) {
    const Permission permission = arguments.force ? Permission::force : Permission::repair;
    if (!checkup.left || !permits(permission, finding.cure)) return false;
    for (const Finding& left : checkup.left->findings) {
        if (left.kind == finding.kind && left.place == finding.place) return false;
    }
    return true;
}

const char* cure_name(Cure cure) {
    switch (cure) {
        case Cure::not_needed: return "not needed";
        case Cure::repair: return "--repair";
        case Cure::force: return "--repair --force";
        case Cure::none: return "none";
    }
    return "none";
}

std::string_view result_name(const Checkup& checkup) {
    if (checkup.is_repaired()) return "repaired";
    return checkup.now().is_damaged ? "damaged" : "clean";
}

constexpr const char* kForceHint = " (zbdkit check --help says at what price)";

/// What can be done about the damage that is there now.
std::string advice(const CheckResult& result) {
    const std::uint64_t all = result.repairable + result.forceable + result.incurable;
    if (result.repairable == all) return "--repair mends this";
    if (result.incurable == all) return "nothing here can mend this";
    if (result.forceable == all) return std::string("--repair --force mends this") + kForceHint;
    std::string text = fmt::format("of these {} --repair mends {}", all, result.repairable);
    if (result.forceable > 0) {
        text += fmt::format(", --repair --force {} more{}", result.forceable, kForceHint);
    }
    return text;
}

void print_text(const CheckArguments& arguments, const Checkup& checkup) {
    for (const Finding& finding : checkup.found.findings) {
        if (!is_mended(checkup, arguments, finding)) continue;
        fmt::print("repaired: {}: {}: {}\n", finding.place, finding.text,
                   cure_text(finding.kind, finding.cure));
    }
    const CheckResult& now = checkup.now();
    for (const Finding& finding : now.findings) {
        fmt::print("{}: {}: {}\n", finding.is_damage() ? "damage" : "note", finding.place,
                   finding.text);
    }
    if (now.unlisted > 0) fmt::print("and {} more\n", now.unlisted);
    const std::string_view result = result_name(checkup);
    fmt::print("{}: {} ({} in {} checked)\n", arguments.disk.name(),
               result == "clean" ? "no damage" : result, count_text(now.zones_checked, "zone"),
               count_text(now.pages_checked, "commit page"));
    if (now.is_damaged) fmt::print("{}\n", advice(now));
}

Json json_of(const Finding& finding, bool is_mended) {
    Json json = {{"severity", finding.is_damage() ? "damage" : "note"},
                 {"kind", finding_kind_name(finding.kind)},
                 {"place", finding.place},
                 {"text", finding.text},
                 {"cure", cure_name(finding.cure)}};
    if (is_mended) json["repaired"] = cure_text(finding.kind, finding.cure);
    return json;
}

void print_json(const CheckArguments& arguments, const Checkup& checkup) {
    const CheckResult& now = checkup.now();
    Json findings = Json::array();
    for (const Finding& finding : checkup.found.findings) {
        if (is_mended(checkup, arguments, finding)) findings.push_back(json_of(finding, true));
    }
    for (const Finding& finding : now.findings) findings.push_back(json_of(finding, false));
    const Json json = {{"disk", arguments.disk.name()},      {"result", result_name(checkup)},
                       {"zones_checked", now.zones_checked}, {"pages_checked", now.pages_checked},
                       {"findings", std::move(findings)},    {"unlisted_findings", now.unlisted}};
    fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
}

}  // namespace

int run_check(const CheckArguments& arguments) {
    const Outcome<Checkup> checkup = run(arguments);
    // Not kUsage for a wrong command line: 2 says "damaged" here.
    if (!checkup) return report_failure(kCommand, checkup.error());
    if (arguments.json) {
        print_json(arguments, *checkup);
    } else {
        print_text(arguments, *checkup);
    }
    if (checkup->is_repaired()) return kRepaired;
    return checkup->now().is_damaged ? kDamaged : kOk;
}

}  // namespace zbdkit::app
