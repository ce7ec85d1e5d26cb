// SPDX-License-Identifier: Apache-2.0
#include "app/trace_option.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "app/exit_status.h"
#include "app/messages.h"
#include "base/trace.h"

namespace zbdkit::app {

std::optional<int> apply_trace_options(std::string_view command,
                                       const std::vector<std::string>& patterns) {
    if (std::ranges::find(patterns, "help") != patterns.end()) {
        fmt::print("{}", trace_help());
        return kOk;
    }
    for (const std::string& pattern : patterns) {
        const Outcome<void> enabled = enable_trace(pattern);
        if (enabled) continue;
        return report_usage(command, {fmt::format("option '--trace': {}", enabled.error().message),
                                      enabled.error().code});
    }
    return std::nullopt;
}

}  // namespace zbdkit::app
