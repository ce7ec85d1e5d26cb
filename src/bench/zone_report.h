// SPDX-License-Identifier: Apache-2.0
// Asks a disk for its zones, as a driver does. One thread.
#pragma once

#include <vector>

#include "base/error.h"
#include "bench/load.h"
#include "zone/zone.h"

namespace zbdkit::bench {

/// @param disk  its device_size and zone_size, which is not 0
/// @return all zones of the disk, in order
/// Errors: as Load::request(); a report whose zones are not where they must be.
[[nodiscard]] Outcome<std::vector<ZoneDescriptor>> report_zones(Load& load,
                                                                const ZoneGeometry& disk);

}  // namespace zbdkit::bench
