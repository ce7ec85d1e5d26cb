// SPDX-License-Identifier: Apache-2.0
// `zbdkit check`: says whether a zoned image is sound, and what is damaged. Reads only.
#pragma once

#include "app/disk_argument.h"

namespace zbdkit::app {

struct CheckArguments {
    DiskArgument disk;
    bool json = false;
};

/// @return kOk if the image is sound, kDamaged if it is not, kFailure if that could not be checked
[[nodiscard]] int run_check(const CheckArguments& arguments);

}  // namespace zbdkit::app
