// SPDX-License-Identifier: Apache-2.0
// The zones of a zoned block device of the host, by sysfs and the ioctls of linux/blkzoned.h. Plain
// BLKREPORTZONE is used and not its second version, which in Linux 7.3 collapses the open and
// closed states. The calls block: for a thread of the BlockingPool, never on a reactor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/units.h"
#include "zone/zone.h"

namespace zbdkit {

/// Zones of 64 bytes that one report call asks for.
inline constexpr std::uint32_t kHostZonesPerReport = 4096;

using ZoneList = std::vector<ZoneDescriptor>;

/// The seam to the zone commands of a device: tests have one without a device.
class ZoneControl {
  public:
    ZoneControl() = default;
    ZoneControl(const ZoneControl&) = delete;
    ZoneControl& operator=(const ZoneControl&) = delete;
    virtual ~ZoneControl() = default;

    /// The zones from the one that contains `offset` on, as the device itself sees them.
    /// @param offset  bytes; at or beyond the end of the device gives no zones
    /// @param most    1 to kHostZonesPerReport
    /// Errors: as the ioctl's errno says; corrupt if the answer contradicts itself.
    /// Thread: any, several at a time.
    [[nodiscard]] virtual Result<ZoneList> report(std::uint64_t offset, std::uint32_t most) = 0;

    /// Acts on each zone of the range; a reset of the whole device passes over zones that cannot be
    /// reset. After an error earlier zones stay changed.
    /// @param zones  bytes, whole zones
    /// Errors: as the ioctl's errno says: zone_open_limit, zone_active_limit; io for all else that
    /// the zones forbid. Thread: any, several at a time.
    [[nodiscard]] virtual Result<void> act(ZoneAction action, ByteRange zones) = 0;
};

/// The ioctls of the device that `fd` is open on, for writing if it is to act.
/// @param fd  outlives the control
[[nodiscard]] std::unique_ptr<ZoneControl> make_host_zone_control(int fd);

/// What the host says of the device: sizes, model and limits.
/// @param fd        open for reading
/// @param filename  for messages
/// Errors: it is no zoned block device, has zones that zbdkit cannot use, or the host does not
/// tell.
[[nodiscard]] Outcome<ZoneGeometry> host_zone_geometry(int fd, const std::string& filename);

/// The facts that a geometry is made of, as the kernel words them.
struct HostZoneFacts {
    std::string model;                ///< "host-managed" or "host-aware"
    std::uint64_t device_size = 0;    ///< bytes
    std::uint64_t zone_size = 0;      ///< bytes
    std::uint64_t zone_capacity = 0;  ///< bytes, of the first sequential zone; 0: there is none
    std::uint32_t conventional_zones = 0;   ///< at the start
    std::uint32_t max_open_zones = 0;       ///< 0 = no limit
    std::uint32_t max_active_zones = 0;     ///< 0 = no limit
    std::uint64_t append_max_bytes = 0;     ///< 0 on kernels that do not emulate append
    std::uint64_t max_transfer_bytes = 0;   ///< of one request of any kind
    std::uint32_t write_granularity = 0;    ///< bytes; 0 before Linux 5.12
    std::uint32_t physical_block_size = 0;  ///< bytes
};

/// Errors: a zone size that is no power of two, and what check_geometry() says.
[[nodiscard]] Outcome<ZoneGeometry> geometry_of(const HostZoneFacts& facts,
                                                const std::string& filename);

/// Decodes the answer of BLKREPORTZONE: a header of 16 bytes and the zones.
/// Errors: corrupt, if it tells of more zones than it holds, of sectors beyond kMaxOffset, or of
/// types and states that do not exist.
[[nodiscard]] Result<ZoneList> decode_host_report(ConstBytes answer);

}  // namespace zbdkit
