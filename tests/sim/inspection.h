// SPDX-License-Identifier: Apache-2.0
// What `zbdkit check` says of a simulated disk that nobody has open: after a clean stop, and after
// a crash before the next daemon comes. [crash contract, 6; docs/manual/check.md]
//
// There must be no damage, with one exception: a superblock copy or a slot of a commit page may be
// torn where the very last write to it was cut off, by the crash or by an error of the disk. The
// format has two of each for that, so it must be called mendable without force; and the next open
// mends it. A failed sync excuses nothing: a power loss follows it, which leaves no more than one
// without it does.
#pragma once

#include <string>

#include "tests/sim/sim_disk.h"

namespace zbdkit::sim {

/// Runs the product's checker, without repair, over a disk that works.
/// @return "" or what is wrong: damage was found, the check failed, or it wrote to the disk
[[nodiscard]] std::string inspect(SimDisk& disk);

}  // namespace zbdkit::sim
