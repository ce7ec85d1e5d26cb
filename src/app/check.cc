// SPDX-License-Identifier: Apache-2.0
#include "app/check.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "app/exit_status.h"
#include "app/image_check.h"
#include "app/image_state.h"
#include "app/messages.h"
#include "app/workshop.h"

namespace zbdkit::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kCommand = "check";

/// An image that is being written changes under the reader, who would call it damaged.
Outcome<void> check_not_in_use(const std::string& filename) {
    const Outcome<FileState> state = file_state(filename);
    if (!state) return std::unexpected(state.error());
    if (state->user.empty()) return {};
    return failure(
        fmt::format("'{}' is in use by {}: check it when that has ended", filename, state->user));
}

Task<Outcome<CheckResult>> check(OpenContext& context, OptionValues options) {
    const ImageStorage storage = co_await ok(open_image_storage(context, options));
    if (!storage.filename.empty()) co_await ok(check_not_in_use(storage.filename));
    CheckResult result = co_await ok(check_image(*storage.node));
    co_await ok(storage.node->close());
    co_return result;
}

Outcome<CheckResult> run(OptionValues options) {
    Outcome<std::unique_ptr<Workshop>> workshop = Workshop::make();
    if (!workshop) return std::unexpected(std::move(workshop.error()));
    return (*workshop)->run(check((*workshop)->context(), std::move(options)));
}

std::string_view kind_name(Finding::Kind kind) {
    switch (kind) {
        case Finding::Kind::note: return "note";
        case Finding::Kind::damage: return "damage";
    }
    return "finding";
}

void print_text(const std::string& name, const CheckResult& result) {
    for (const Finding& finding : result.findings) {
        fmt::print("{}: {}: {}\n", kind_name(finding.kind), finding.place, finding.text);
    }
    if (result.unlisted > 0) fmt::print("and {} more\n", result.unlisted);
    fmt::print("{}: {} ({} in {} checked)\n", name, result.is_damaged ? "damaged" : "no damage",
               count_text(result.zones_checked, "zone"),
               count_text(result.pages_checked, "commit page"));
}

void print_json(const std::string& name, const CheckResult& result) {
    Json findings = Json::array();
    for (const Finding& finding : result.findings) {
        findings.push_back(
            {{"kind", kind_name(finding.kind)}, {"place", finding.place}, {"text", finding.text}});
    }
    const Json json = {{"disk", name},
                       {"result", result.is_damaged ? "damaged" : "clean"},
                       {"zones_checked", result.zones_checked},
                       {"pages_checked", result.pages_checked},
                       {"findings", std::move(findings)},
                       {"unlisted_findings", result.unlisted}};
    fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
}

}  // namespace

int run_check(const CheckArguments& arguments) {
    Outcome<OptionValues> options = disk_options(arguments.disk, Access::look);
    // Not kUsage: 2 says "damaged" here.
    if (!options) return report_failure(kCommand, options.error());
    const Outcome<CheckResult> result = run(std::move(*options));
    if (!result) return report_failure(kCommand, result.error());
    if (arguments.json) {
        print_json(arguments.disk.name(), *result);
    } else {
        print_text(arguments.disk.name(), *result);
    }
    return result->is_damaged ? kDamaged : kOk;
}

}  // namespace zbdkit::app
