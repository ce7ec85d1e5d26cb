// SPDX-License-Identifier: Apache-2.0
// `zbdkit io`: performs single requests on a disk, in qemu-io's stead: the same options, commands,
// lines and exit status, so that scripts made for it work with ours. Also run when the program is
// called by the name qemu-io.
#pragma once

#include <string>
#include <string_view>

namespace zbdkit::app {

/// @param program  how it calls itself: "zbdkit: io", or "qemu-io"
/// @param argc     of what follows, with a first word that is not used
/// @return 0 if all commands succeeded, else 1
[[nodiscard]] int run_io(const std::string& program, int argc, char** argv);

/// For the list of commands.
inline constexpr std::string_view kIoSummary = "Read, write and manage zones, as qemu-io does";

}  // namespace zbdkit::app
