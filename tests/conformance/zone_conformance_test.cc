// SPDX-License-Identifier: Apache-2.0
// What a zoned disk does, whatever it is made of, and through whatever stands over it. Each case is
// a sentence of docs/zone-semantics.md.
#include <gtest/gtest.h>

#include "tests/conformance/disk.h"
#include "tests/support/seed.h"

namespace zbdkit::test {
namespace {

constexpr std::uint64_t kZone = 64 * kKiB;
constexpr std::uint64_t kCapacity = 48 * kKiB;
/// 16 such zones, two of them conventional; 3 open and 4 active at most.
constexpr const char* kOptions =
    "zone.size=64k,zone.capacity=48k,zone.conventional_zones=2,zone.max_open_zones=3,"
    "zone.max_active_zones=4,zone.max_append_bytes=16k";

class ZoneConformance : public testing::TestWithParam<DiskSetup> {
  protected:
    const testing::ScopedTrace trace_{__FILE__, __LINE__, seed_trace()};  // of the stacks drawn
    Disk disk_{GetParam(), 16 * kZone, kOptions};
};

INSTANTIATE_TEST_SUITE_P(, ZoneConformance, testing::ValuesIn(all_storages()), setup_name);

INSTANTIATE_TEST_SUITE_P(One, ZoneConformance, testing::ValuesIn(over_memory(stacks_of_depth(1))),
                         setup_name);
INSTANTIATE_TEST_SUITE_P(Two, ZoneConformance, testing::ValuesIn(over_memory(stacks_of_depth(2))),
                         setup_name);
INSTANTIATE_TEST_SUITE_P(SomeOfThree, ZoneConformance,
                         testing::ValuesIn(over_memory(sample_of_depth(3, 8))), setup_name);
INSTANTIATE_TEST_SUITE_P(SomeOfFour, ZoneConformance,
                         testing::ValuesIn(over_memory(sample_of_depth(4, 8))), setup_name);

TEST_P(ZoneConformance, new_disk_has_empty_zones_behind_its_conventional_ones) {
    const std::vector<ZoneDescriptor> zones = disk_.report();
    ASSERT_EQ(zones.size(), 16U);
    EXPECT_EQ(zones[1].type, ZoneType::conventional);
    EXPECT_EQ(zones[1].state, ZoneState::not_write_pointer);
    EXPECT_EQ(zones[1].capacity, kZone);
    EXPECT_EQ(zones[2].type, ZoneType::sequential_required);
    EXPECT_EQ(zones[2].state, ZoneState::empty);
    EXPECT_EQ(zones[2].capacity, kCapacity);
    EXPECT_EQ(zones[2].start, 2 * kZone);
    EXPECT_EQ(zones[2].write_pointer, 2 * kZone);
    EXPECT_EQ(zones[15].state, ZoneState::empty);
}

TEST_P(ZoneConformance, report_starts_with_the_zone_that_contains_the_offset) {
    const std::vector<ZoneDescriptor> zones = disk_.report(5 * kZone + 4096, 3);
    ASSERT_EQ(zones.size(), 3U);
    EXPECT_EQ(zones[0].start, 5 * kZone);
}

TEST_P(ZoneConformance, report_with_no_room_reports_nothing) {
    EXPECT_TRUE(disk_.report(0, 0).empty());
}

TEST_P(ZoneConformance, write_at_the_pointer_opens_the_zone_and_moves_it) {
    EXPECT_EQ(disk_.write(2 * kZone, 8192, 0x11), kOk);
    EXPECT_EQ(disk_.state(2), ZoneState::implicit_open);
    EXPECT_EQ(disk_.pointer(2), 8192U);
    EXPECT_EQ(disk_.read_fill(2 * kZone, 8192), 0x11);
}

TEST_P(ZoneConformance, write_off_the_pointer_is_refused_and_changes_nothing) {
    EXPECT_EQ(disk_.write(2 * kZone + 4096, 4096, 0x11), Errc::zone_unaligned_wp);
    EXPECT_EQ(disk_.state(2), ZoneState::empty);
}

TEST_P(ZoneConformance, write_below_the_pointer_is_refused) {
    ASSERT_EQ(disk_.write(2 * kZone, 8192, 0x11), kOk);
    EXPECT_EQ(disk_.write(2 * kZone, 4096, 0x22), Errc::zone_unaligned_wp);
    EXPECT_EQ(disk_.read_fill(2 * kZone, 8192), 0x11);
}

TEST_P(ZoneConformance, append_goes_to_the_pointer_and_says_where) {
    std::uint64_t placed = 0;
    ASSERT_EQ(disk_.append(3 * kZone, 4096, 0x11, &placed), kOk);
    EXPECT_EQ(placed, 3 * kZone);
    ASSERT_EQ(disk_.append(3 * kZone, 8192, 0x22, &placed), kOk);
    EXPECT_EQ(placed, 3 * kZone + 4096);
    EXPECT_EQ(disk_.pointer(3), 12288U);
    EXPECT_EQ(disk_.read_fill(3 * kZone + 4096, 8192), 0x22);
}

TEST_P(ZoneConformance, append_not_at_a_zone_start_is_refused) {
    EXPECT_EQ(disk_.append(3 * kZone + 4096, 4096, 0x11), Errc::zone_invalid);
}

TEST_P(ZoneConformance, append_to_a_conventional_zone_is_refused) {
    EXPECT_EQ(disk_.append(0, 4096, 0x11), Errc::zone_invalid);
}

TEST_P(ZoneConformance, append_longer_than_the_limit_is_refused) {
    EXPECT_EQ(disk_.append(3 * kZone, 20 * kKiB, 0x11), Errc::zone_invalid);
}

TEST_P(ZoneConformance, write_up_to_the_capacity_fills_the_zone) {
    ASSERT_EQ(disk_.write(2 * kZone, kCapacity, 0x33), kOk);
    EXPECT_EQ(disk_.state(2), ZoneState::full);
    EXPECT_EQ(disk_.read_fill(2 * kZone + kCapacity - 4096, 4096), 0x33);
}

TEST_P(ZoneConformance, write_over_the_capacity_is_refused_and_spills_nowhere) {
    ASSERT_EQ(disk_.write(2 * kZone, kCapacity - 4096, 0x33), kOk);
    EXPECT_EQ(disk_.write(2 * kZone + kCapacity - 4096, 8192, 0x44), Errc::zone_invalid);
    EXPECT_EQ(disk_.append(2 * kZone, 8192, 0x44), Errc::zone_invalid);
    EXPECT_EQ(disk_.pointer(2), kCapacity - 4096);
    EXPECT_EQ(disk_.state(3), ZoneState::empty);
}

TEST_P(ZoneConformance, append_to_a_full_zone_is_refused_and_spills_nowhere) {
    ASSERT_EQ(disk_.act(Op::zone_finish, 2 * kZone), kOk);
    EXPECT_EQ(disk_.append(2 * kZone, 4096, 0x44), Errc::zone_invalid);
    EXPECT_EQ(disk_.state(3), ZoneState::empty);
}

TEST_P(ZoneConformance, write_across_the_zone_border_is_refused) {
    EXPECT_EQ(disk_.write(2 * kZone, kZone + 4096, 0x11), Errc::zone_invalid);
    EXPECT_EQ(disk_.write(kZone, kZone + 4096, 0x11), Errc::zone_invalid);
}

TEST_P(ZoneConformance, read_across_the_border_of_a_sequential_zone_is_refused) {
    std::vector<std::uint8_t> bytes;
    EXPECT_EQ(disk_.read(3 * kZone - 4096, 8192, &bytes), Errc::zone_invalid);
}

TEST_P(ZoneConformance, read_above_the_pointer_gives_zeroes) {
    ASSERT_EQ(disk_.write(2 * kZone, 4096, 0x11), kOk);
    std::vector<std::uint8_t> bytes;
    ASSERT_EQ(disk_.read(2 * kZone, 8192, &bytes), kOk);
    EXPECT_EQ(bytes[4095], 0x11);
    EXPECT_EQ(bytes[4096], 0);
    EXPECT_EQ(bytes[8191], 0);
}

TEST_P(ZoneConformance, conventional_zones_take_writes_anywhere_and_across_their_border) {
    EXPECT_EQ(disk_.write(kZone - 4096, 8192, 0x55), kOk);
    EXPECT_EQ(disk_.write(4096, 4096, 0x66), kOk);
    EXPECT_EQ(disk_.read_fill(kZone - 4096, 8192), 0x55);
    EXPECT_EQ(disk_.read_fill(4096, 4096), 0x66);
    EXPECT_EQ(disk_.read_fill(0, 4096), 0);
}

TEST_P(ZoneConformance, actions_on_conventional_zones_are_refused) {
    for (const Op op : {Op::zone_open, Op::zone_close, Op::zone_finish, Op::zone_reset}) {
        EXPECT_EQ(disk_.act(op, 0), Errc::zone_invalid) << op_name(op);
    }
}

TEST_P(ZoneConformance, explicit_open_then_close_of_an_empty_zone_gives_empty) {
    ASSERT_EQ(disk_.act(Op::zone_open, 2 * kZone), kOk);
    EXPECT_EQ(disk_.state(2), ZoneState::explicit_open);
    ASSERT_EQ(disk_.act(Op::zone_close, 2 * kZone), kOk);
    EXPECT_EQ(disk_.state(2), ZoneState::empty);
}

TEST_P(ZoneConformance, close_of_a_written_zone_gives_closed) {
    ASSERT_EQ(disk_.write(2 * kZone, 4096, 0x11), kOk);
    ASSERT_EQ(disk_.act(Op::zone_close, 2 * kZone), kOk);
    EXPECT_EQ(disk_.state(2), ZoneState::closed);
    EXPECT_EQ(disk_.pointer(2), 4096U);
}

TEST_P(ZoneConformance, close_of_empty_and_full_zones_is_refused) {
    EXPECT_EQ(disk_.act(Op::zone_close, 2 * kZone), Errc::zone_invalid);
    ASSERT_EQ(disk_.act(Op::zone_finish, 2 * kZone), kOk);
    EXPECT_EQ(disk_.act(Op::zone_close, 2 * kZone), Errc::zone_invalid);
}

TEST_P(ZoneConformance, finished_zone_is_full_and_keeps_its_data) {
    ASSERT_EQ(disk_.write(2 * kZone, 8192, 0x77), kOk);
    ASSERT_EQ(disk_.act(Op::zone_finish, 2 * kZone), kOk);
    EXPECT_EQ(disk_.state(2), ZoneState::full);
    EXPECT_EQ(disk_.read_fill(2 * kZone, 8192), 0x77);
    EXPECT_EQ(disk_.read_fill(2 * kZone + 8192, 8192), 0);
}

TEST_P(ZoneConformance, reset_zone_is_empty_and_shows_nothing_of_its_earlier_life) {
    ASSERT_EQ(disk_.write(2 * kZone, 16384, 0x88), kOk);
    ASSERT_EQ(disk_.act(Op::zone_reset, 2 * kZone), kOk);
    EXPECT_EQ(disk_.state(2), ZoneState::empty);
    EXPECT_EQ(disk_.read_fill(2 * kZone, 16384), 0);
    ASSERT_EQ(disk_.write(2 * kZone, 4096, 0x99), kOk);
    EXPECT_EQ(disk_.read_fill(2 * kZone, 4096), 0x99);
    EXPECT_EQ(disk_.read_fill(2 * kZone + 4096, 8192), 0);
}

TEST_P(ZoneConformance, reset_all_empties_every_sequential_zone_and_no_other) {
    ASSERT_EQ(disk_.write(0, 4096, 0x11), kOk);
    ASSERT_EQ(disk_.write(2 * kZone, 4096, 0x22), kOk);
    ASSERT_EQ(disk_.act(Op::zone_finish, 3 * kZone), kOk);
    ASSERT_EQ(disk_.act(Op::zone_open, 4 * kZone), kOk);
    ASSERT_EQ(disk_.act(Op::zone_reset_all, 0), kOk);
    EXPECT_EQ(disk_.state(2), ZoneState::empty);
    EXPECT_EQ(disk_.state(3), ZoneState::empty);
    EXPECT_EQ(disk_.state(4), ZoneState::empty);
    EXPECT_EQ(disk_.read_fill(0, 4096), 0x11);
}

TEST_P(ZoneConformance, write_at_the_open_limit_closes_the_least_recently_written_zone) {
    for (std::uint64_t zone = 2; zone < 5; ++zone) {
        ASSERT_EQ(disk_.write(zone * kZone, 4096, 0x11), kOk);
    }
    ASSERT_EQ(disk_.write(5 * kZone, 4096, 0x11), kOk);
    EXPECT_EQ(disk_.state(2), ZoneState::closed);
    EXPECT_EQ(disk_.state(5), ZoneState::implicit_open);
}

TEST_P(ZoneConformance, write_over_the_active_limit_is_refused) {
    for (std::uint64_t zone = 2; zone < 6; ++zone) {
        ASSERT_EQ(disk_.write(zone * kZone, 4096, 0x11), kOk);
    }
    EXPECT_EQ(disk_.write(6 * kZone, 4096, 0x11), Errc::zone_active_limit);
    EXPECT_EQ(disk_.state(6), ZoneState::empty);
}

TEST_P(ZoneConformance, open_over_the_open_limit_of_explicitly_open_zones_is_refused) {
    for (std::uint64_t zone = 2; zone < 5; ++zone) {
        ASSERT_EQ(disk_.act(Op::zone_open, zone * kZone), kOk);
    }
    EXPECT_EQ(disk_.act(Op::zone_open, 5 * kZone), Errc::zone_open_limit);
    EXPECT_EQ(disk_.write(5 * kZone, 4096, 0x11), Errc::zone_open_limit);
}

TEST_P(ZoneConformance, requests_beyond_the_end_are_refused) {
    std::vector<std::uint8_t> bytes;
    EXPECT_EQ(disk_.read(16 * kZone, 4096, &bytes), Errc::out_of_range);
    EXPECT_EQ(disk_.write(16 * kZone - 4096, 8192, 0x11), Errc::out_of_range);
    EXPECT_EQ(disk_.act(Op::zone_open, 16 * kZone), Errc::out_of_range);
    EXPECT_EQ(disk_.append(16 * kZone, 4096, 0x11), Errc::out_of_range);
}

TEST_P(ZoneConformance, misaligned_requests_are_refused) {
    std::vector<std::uint8_t> bytes;
    EXPECT_EQ(disk_.read(512, 512, &bytes), Errc::misaligned);
    EXPECT_EQ(disk_.write(2 * kZone, 512, 0x11), Errc::misaligned);
    EXPECT_EQ(disk_.act(Op::zone_reset, 2 * kZone + 4096), Errc::zone_invalid);
}

TEST(ZoneConformanceShapes, short_last_zone_has_its_own_length_and_takes_appends) {
    Disk disk(Storage::file, 8 * kMiB + 64 * kKiB, "zone.size=4M");
    const ZoneDescriptor last = disk.zone(2);
    EXPECT_EQ(last.length, 64 * kKiB);
    EXPECT_EQ(last.capacity, 64 * kKiB);
    std::uint64_t placed = 0;
    ASSERT_EQ(disk.append(8 * kMiB, 64 * kKiB, 0x12, &placed), kOk);
    EXPECT_EQ(placed, 8 * kMiB);
    EXPECT_EQ(disk.state(2), ZoneState::full);
    EXPECT_EQ(disk.act(Op::zone_reset, 8 * kMiB), kOk);
    EXPECT_EQ(disk.append(8 * kMiB, 4096, 0x13), kOk);
}

TEST(ZoneConformanceShapes, zones_of_8_gib_hold_pointers_beyond_4_gib) {
    Disk disk(Storage::file, 32 * kGiB, "zone.size=8G");
    ASSERT_EQ(disk.write(8 * kGiB, 4096, 0x21), kOk);
    ASSERT_EQ(disk.act(Op::zone_finish, 8 * kGiB), kOk);
    EXPECT_EQ(disk.zone(1).write_pointer, 16 * kGiB);
    EXPECT_EQ(disk.zone(3).start, 24 * kGiB);
    ASSERT_EQ(disk.append(24 * kGiB, 4096, 0x22), kOk);
    EXPECT_EQ(disk.read_fill(24 * kGiB, 4096), 0x22);
}

TEST(ZoneConformanceShapes, host_aware_zones_take_writes_anywhere) {
    Disk disk(Storage::file, 16 * kMiB, "zone.size=4M,zone.mode=host-aware");
    EXPECT_EQ(disk.zone(0).type, ZoneType::sequential_preferred);
    ASSERT_EQ(disk.write(kMiB, 4096, 0x31), kOk);
    EXPECT_EQ(disk.pointer(0), kMiB + 4096);
    ASSERT_EQ(disk.write(0, 4096, 0x32), kOk);
    EXPECT_EQ(disk.pointer(0), kMiB + 4096);
    EXPECT_EQ(disk.read_fill(4096, 4096), 0);
    EXPECT_EQ(disk.append(0, 4096, 0x33), Errc::zone_invalid);
    ASSERT_EQ(disk.act(Op::zone_reset, 0), kOk);
    EXPECT_EQ(disk.read_fill(kMiB, 4096), 0);
}

}  // namespace
}  // namespace zbdkit::test
