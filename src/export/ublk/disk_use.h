// SPDX-License-Identifier: Apache-2.0
// Who uses a block device of this machine: a mounted file system, a device-mapper target, swap.
#pragma once

#include <string>

#include "base/error.h"
#include "base/unique_fd.h"

namespace zbdkit::ublk {

/// Claims the device, so that nobody begins to use it as long as the descriptor lives.
/// @param path  "/dev/ublkb0"
/// @return empty if there is no such device any more
/// Errors: it is in use; the message says by what, if that can be found.
[[nodiscard]] Outcome<UniqueFd> claim_disk(const std::string& path);

}  // namespace zbdkit::ublk
