// SPDX-License-Identifier: Apache-2.0
// That no filter and no format loses the zones: every stack of up to four shows the same disk as
// the node below it, and what cannot carry zones refuses to be opened over them. Short stacks and a
// sample of the longer ones also pass all of zone_conformance_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "tests/conformance/disk.h"
#include "tests/conformance/stacks.h"

namespace zbdkit::test {
namespace {

constexpr std::uint64_t kZone = 64 * kKiB;
constexpr const char* kOptions =
    "zone.size=64k,zone.capacity=48k,zone.conventional_zones=2,zone.max_open_zones=3,"
    "zone.max_active_zones=4,zone.max_append_bytes=16k";

TEST(Stacks, every_filter_and_format_says_how_it_is_put_over_zones) {
    for (const DriverInfo* driver : drivers_with_a_child()) {
        EXPECT_TRUE(neutral(*driver).has_value())
            << "driver '" << driver->name << "' needs an entry in tests/conformance/stacks.cc";
    }
}

TEST(Stacks, drivers_that_cannot_carry_zones_refuse_them) {
    for (const DriverInfo* driver : drivers_with_a_child()) {
        const std::optional<Neutral> entry = neutral(*driver);
        if (!entry || entry->kind != Neutral::Kind::refuses) continue;
        Disk disk(Storage::memory, 16 * kZone, kOptions);
        EXPECT_EQ(disk.try_stack({driver}), Errc::not_supported) << driver->name;
    }
}

class EveryStack : public testing::TestWithParam<std::size_t> {};

INSTANTIATE_TEST_SUITE_P(Depth, EveryStack, testing::Values(1, 2, 3, 4));

/// The disk is what `plain` is, and takes appends.
void expect_same_disk(Disk& disk, Disk& plain) {
    const NodeInfo& info = disk.info();
    const NodeInfo& expected = plain.info();
    EXPECT_EQ(info.zones, expected.zones);
    EXPECT_EQ(info.ops, expected.ops);
    EXPECT_EQ(info.size, expected.size);
    EXPECT_EQ(info.block_size, expected.block_size);
    EXPECT_EQ(info.read_only, expected.read_only);
    EXPECT_EQ(disk.report(), plain.report());
    std::uint64_t placed = 0;
    EXPECT_EQ(disk.append(3 * kZone, 4096, 0x11), kOk);
    EXPECT_EQ(disk.append(3 * kZone, 4096, 0x22, &placed), kOk);
    EXPECT_EQ(placed, 3 * kZone + 4096);
    EXPECT_EQ(disk.read_fill(3 * kZone + 4096, 4096), 0x22);
    EXPECT_EQ(disk.state(3), ZoneState::implicit_open);
    EXPECT_EQ(disk.act(Op::zone_reset, 3 * kZone), kOk);
}

TEST_P(EveryStack, shows_the_same_disk) {
    Disk plain(Storage::memory, 16 * kZone, kOptions);
    std::vector<Stack> stacks = stacks_of_depth(GetParam());
    ASSERT_FALSE(stacks.empty());
    std::ranges::sort(stacks, {}, trimmed_zones);
    // One image for all stacks that leave out as many zones of it.
    std::unique_ptr<Disk> disk;
    std::uint32_t trimmed = 0;
    for (const Stack& stack : stacks) {
        SCOPED_TRACE(name_of(stack));
        if (disk && trimmed_zones(stack) == trimmed) {
            disk->change_stack(stack);
        } else {
            const DiskSetup setup = {.storage = Storage::memory, .stack = stack};
            disk = std::make_unique<Disk>(setup, 16 * kZone, kOptions);
            trimmed = trimmed_zones(stack);
        }
        expect_same_disk(*disk, plain);
        if (HasFailure()) break;
    }
}

}  // namespace
}  // namespace zbdkit::test
