// SPDX-License-Identifier: Apache-2.0
// `zbdkit info`: what a disk is, how its zones stand, who has it in use, and what the next open
// would find. Reads only.
#pragma once

#include "app/disk_argument.h"

namespace zbdkit::app {

struct InfoArguments {
    DiskArgument disk;
    bool json = false;
};

/// @return the exit status
[[nodiscard]] int run_info(const InfoArguments& arguments);

}  // namespace zbdkit::app
