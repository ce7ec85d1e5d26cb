// SPDX-License-Identifier: Apache-2.0
// `zbdkit report`: the zones of a disk, in the formats of zone/zone_text.h. Reads only.
#pragma once

#include <string>

#include "app/disk_argument.h"

namespace zbdkit::app {

struct ReportArguments {
    DiskArgument disk;
    std::string format = "table";
    std::string offset;  ///< a size; "" is 0
    std::string count;   ///< a number; "" is all
};

/// @return the exit status
[[nodiscard]] int run_report(const ReportArguments& arguments);

}  // namespace zbdkit::app
