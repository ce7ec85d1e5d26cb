// SPDX-License-Identifier: Apache-2.0
// What a zoned block device of the host says of itself: answers of BLKREPORTZONE, and the facts
// that a geometry is made of. Decoded or refused; what is decoded keeps its promises.
//
//   input = which:u8 answer | which:u8 facts
#include <linux/blkzoned.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "base/assert.h"
#include "node/protocol/host_zones.h"
#include "tests/fuzz/input.h"
#include "zone/zone_rules.h"

namespace zbdkit {
namespace {

constexpr std::size_t kHeaderSize = 16;
constexpr std::size_t kMostZones = 64;

void decode(test::FuzzInput& input, bool makes_plausible) {
    const ConstBytes left = input.take_bytes(kHeaderSize + kMostZones * sizeof(blk_zone));
    std::vector<std::byte> answer(left.begin(), left.end());
    if (makes_plausible && answer.size() >= kHeaderSize) {
        const std::size_t zones = (answer.size() - kHeaderSize) / sizeof(blk_zone);
        store_le(answer.data() + 8, static_cast<std::uint32_t>(zones));
        // Sectors of devices that exist, or nearly so.
        for (std::size_t at = kHeaderSize; at + 8 <= answer.size(); at += sizeof(blk_zone)) {
            for (std::size_t i = 3; i < std::min<std::size_t>(24, answer.size() - at); ++i) {
                if (i % 8 >= 3) answer[at + i] = std::byte{0};
            }
        }
    }
    const Result<ZoneList> zones = decode_host_report(answer);
    if (!zones) {
        ZBDKIT_ASSERT(zones.error().code == Errc::corrupt);
        return;
    }
    ZBDKIT_ASSERT(zones->size() * sizeof(blk_zone) + kHeaderSize <= answer.size());
    for (const ZoneDescriptor& zone : *zones) {
        ZBDKIT_ASSERT((ByteRange{zone.start, zone.length}.is_sane()));
        ZBDKIT_ASSERT(zone.capacity <= zone.length);
        ZBDKIT_ASSERT(zone.write_pointer >= zone.start);
        ZBDKIT_ASSERT(zone.write_pointer - zone.start <= zone.length);
    }
}

void make_geometry(test::FuzzInput& input) {
    HostZoneFacts facts{.model = input.byte() % 2 == 0 ? "host-managed" : "host-aware"};
    facts.device_size = input.take<std::uint64_t>();
    facts.zone_size = std::uint64_t{1} << (input.byte() % 64);
    if (input.byte() % 8 == 0) facts.zone_size = input.take<std::uint64_t>();
    facts.zone_capacity = input.take<std::uint64_t>();
    facts.conventional_zones = input.take<std::uint32_t>();
    facts.max_open_zones = input.take<std::uint32_t>();
    facts.max_active_zones = input.take<std::uint32_t>();
    facts.append_max_bytes = input.take<std::uint64_t>();
    facts.max_transfer_bytes = input.take<std::uint64_t>();
    facts.write_granularity = input.take<std::uint32_t>();
    facts.physical_block_size = input.take<std::uint32_t>();
    const Outcome<ZoneGeometry> geometry = geometry_of(facts, "fuzz");
    if (!geometry) {
        ZBDKIT_ASSERT(geometry.error().message.starts_with("'fuzz'"));
        return;
    }
    ZBDKIT_ASSERT(check_geometry(*geometry).has_value());
    ZBDKIT_ASSERT(geometry->zone_count() != 0);
}

}  // namespace
}  // namespace zbdkit

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace zbdkit;
    test::FuzzInput input(std::as_bytes(std::span(data, size)));
    const unsigned which = input.byte();
    if (which % 4 == 3) {
        make_geometry(input);
    } else {
        decode(input, which % 4 != 0);
    }
    return 0;
}
