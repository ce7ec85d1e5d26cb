// SPDX-License-Identifier: Apache-2.0
#include "bench/zoned_workload.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/seed.h"

namespace zbdkit::bench {
namespace {

constexpr std::uint64_t kZone = 65536;

/// Zones of 4 blocks of 4096.
ZonedArea area_of(std::uint32_t zone_count, std::uint64_t written = 0) {
    ZonedArea area{.zones = {}, .block_size = 4096};
    for (std::uint32_t i = 0; i < zone_count; ++i) {
        area.zones.push_back({.start = i * kZone,
                              .length = kZone,
                              .capacity = 4,
                              .next = written,
                              .readable = written});
    }
    return area;
}

TEST(ZonedWorkload, several_writes_go_to_a_zone_in_order) {
    ZonedArea area = area_of(1);
    ZonedWorkload workload(area, {.operation = Operation::randwrite});
    for (const std::uint64_t offset : {0U, 4096U, 8192U, 12288U}) {
        EXPECT_EQ(workload.next(0), (Target{.type = BlkRequestType::out, .offset = offset}));
    }
}

TEST(ZonedWorkload, a_full_zone_is_reset_when_nothing_is_on_its_way) {
    ZonedArea area = area_of(1);
    ZonedWorkload workload(area, {.operation = Operation::randwrite});
    std::vector<Target> writes;
    for (int i = 0; i < 4; ++i) writes.push_back(*workload.next(0));
    for (const Target& write : writes) {
        EXPECT_EQ(workload.next(0), std::nullopt);
        workload.ended(write);
    }
    const auto reset = workload.next(0);
    EXPECT_EQ(reset->type, BlkRequestType::zone_reset);
    EXPECT_EQ(workload.next(0), std::nullopt);
    workload.ended(*reset);
    EXPECT_EQ(workload.next(0), (Target{.type = BlkRequestType::out, .offset = 0}));
}

TEST(ZonedWorkload, with_a_verifier_a_full_zone_is_read_before_its_reset) {
    ZonedArea area = area_of(1, 4);
    Verifier verifier({0, kZone}, 4096, 1);
    ZonedWorkload workload(area, {.operation = Operation::append, .verifier = &verifier});
    std::vector<Target> reads;
    for (const std::uint64_t offset : {0U, 4096U, 8192U, 12288U}) {
        reads.push_back(*workload.next(0));
        EXPECT_EQ(reads.back(), (Target{.type = BlkRequestType::in, .offset = offset}));
    }
    EXPECT_EQ(workload.next(0), std::nullopt);
    for (const Target& read : reads) workload.ended(read);
    EXPECT_EQ(workload.next(0)->type, BlkRequestType::zone_reset);
}

TEST(ZonedWorkload, appends_name_the_zone_and_do_not_pass_its_capacity) {
    ZonedArea area = area_of(2);
    ZonedWorkload workload(area, {.operation = Operation::append, .seed = test::seed()});
    std::vector<unsigned> appends(2);
    for (int i = 0; i < 8; ++i) {
        const auto target = workload.next(0);
        EXPECT_EQ(target->type, BlkRequestType::zone_append);
        EXPECT_EQ(target->offset, target->zone * kZone);
        ++appends.at(target->zone);
    }
    EXPECT_EQ(appends, (std::vector<unsigned>{4, 4}));
    EXPECT_EQ(workload.next(0), std::nullopt);
}

TEST(ZonedWorkload, an_append_can_only_be_at_a_block_of_its_zone) {
    ZonedArea area = area_of(2);
    const ZonedWorkload workload(area, {.operation = Operation::append});
    const Target append{.type = BlkRequestType::zone_append, .zone = 1, .offset = kZone};
    EXPECT_TRUE(workload.is_place_of(append, kZone));
    EXPECT_TRUE(workload.is_place_of(append, kZone + 12288));
    EXPECT_FALSE(workload.is_place_of(append, kZone + 16384));
    EXPECT_FALSE(workload.is_place_of(append, kZone + 512));
    EXPECT_FALSE(workload.is_place_of(append, 4096));
}

TEST(ZonedWorkload, each_queue_writes_zones_of_its_own) {
    ZonedArea area = area_of(4);
    ZonedWorkload workload(
        area, {.operation = Operation::randwrite, .queue_count = 2, .seed = test::seed()});
    for (int i = 0; i < 8; ++i) EXPECT_EQ(workload.next(1)->zone % 2, 1U);
    EXPECT_EQ(workload.next(1), std::nullopt);
    EXPECT_TRUE(workload.next(0).has_value());
}

TEST(ZonedWorkload, sequential_writes_begin_a_zone_when_the_former_is_done) {
    ZonedArea area = area_of(2);
    ZonedWorkload workload(area, {.operation = Operation::write});
    std::vector<Target> writes;
    for (int i = 0; i < 4; ++i) writes.push_back(*workload.next(0));
    EXPECT_EQ(workload.next(0), std::nullopt);
    for (const Target& write : writes) workload.ended(write);
    EXPECT_EQ(workload.next(0)->offset, kZone);
}

TEST(ZonedWorkload, reads_stay_below_the_oldest_write_on_its_way) {
    ZonedArea area = area_of(1);
    ZonedWorkload workload(area, {.operation = Operation::randwrite});
    const auto first = workload.next(0);
    const auto second = workload.next(0);
    workload.ended(*second);
    EXPECT_EQ(area.zones[0].readable, 0U);
    workload.ended(*first);
    EXPECT_EQ(area.zones[0].readable, 2U);
}

TEST(ZonedWorkload, sequential_reads_go_around_what_is_written) {
    ZonedArea area = area_of(2, 2);
    ZonedWorkload workload(area, {.operation = Operation::read});
    for (const std::uint64_t offset : {0U, 4096U, 65536U, 69632U, 0U}) {
        EXPECT_EQ(workload.next(0)->offset, offset);
    }
}

/// What ends in any order never breaks the rules of a zone.
TEST(ZonedWorkload, mixed_keeps_the_rules_in_any_order_of_ends) {
    ZonedArea area = area_of(3);
    Random random(test::seed());
    ZonedWorkload workload(area, {.operation = Operation::mixed,
                                  .read_percent = 50,
                                  .queue_count = 3,
                                  .seed = random.next()});
    std::vector<std::uint64_t> pointers(3);  // blocks
    std::vector<Target> on_the_way;
    unsigned resets = 0;
    for (int i = 0; i < 20'000; ++i) {
        const auto queue = static_cast<std::uint32_t>(random.below(3));
        const auto target = workload.next(queue);
        if (target) {
            std::uint64_t& pointer = pointers.at(target->zone);
            const std::uint64_t block = (target->offset - target->zone * kZone) / 4096;
            if (target->type == BlkRequestType::out) {
                ASSERT_EQ(block, pointer++);
            } else if (target->type == BlkRequestType::in) {
                ASSERT_LT(block, pointer);
            } else {
                ASSERT_EQ(target->type, BlkRequestType::zone_reset);
                for (const Target& other : on_the_way) ASSERT_NE(other.zone, target->zone);
                pointer = 0;
                ++resets;
            }
            on_the_way.push_back(*target);
        }
        while (!on_the_way.empty() && (!target || on_the_way.size() > 8)) {
            const std::size_t index = random.below(on_the_way.size());
            workload.ended(on_the_way[index]);
            on_the_way.erase(on_the_way.begin() + static_cast<std::ptrdiff_t>(index));
            if (random.below(4) == 0) break;
        }
    }
    EXPECT_GT(resets, 100U);
}

TEST(ZonedPass, fill_goes_on_where_zones_stand_one_after_the_other) {
    ZonedArea area = area_of(2, 2);
    ZonedPass pass(area, {.kind = ZonedPass::Kind::fill});
    const auto first = pass.next(0);
    const auto second = pass.next(0);
    EXPECT_EQ(first->offset, 8192U);
    EXPECT_EQ(second->offset, 12288U);
    EXPECT_EQ(pass.next(0), std::nullopt);
    pass.ended(*first);
    pass.ended(*second);
    EXPECT_EQ(pass.next(0)->offset, kZone + 8192);
    EXPECT_EQ(pass.next(1), std::nullopt);
}

TEST(ZonedPass, fill_stops_at_its_share) {
    ZonedArea area = area_of(1);
    ZonedPass pass(area, {.kind = ZonedPass::Kind::fill, .percent = 50});
    EXPECT_TRUE(pass.next(0).has_value());
    EXPECT_TRUE(pass.next(0).has_value());
    EXPECT_EQ(pass.next(0), std::nullopt);
}

}  // namespace
}  // namespace zbdkit::bench
