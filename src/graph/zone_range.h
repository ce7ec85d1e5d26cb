// SPDX-License-Identifier: Apache-2.0
// A zone action on a range of zones, as the ioctls of the host and qemu-io know it. Nodes take one
// zone at a time; this is where a range becomes zones.
#pragma once

#include "base/error.h"
#include "base/units.h"
#include "graph/backend.h"
#include "io/task.h"

namespace zbdkit {

/// Acts on each zone of the range, in rising order; a reset of the whole device is RESET ALL. After
/// an error earlier zones stay changed.
/// @param action  zone_open, zone_close, zone_finish or zone_reset
/// @param zones   whole zones: starts at a zone, ends at one or at the end of the device; not empty
/// Errors: not_supported if the disk is not zoned; out_of_range; misaligned; what the zones say.
[[nodiscard]] Task<Result<void>> act_on_zones(BlockBackend& backend, Op action, ByteRange zones);

}  // namespace zbdkit
