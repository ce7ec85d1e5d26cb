// SPDX-License-Identifier: Apache-2.0
// The option -T, --trace of commands that perform requests.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace zbdkit::app {

/// Switches on the log lines that the values of -T ask for. "help" among them lists all trace
/// points on stdout instead.
/// @param command  for messages
/// @return the exit status of a command that is to end now; nothing if it is to go on
[[nodiscard]] std::optional<int> apply_trace_options(std::string_view command,
                                                     const std::vector<std::string>& patterns);

}  // namespace zbdkit::app
