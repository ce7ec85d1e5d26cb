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

TEST(HostZones, types_and_states_that_do_not_exist_are_corrupt) {
    EXPECT_FALSE(decode_host_report(report(1, 1, {{0, kZone, 0, kZone, 7, 1}})));
    EXPECT_FALSE(decode_host_report(report(1, 1, {{0, kZone, 0, kZone, 2, 5}})));
    EXPECT_FALSE(decode_host_report(report(1, 1, {{0, kZone, 0, kZone, 2, 0}})));
    EXPECT_FALSE(decode_host_report(report(1, 1, {{0, kZone, 0, kZone, 1, 1}})));
    EXPECT_TRUE(decode_host_report(report(1, 1, {{0, kZone, 0, kZone, 1, 13}})));
}

TEST(HostZones, pointer_of_an_open_zone_outside_of_it_is_corrupt) {
    EXPECT_FALSE(decode_host_report(report(1, 1, {{kZone, kZone, 8, kZone, 2, 2}})));
    EXPECT_FALSE(decode_host_report(report(1, 1, {{kZone, kZone, kGarbage, kZone, 2, 4}})));
}

TEST(HostZones, ordinary_file_has_no_zones) {
    EXPECT_FALSE(host_zone_geometry(-1, "nothing"));
    EXPECT_FALSE(make_host_zone_control(-1)->report(0, 1));
    EXPECT_FALSE(make_host_zone_control(-1)->act(ZoneAction::reset, {0, 4096}));
}

// --- The geometry -------------------------------------------------------------------------------

HostZoneFacts some_facts() {
    return {.device_size = 640 * kMiB,
            .zone_size = 64 * kMiB,
            .zone_capacity = 48 * kMiB,
            .conventional_zones = 2,
            .max_open_zones = 4,
            .max_active_zones = 6,
            .append_max_bytes = 128 * kKiB,
            .max_transfer_bytes = kMiB,
            .write_granularity = 4096,
            .physical_block_size = 512};
}

TEST(HostZones, facts_of_the_kernel_become_a_geometry) {
    const Outcome<ZoneGeometry> geometry = geometry_of(some_facts(), "sda");
    ASSERT_TRUE(geometry.has_value());
    const ZoneGeometry expected = {.model = ZoneModel::host_managed,
                                   .device_size = 671088640,
                                   .zone_size = 67108864,
                                   .zone_capacity = 50331648,
                                   .conventional_zones = 2,
                                   .max_open_zones = 4,
                                   .max_active_zones = 6,
                                   .max_append_bytes = 131072,
                                   .write_granularity = 4096};
    EXPECT_EQ(*geometry, expected);
}

TEST(HostZones, kernel_without_append_limit_has_that_of_all_requests) {
    HostZoneFacts facts = some_facts();
    facts.append_max_bytes = 0;
    EXPECT_EQ(geometry_of(facts, "sda").value().max_append_bytes, 1048576U);
}

TEST(HostZones, appends_are_no_longer_than_a_zone_has_room) {
    HostZoneFacts facts = some_facts();
    facts.append_max_bytes = 64 * kMiB;
    EXPECT_EQ(geometry_of(facts, "sda").value().max_append_bytes, 50331648U);
}

TEST(HostZones, kernel_without_write_granularity_has_the_physical_block) {
    HostZoneFacts facts = some_facts();
    facts.write_granularity = 0;
    EXPECT_EQ(geometry_of(facts, "sda").value().write_granularity, 512U);
}

TEST(HostZones, device_of_conventional_zones_only_has_full_capacity) {
    HostZoneFacts facts = some_facts();
    facts.conventional_zones = 10;
    facts.zone_capacity = 0;
    EXPECT_EQ(geometry_of(facts, "sda").value().zone_capacity, 67108864U);
}

TEST(HostZones, host_aware_device_is_one) {
    HostZoneFacts facts = some_facts();
    facts.model = "host-aware";
    EXPECT_EQ(geometry_of(facts, "sda").value().model, ZoneModel::host_aware);
}

TEST(HostZones, zone_size_that_is_no_power_of_two_is_refused) {
    HostZoneFacts facts = some_facts();
    facts.zone_size = 48 * kMiB;
    const Outcome<ZoneGeometry> geometry = geometry_of(facts, "/dev/sda");
    ASSERT_FALSE(geometry.has_value());
    EXPECT_EQ(geometry.error().message, "'/dev/sda' has zones of 48 MiB: expected a power of two");
}

}  // namespace
}  // namespace zbdkit
