// SPDX-License-Identifier: Apache-2.0
// The command line of zbdkit: which commands there are, what they take, and their help. CLI11 stays
// in cli.cc, its exceptions too.
#pragma once

namespace zbdkit::app {

/// Runs the command that the arguments name.
/// @return the exit status
[[nodiscard]] int run_command_line(int argc, char** argv);

}  // namespace zbdkit::app
