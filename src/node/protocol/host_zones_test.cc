// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/host_zones.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>

namespace zbdkit {
namespace {

// The layout of linux/blkzoned.h, written out by hand.
struct Zone {
    std::uint64_t start;
    std::uint64_t length;
    std::uint64_t pointer;
    std::uint64_t capacity;
    std::uint8_t type;
    std::uint8_t state;
};

std::vector<std::byte> report(std::uint32_t count, std::uint32_t flags,
                              const std::vector<Zone>& zones) {
    std::vector<std::byte> bytes(16 + 64 * zones.size());
    store_le(bytes.data() + 8, count);
    store_le(bytes.data() + 12, flags);
    for (std::size_t i = 0; i < zones.size(); ++i) {
        std::byte* at = bytes.data() + 16 + 64 * i;
        store_le(at, zones[i].start);
        store_le(at + 8, zones[i].length);
        store_le(at + 16, zones[i].pointer);
        store_le(at + 24, zones[i].type);
        store_le(at + 25, zones[i].state);
        store_le(at + 32, zones[i].capacity);
    }
    return bytes;
}

constexpr std::uint64_t kZone = 0x20000;  // sectors: 64 MiB
constexpr std::uint64_t kGarbage = ~std::uint64_t{0};

TEST(HostZones, sectors_become_bytes) {
    const Result<std::vector<ZoneDescriptor>> zones =
        decode_host_report(report(1, 1, {{kZone, kZone, kZone + 8, 0x10000, 2, 2}}));
    ASSERT_TRUE(zones);
    ASSERT_EQ(zones->size(), 1U);
    const ZoneDescriptor expected = {.start = 67108864,
                                     .length = 67108864,
                                     .capacity = 33554432,
                                     .write_pointer = 67112960,
                                     .type = ZoneType::sequential_required,
                                     .state = ZoneState::implicit_open};
    EXPECT_EQ(zones->front(), expected);
}

TEST(HostZones, without_the_capacity_flag_capacity_is_length) {
    const Result<std::vector<ZoneDescriptor>> zones =
        decode_host_report(report(1, 0, {{0, kZone, 0, 77, 2, 1}}));
    ASSERT_TRUE(zones);
    EXPECT_EQ(zones->front().capacity, 67108864U);
}

TEST(HostZones, garbage_pointers_are_not_passed_on) {
    const Result<std::vector<ZoneDescriptor>> zones =
        decode_host_report(report(4, 1,
                                  {{0, kZone, kGarbage, kZone, 1, 0},
                                   {kZone, kZone, kGarbage, kZone, 2, 14},
                                   {2 * kZone, kZone, kGarbage, kZone, 2, 15},
                                   {3 * kZone, kZone, kGarbage, kZone, 2, 13}}));
    ASSERT_TRUE(zones);
    EXPECT_EQ(zones->at(0).write_pointer, 0U);
    EXPECT_EQ(zones->at(1).write_pointer, 134217728U);  // full: its end
    EXPECT_EQ(zones->at(2).write_pointer, 134217728U);
    EXPECT_EQ(zones->at(3).write_pointer, 201326592U);
}

TEST(HostZones, more_zones_than_there_is_room_for_is_corrupt) {
    const Result<std::vector<ZoneDescriptor>> zones =
        decode_host_report(report(2, 1, {{0, kZone, 0, kZone, 2, 1}}));
    ASSERT_FALSE(zones);
    EXPECT_EQ(zones.error().code, Errc::corrupt);
}

TEST(HostZones, sectors_beyond_the_largest_offset_are_corrupt) {
    EXPECT_FALSE(decode_host_report(report(1, 1, {{kGarbage, kZone, 0, kZone, 2, 1}})));
    EXPECT_FALSE(
        decode_host_report(report(1, 1, {{(std::uint64_t{1} << 54) - 1, kZone, 0, kZone, 2, 1}})));
    EXPECT_FALSE(decode_host_report(std::array<std::byte, 8>{}));
}

TEST(HostZones, ordinary_file_is_not_zoned) {
    EXPECT_FALSE(is_zoned_block_device(-1));
    EXPECT_FALSE(host_zone_geometry(-1, "nothing"));
}

}  // namespace
}  // namespace zbdkit
