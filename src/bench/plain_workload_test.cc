// SPDX-License-Identifier: Apache-2.0
#include "bench/plain_workload.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/seed.h"

namespace zbdkit::bench {
namespace {

constexpr PlainArea kArea{.block_count = 4, .block_size = 4096};

TEST(PlainWorkload, sequential_goes_around) {
    PlainWorkload workload(kArea, {.operation = Operation::write});
    for (const std::uint64_t offset : {0U, 4096U, 8192U, 12288U, 0U, 4096U}) {
        const auto target = workload.next(0);
        EXPECT_EQ(target->type, BlkRequestType::out);
        EXPECT_EQ(target->offset, offset);
    }
}

TEST(PlainWorkload, random_reads_reach_every_block_and_no_other) {
    PlainWorkload workload(kArea, {.operation = Operation::randread, .seed = test::seed()});
    std::vector<unsigned> hits(4);
    for (int i = 0; i < 400; ++i) ++hits.at(workload.next(0)->offset / 4096);
    for (const unsigned count : hits) EXPECT_GT(count, 50U);
}

TEST(PlainWorkload, mixed_reads_as_often_as_it_should) {
    PlainWorkload workload(
        kArea, {.operation = Operation::mixed, .read_percent = 70, .seed = test::seed()});
    unsigned reads = 0;
    for (int i = 0; i < 10'000; ++i) {
        reads += workload.next(0)->type == BlkRequestType::in ? 1 : 0;
    }
    EXPECT_NEAR(reads, 7000, 300);
}

TEST(PlainWorkload, with_a_verifier_no_two_writes_meet) {
    Verifier verifier({0, 16384}, 4096, 1);
    PlainWorkload workload(kArea, {.operation = Operation::write, .verifier = &verifier});
    const auto first = workload.next(0);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(workload.next(0).has_value());
    EXPECT_EQ(workload.next(0), std::nullopt);
    workload.ended(*first);
    EXPECT_EQ(workload.next(0)->offset, first->offset);
}

TEST(PlainPass, fill_writes_every_block_once) {
    PlainPass pass(kArea, PlainPass::Kind::fill, nullptr);
    for (const std::uint64_t offset : {0U, 4096U, 8192U, 12288U}) {
        EXPECT_EQ(pass.next(0)->offset, offset);
    }
    EXPECT_EQ(pass.next(0), std::nullopt);
}

TEST(PlainPass, read_back_reads_what_was_written) {
    Verifier verifier({0, 16384}, 4096, 1);
    std::vector<std::byte> data(4096);
    Target written{.type = BlkRequestType::out, .offset = 8192};
    verifier.stamp(written, data);
    EXPECT_EQ(verifier.wrote(written, 8192), std::nullopt);
    PlainPass pass(kArea, PlainPass::Kind::read_back, &verifier);
    const auto target = pass.next(0);
    EXPECT_EQ(target->type, BlkRequestType::in);
    EXPECT_EQ(target->offset, 8192U);
    EXPECT_EQ(pass.next(0), std::nullopt);
}

}  // namespace
}  // namespace zbdkit::bench
