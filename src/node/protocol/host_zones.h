// SPDX-License-Identifier: Apache-2.0
// The zones of a zoned block device of the host, by the ioctls of linux/blkzoned.h. Plain
// BLKREPORTZONE is used and not its second version, which in Linux 7.3 collapses the open and
// closed states. The calls block: for tools, and for a thread of the BlockingPool.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "zone/zone.h"

namespace zbdkit {

/// Zones of 64 bytes that one report call asks for.
inline constexpr std::uint32_t kHostZonesPerReport = 4096;

/// Whether the descriptor is of a block device that the host treats as zoned.
[[nodiscard]] bool is_zoned_block_device(int fd);

/// What the host says of the device: sizes, model and limits.
/// @param fd        open for reading
/// @param filename  for messages
/// Errors: it is no zoned block device, or the host does not tell.
[[nodiscard]] Outcome<ZoneGeometry> host_zone_geometry(int fd, const std::string& filename);

/// The zones from the one that contains `offset` on.
/// @param offset  bytes; at or beyond the end of the device gives no zones
/// @param most    1 to kHostZonesPerReport
/// Errors: as the ioctl's errno says; corrupt if the answer contradicts itself.
[[nodiscard]] Result<std::vector<ZoneDescriptor>> report_host_zones(int fd, std::uint64_t offset,
                                                                    std::uint32_t most);

/// Decodes the answer of BLKREPORTZONE: a header of 16 bytes and the zones.
/// Errors: corrupt, if it tells of more zones than it holds, or of sectors beyond kMaxOffset.
[[nodiscard]] Result<std::vector<ZoneDescriptor>> decode_host_report(ConstBytes answer);

}  // namespace zbdkit
