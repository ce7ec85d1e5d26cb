// SPDX-License-Identifier: Apache-2.0
#include "block/earlier_write.h"

#include <gtest/gtest.h>

#include "base/units.h"

namespace zbdkit {
namespace {

constexpr ZoneGeometry kZones{.model = ZoneModel::host_managed,
                              .device_size = 4 * kMiB,
                              .zone_size = kMiB,
                              .zone_capacity = kMiB};

/// Zone 1, written up to `pointer` bytes from its start.
ZoneDescriptor zone_written_to(std::uint64_t pointer, ZoneState state = ZoneState::implicit_open) {
    return {.start = kMiB,
            .length = kMiB,
            .capacity = kMiB,
            .write_pointer = kMiB + pointer,
            .type = ZoneType::sequential_required,
            .state = state};
}

/// A record of 8 KiB that start 4 KiB into zone 1.
constexpr WriteSlot kRecorded{.place = kMiB + 4096 + 1, .length = 8192};

TEST(Judge, without_a_record_nothing_is_there) {
    EXPECT_EQ(judge(WriteSlot(), zone_written_to(65536)).landed, 0U);
}

TEST(Judge, pointer_at_or_below_the_place_means_nothing_is_there) {
    EXPECT_EQ(judge(kRecorded, zone_written_to(4096)).landed, 0U);
    EXPECT_EQ(judge(kRecorded, zone_written_to(0)).landed, 0U);
    EXPECT_EQ(judge(kRecorded, zone_written_to(65536, ZoneState::empty)).landed, 0U);
}

TEST(Judge, pointer_at_or_beyond_the_end_means_all_is_there) {
    const EarlierWrite earlier = judge(kRecorded, zone_written_to(12288));

    EXPECT_EQ(earlier.offset, kMiB + 4096);
    EXPECT_EQ(earlier.landed, EarlierWrite::kAll);
    EXPECT_EQ(judge(kRecorded, zone_written_to(0, ZoneState::full)).landed, EarlierWrite::kAll);
}

TEST(Judge, pointer_within_the_data_means_it_is_torn) {
    EXPECT_EQ(judge(kRecorded, zone_written_to(8192, ZoneState::closed)).landed, 4096U);
}

TEST(Judge, what_landed_is_there_wherever_the_pointer_is_now) {
    constexpr WriteSlot kLanded{.place = kMiB + 4096 + 1, .length = 0};

    EXPECT_EQ(judge(kLanded, zone_written_to(0, ZoneState::empty)).landed, EarlierWrite::kAll);
}

TEST(Judge, worn_out_zone_is_asked_again_so_that_it_refuses) {
    EXPECT_EQ(judge(kRecorded, zone_written_to(12288, ZoneState::read_only)).landed, 0U);
    EXPECT_EQ(judge(kRecorded, zone_written_to(12288, ZoneState::offline)).landed, 0U);
}

TEST(BytesDone, append_is_done_where_its_zone_is) {
    const EarlierWrite earlier{.offset = kMiB + 4096, .landed = EarlierWrite::kAll};
    const Request append{.op = Op::append, .range = {kMiB, 8192}};
    const Request elsewhere{.op = Op::append, .range = {2 * kMiB, 8192}};

    EXPECT_EQ(bytes_done(earlier, append, kZones), 8192U);
    EXPECT_EQ(bytes_done(earlier, elsewhere, kZones), 0U);
}

TEST(BytesDone, torn_write_has_the_part_below_the_pointer) {
    const EarlierWrite earlier{.offset = kMiB + 4096, .landed = 4096};
    const Request write{.op = Op::write, .range = {kMiB + 4096, 8192}};

    EXPECT_EQ(bytes_done(earlier, write, kZones), 4096U);
}

TEST(BytesDone, write_at_another_place_is_not_done) {
    const EarlierWrite earlier{.offset = kMiB + 4096, .landed = EarlierWrite::kAll};
    const Request write{.op = Op::write, .range = {kMiB + 8192, 4096}};

    EXPECT_EQ(bytes_done(earlier, write, kZones), 0U);
}

TEST(BytesDone, forged_places_are_not_done) {
    const Request append{.op = Op::append, .range = {3 * kMiB, 8192}};
    const std::uint64_t last_block = 4 * kMiB - 4096;

    EXPECT_EQ(bytes_done({.offset = last_block, .landed = EarlierWrite::kAll}, append, kZones), 0U);
    EXPECT_EQ(bytes_done({.offset = ~0ULL - 4096, .landed = EarlierWrite::kAll}, append, kZones),
              0U);
}

TEST(BytesDone, what_is_no_write_is_never_done) {
    const EarlierWrite earlier{.offset = kMiB, .landed = EarlierWrite::kAll};
    const Request read{.op = Op::read, .range = {kMiB, 4096}};

    EXPECT_EQ(bytes_done(earlier, read, kZones), 0U);
}

TEST(BytesDone, disk_without_zones_does_everything_again) {
    const EarlierWrite earlier{.offset = 0, .landed = EarlierWrite::kAll};
    const Request write{.op = Op::write, .range = {0, 4096}};

    EXPECT_EQ(bytes_done(earlier, write, ZoneGeometry()), 0U);
}

}  // namespace
}  // namespace zbdkit
