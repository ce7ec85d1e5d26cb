// SPDX-License-Identifier: Apache-2.0
// The node of a real zoned block device. The device decides about states and limits; the node keeps
// the order that the kernel wants and says precisely what was wrong.
//   writes   one in flight for each sequential-write-required zone, zones in parallel; conventional
//            zones and reads are not ordered
//   appends  placed by the node; those that wait for the same zone become one vectored write
//   failures the zone is reported anew before anybody is answered
// Zone commands run on threads of the BlockingPool. docs/host-device.md has the whole picture.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "base/unique_fd.h"
#include "block/driver.h"
#include "block/node.h"
#include "io/task.h"
#include "node/protocol/host_zones.h"

namespace zbdkit {

struct HostZonedParts {
    std::string filename;
    UniqueFd fd;  ///< opened with O_DIRECT; for writing unless info.read_only
    std::unique_ptr<ZoneControl> control;
    NodeInfo info;  ///< with the geometry; the operations are set by the node
};

/// Opens the node: reads all zones once.
/// Errors: the device cannot be reported, or contradicts its geometry.
[[nodiscard]] Task<Outcome<std::unique_ptr<BlockNode>>> open_host_zoned_node(OpenContext& context,
                                                                             HostZonedParts parts);

}  // namespace zbdkit
