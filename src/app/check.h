// SPDX-License-Identifier: Apache-2.0
// `zbdkit check`: says whether a zoned image is sound, and what is damaged. Writes only with
// --repair, and then with the image locked.
#pragma once

#include "app/disk_argument.h"

namespace zbdkit::app {

struct CheckArguments {
    DiskArgument disk;
    bool repair = false;
    bool force = false;  ///< with repair only
    bool json = false;
};

/// @return kOk if the image is sound, kRepaired if it is now, kDamaged if it is not, kFailure if
///         that could not be checked
[[nodiscard]] int run_check(const CheckArguments& arguments);

}  // namespace zbdkit::app
