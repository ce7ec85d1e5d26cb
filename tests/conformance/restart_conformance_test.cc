// SPDX-License-Identifier: Apache-2.0
// What a zoned disk remembers: after a close in good order, and after the daemon alone died.
#include <gtest/gtest.h>

#include "tests/conformance/disk.h"

namespace zbdkit::test {
namespace {

constexpr std::uint64_t kZone = 256 * kKiB;

class RestartConformance : public testing::TestWithParam<DiskSetup> {
  protected:
    /// A disk with a zone in every state that survives.
    void SetUp() override {
        ASSERT_EQ(disk_.write(0, 4096, 0x10), kOk);
        ASSERT_EQ(disk_.write(2 * kZone, 8192, 0x12), kOk);
        ASSERT_EQ(disk_.act(Op::zone_open, 3 * kZone), kOk);
        ASSERT_EQ(disk_.write(4 * kZone, 4096, 0x14), kOk);
        ASSERT_EQ(disk_.act(Op::zone_close, 4 * kZone), kOk);
        ASSERT_EQ(disk_.append(5 * kZone, 4096, 0x15), kOk);
        ASSERT_EQ(disk_.act(Op::zone_finish, 5 * kZone), kOk);
        ASSERT_EQ(disk_.write(6 * kZone, 4096, 0x16), kOk);
        ASSERT_EQ(disk_.act(Op::zone_reset, 6 * kZone), kOk);
    }

    void expect_data() {
        EXPECT_EQ(disk_.read_fill(0, 4096), 0x10);
        EXPECT_EQ(disk_.read_fill(2 * kZone, 8192), 0x12);
        EXPECT_EQ(disk_.read_fill(4 * kZone, 4096), 0x14);
        EXPECT_EQ(disk_.read_fill(5 * kZone, 4096), 0x15);
        EXPECT_EQ(disk_.read_fill(6 * kZone, 4096), 0);
        EXPECT_EQ(disk_.state(4), ZoneState::closed);
        EXPECT_EQ(disk_.state(5), ZoneState::full);
        EXPECT_EQ(disk_.state(6), ZoneState::empty);
        EXPECT_EQ(disk_.pointer(2), 8192U);
    }

    Disk disk_{GetParam(), 8 * kZone, "zone.size=256k,zone.conventional_zones=1"};
};

INSTANTIATE_TEST_SUITE_P(, RestartConformance, testing::ValuesIn(all_storages()), setup_name);
INSTANTIATE_TEST_SUITE_P(One, RestartConformance,
                         testing::ValuesIn(over_memory(stacks_of_depth(1))), setup_name);

TEST_P(RestartConformance, disk_closed_in_good_order_keeps_data_and_states) {
    disk_.reopen();
    expect_data();
    EXPECT_EQ(disk_.state(2), ZoneState::implicit_open);
    EXPECT_EQ(disk_.state(3), ZoneState::explicit_open);
}

TEST_P(RestartConformance, killed_daemon_loses_nothing_that_completed) {
    disk_.kill_and_reopen();
    expect_data();
    EXPECT_EQ(disk_.state(2), ZoneState::implicit_open);
    EXPECT_EQ(disk_.state(3), ZoneState::explicit_open);
}

TEST_P(RestartConformance, writing_goes_on_where_it_stopped) {
    disk_.kill_and_reopen();
    EXPECT_EQ(disk_.write(2 * kZone + 8192, 4096, 0x22), kOk);
    std::uint64_t placed = 0;
    EXPECT_EQ(disk_.append(4 * kZone, 4096, 0x24, &placed), kOk);
    EXPECT_EQ(placed, 4 * kZone + 4096);
    disk_.reopen();
    EXPECT_EQ(disk_.read_fill(2 * kZone + 8192, 4096), 0x22);
    EXPECT_EQ(disk_.pointer(4), 8192U);
}

}  // namespace
}  // namespace zbdkit::test
