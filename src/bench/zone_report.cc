// SPDX-License-Identifier: Apache-2.0
#include "bench/zone_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/units.h"
#include "virtio/blk_wire.h"

namespace zbdkit::bench {
namespace {

constexpr std::size_t kMostZones =
    (Load::kMaxReply - sizeof(BlkReportHeader)) / sizeof(BlkZoneDescriptor);

/// @return the zone without its length, which a report does not have
ZoneDescriptor zone_of(const std::byte* from) {
    BlkZoneDescriptor wire{};
    std::memcpy(mutable_bytes_of(wire).data(), from, sizeof wire);
    return {.start = wire.start * kSectorSize,
            .length = 0,
            .capacity = wire.capacity * kSectorSize,
            .write_pointer = wire.write_pointer * kSectorSize,
            .type = ZoneType{wire.type},
            .state = ZoneState{wire.state}};
}

}  // namespace

Outcome<std::vector<ZoneDescriptor>> report_zones(Load& load, const ZoneGeometry& disk) {
    std::vector<ZoneDescriptor> zones;
    while (zones.size() < disk.zone_count()) {
        const std::uint64_t first = zones.size() * disk.zone_size;
        const Outcome<std::vector<std::byte>> reply =
            load.request(BlkRequestType::zone_report, first, Load::kMaxReply);
        if (!reply) return std::unexpected(reply.error());
        const auto count = load_le<std::uint64_t>(reply->data());
        if (count == 0 || count > kMostZones) {
            return failure(
                fmt::format("the zone report from byte {} on has {} zones, expected 1 to {}", first,
                            count, kMostZones));
        }
        for (std::size_t i = 0; i < count && zones.size() < disk.zone_count(); ++i) {
            const std::size_t at = sizeof(BlkReportHeader) + i * sizeof(BlkZoneDescriptor);
            ZoneDescriptor zone = zone_of(reply->data() + at);
            const std::uint64_t start = zones.size() * disk.zone_size;
            zone.length = std::min(disk.zone_size, disk.device_size - start);
            if (zone.start != start || zone.capacity > zone.length) {
                return failure(
                    fmt::format("the zone report has a zone at byte {} that holds {}, "
                                "expected one at {} of {}",
                                zone.start, zone.capacity, start, zone.length));
            }
            zones.push_back(zone);
        }
    }
    return zones;
}

}  // namespace zbdkit::bench
