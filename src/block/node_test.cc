// SPDX-License-Identifier: Apache-2.0
#include "block/node.h"

#include <gtest/gtest.h>

#include <array>

#include "base/buffer.h"
#include "io/reactor.h"
#include "io/uring_engine.h"

namespace zbdkit {
namespace {

/// Counts what reaches it; everything succeeds.
class CountingNode final : public BlockNode {
  public:
    explicit CountingNode(const NodeInfo& info) : BlockNode("counting") { set_info(info); }
    [[nodiscard]] std::string describe() const override { return "counting"; }
    int submitted = 0;

  protected:
    Task<Result<void>> do_submit(Request& /*request*/) override {
        ++submitted;
        co_return Result<void>{};
    }
};

/// A filter that implements nothing at all.
class SilentFilter final : public PassthroughFilter {
  public:
    explicit SilentFilter(std::unique_ptr<BlockNode> child)
        : PassthroughFilter("silent", std::move(child)) {}
};

const ZoneGeometry kZones = {.model = ZoneModel::host_managed,
                             .device_size = 64 * kMiB,
                             .zone_size = 4 * kMiB,
                             .zone_capacity = 4 * kMiB,
                             .max_append_bytes = kMiB,
                             .write_granularity = 4096};

NodeInfo zoned_info() {
    return {.size = 64 * kMiB,
            .block_size = 4096,
            .ops = {Op::read, Op::write, Op::append, Op::flush, Op::report_zones, Op::zone_open,
                    Op::zone_close, Op::zone_finish, Op::zone_reset, Op::zone_reset_all},
            .zones = kZones};
}

class Node : public testing::Test {
  protected:
    std::optional<Errc> submit(BlockNode& node, Request request) {
        const Result<void> result = reactor_.run_to_end(node.submit(request));
        if (result) return std::nullopt;
        return result.error().code;
    }
    std::optional<Errc> write(BlockNode& node, ByteRange range) {
        AlignedBuffer buffer(range.length);
        const iovec segment = segment_of(buffer.bytes());
        return submit(node, write_request(range, IoSegments(&segment, 1)));
    }

    Reactor reactor_{make_uring_engine(8).value()};
    CountingNode node_{zoned_info()};
};

TEST_F(Node, request_within_the_contract_reaches_the_node) {
    EXPECT_EQ(write(node_, {0, 4096}), std::nullopt);
    EXPECT_EQ(node_.submitted, 1);
}

TEST_F(Node, request_outside_the_contract_never_reaches_the_node) {
    EXPECT_EQ(write(node_, {64 * kMiB, 4096}), Errc::out_of_range);
    EXPECT_EQ(write(node_, {~std::uint64_t{0} - 4095, 4096}), Errc::out_of_range);
    EXPECT_EQ(write(node_, {512, 4096}), Errc::misaligned);
    EXPECT_EQ(write(node_, {0, 512}), Errc::misaligned);
    EXPECT_EQ(submit(node_, zone_request(Op::zone_open, 4096)), Errc::zone_invalid);
    EXPECT_EQ(submit(node_, zone_request(Op::zone_open, 64 * kMiB)), Errc::out_of_range);
    EXPECT_EQ(submit(node_, range_request(Op::discard, {0, 4096})), Errc::not_supported);
    EXPECT_EQ(submit(node_, report_request(64 * kMiB, {})), Errc::out_of_range);
    EXPECT_EQ(node_.submitted, 0);
}

TEST_F(Node, read_only_node_refuses_everything_that_modifies) {
    NodeInfo info = zoned_info();
    info.read_only = true;
    CountingNode node(info);
    EXPECT_EQ(write(node, {0, 4096}), Errc::read_only);
    for (const Op op :
         {Op::zone_open, Op::zone_close, Op::zone_finish, Op::zone_reset, Op::zone_reset_all}) {
        EXPECT_EQ(submit(node, zone_request(op, 0)), Errc::read_only) << op_name(op);
    }
    EXPECT_EQ(submit(node, flush_request()), std::nullopt);
    EXPECT_EQ(submit(node, report_request(0, {})), std::nullopt);
}

TEST_F(Node, filter_that_implements_nothing_keeps_zones_and_forwards_every_operation) {
    auto owned = std::make_unique<CountingNode>(zoned_info());
    CountingNode& below = *owned;
    SilentFilter filter(std::move(owned));
    EXPECT_EQ(filter.info().zones, kZones);
    int expected = 0;
    for (std::size_t i = 0; i < kOpCount; ++i) {
        const auto op = static_cast<Op>(i);
        if (!below.info().ops.has(op)) continue;
        EXPECT_EQ(submit(filter, Request{.op = op}), std::nullopt) << op_name(op);
        ++expected;
    }
    EXPECT_EQ(below.submitted, expected);
    EXPECT_EQ(expected, 10);
}

TEST_F(Node, mapping_is_refused_by_default) {
    const Result<NodeMapping> mapping = node_.map({0, 4096});
    ASSERT_FALSE(mapping.has_value());
    EXPECT_EQ(mapping.error().code, Errc::not_supported);
}

}  // namespace
}  // namespace zbdkit
