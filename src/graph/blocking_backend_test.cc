// SPDX-License-Identifier: Apache-2.0
#include "graph/blocking_backend.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "base/buffer.h"
#include "io/uring_engine.h"
#include "node/format/zoned.h"
#include "node/format/zoned_create.h"
#include "node/protocol/memory.h"
#include "tests/support/node/held_node.h"

namespace zbdkit {
namespace {

constexpr std::uint64_t kZone = 65536;
constexpr std::size_t kBlock = 4096;

/// A disk in memory of 16 zones of 64 KiB, the first conventional; at most 2 open and 3 active.
class Blocking : public testing::Test {
  protected:
    Blocking() {
        const auto options = OptionValues::parse(
            "zone.size=64K,zone.conventional_zones=1,zone.max_open_zones=2,"
            "zone.max_active_zones=3,zone.max_append_bytes=16K",
            "", "test");
        const zoned::NewImage image = zoned::plan_image(16 * kZone, options.value()).value();
        memory_ = AlignedBuffer(zoned::layout_of(image.geometry).image_size);
        std::unique_ptr<BlockNode> storage = make_memory_node(memory_.bytes());
        EXPECT_TRUE(reactor_.run_to_end(zoned::format_image(*storage, image)));
        ChildNodes children;
        children.push_back(std::move(storage));
        OptionValues none("test");
        std::unique_ptr<BlockNode> zoned =
            reactor_.run_to_end(kZonedDriver.open(context_, none, children)).value();
        auto held = std::make_unique<test::HeldNode>(std::move(zoned));
        node_ = held.get();
        backend_ = std::make_unique<BlockingBackend>(reactor_, std::move(held));
    }
    ~Blocking() override { EXPECT_TRUE(backend_->close()); }

    [[nodiscard]] ZoneState state(std::uint64_t zone_start) {
        return backend_->report(zone_start, 1).value().front().state;
    }
    template <class T>
    static Errc code_of(const Result<T>& result) {
        return result ? Errc{} : result.error().code;
    }

    Reactor reactor_{make_uring_engine(8).value()};
    BlockingPool pool_{1};
    OpenContext context_{reactor_, pool_};
    AlignedBuffer memory_;
    test::HeldNode* node_ = nullptr;
    std::unique_ptr<BlockingBackend> backend_;
    std::vector<std::byte> block_ = std::vector<std::byte>(kBlock, std::byte{0x5a});
};

TEST_F(Blocking, write_reads_back) {
    std::vector<std::byte> back(kBlock);
    ASSERT_TRUE(backend_->write(kZone, block_));
    ASSERT_TRUE(backend_->read(kZone, back));
    EXPECT_EQ(back, block_);
    EXPECT_EQ(backend_->async().counters(Op::write).bytes, 4096U);
}

TEST_F(Blocking, append_says_where_the_data_is) {
    EXPECT_EQ(backend_->append(kZone, block_), 65536U);
    EXPECT_EQ(backend_->append(kZone, block_, true), 69632U);
}

TEST_F(Blocking, failed_append_says_why) {
    EXPECT_EQ(code_of(backend_->append(0, block_)), Errc::zone_invalid);
}

TEST_F(Blocking, flush_reaches_the_graph) {
    ASSERT_TRUE(backend_->flush());
    EXPECT_EQ(node_->seen().back(), (test::HeldNode::Seen{Op::flush, {0, 0}}));
}

TEST_F(Blocking, report_ends_with_the_disk) {
    const auto zones = backend_->report(14 * kZone + 1, 5).value();
    ASSERT_EQ(zones.size(), 2U);
    EXPECT_EQ(zones[0].start, 917504U);
    EXPECT_EQ(zones[1].start, 983040U);
}

TEST_F(Blocking, report_of_any_number_of_zones_takes_no_more_memory_than_there_are) {
    EXPECT_EQ(backend_->report(0, ~std::size_t{0}).value().size(), 16U);
}

TEST_F(Blocking, report_beyond_the_end_is_out_of_range) {
    EXPECT_EQ(code_of(backend_->report(16 * kZone, 1)), Errc::out_of_range);
}

TEST_F(Blocking, action_on_a_range_takes_its_zones_in_rising_order) {
    node_->forget();
    ASSERT_TRUE(backend_->act(Op::zone_finish, {2 * kZone, 3 * kZone}));
    using Seen = test::HeldNode::Seen;
    const std::vector<Seen> expected = {Seen{Op::zone_finish, {131072, 0}},
                                        Seen{Op::zone_finish, {196608, 0}},
                                        Seen{Op::zone_finish, {262144, 0}}};
    EXPECT_EQ(node_->seen(), expected);
    EXPECT_EQ(state(2 * kZone), ZoneState::full);
    EXPECT_EQ(state(5 * kZone), ZoneState::empty);
}

TEST_F(Blocking, action_that_fails_half_way_leaves_earlier_zones_changed) {
    EXPECT_EQ(code_of(backend_->act(Op::zone_open, {kZone, 4 * kZone})), Errc::zone_open_limit);
    EXPECT_EQ(state(kZone), ZoneState::explicit_open);
    EXPECT_EQ(state(2 * kZone), ZoneState::explicit_open);
    EXPECT_EQ(state(3 * kZone), ZoneState::empty);
}

TEST_F(Blocking, reset_of_the_whole_disk_is_one_request_and_passes_over_conventional_zones) {
    ASSERT_TRUE(backend_->append(kZone, block_));
    node_->forget();
    ASSERT_TRUE(backend_->act(Op::zone_reset, {0, 16 * kZone}));
    EXPECT_EQ(node_->seen(), std::vector<test::HeldNode::Seen>({{Op::zone_reset_all, {0, 0}}}));
    EXPECT_EQ(state(kZone), ZoneState::empty);
}

TEST_F(Blocking, reset_of_a_part_with_a_conventional_zone_is_invalid) {
    EXPECT_EQ(code_of(backend_->act(Op::zone_reset, {0, 2 * kZone})), Errc::zone_invalid);
}

TEST_F(Blocking, other_actions_on_the_whole_disk_take_each_zone) {
    EXPECT_EQ(code_of(backend_->act(Op::zone_finish, {0, 16 * kZone})), Errc::zone_invalid);
}

TEST_F(Blocking, ranges_that_are_no_whole_zones_are_misaligned) {
    EXPECT_EQ(code_of(backend_->act(Op::zone_open, {kZone + kBlock, kZone})), Errc::misaligned);
    EXPECT_EQ(code_of(backend_->act(Op::zone_open, {kZone, kBlock})), Errc::misaligned);
    EXPECT_EQ(code_of(backend_->act(Op::zone_open, {kZone, 0})), Errc::misaligned);
    EXPECT_EQ(state(kZone), ZoneState::empty);
}

TEST_F(Blocking, ranges_beyond_the_end_are_out_of_range) {
    EXPECT_EQ(code_of(backend_->act(Op::zone_open, {16 * kZone, kZone})), Errc::out_of_range);
    EXPECT_EQ(code_of(backend_->act(Op::zone_open, {15 * kZone, 2 * kZone})), Errc::out_of_range);
    EXPECT_EQ(code_of(backend_->act(Op::zone_open, {kZone, ~std::uint64_t{0}})),
              Errc::out_of_range);
}

TEST(BlockingWithoutZones, zone_calls_are_not_supported) {
    Reactor reactor(make_uring_engine(8).value());
    AlignedBuffer memory(1048576);
    BlockingBackend backend(reactor, make_memory_node(memory.bytes()));
    const Result<void> acted = backend.act(Op::zone_reset, {0, 1048576});
    const auto reported = backend.report(0, 1);
    EXPECT_TRUE(backend.close());
    ASSERT_FALSE(acted);
    EXPECT_EQ(acted.error().code, Errc::not_supported);
    ASSERT_FALSE(reported);
    EXPECT_EQ(reported.error().code, Errc::not_supported);
}

TEST(BlockingWithoutZones, zeroes_read_back_and_discards_are_taken) {
    Reactor reactor(make_uring_engine(8).value());
    AlignedBuffer memory(1048576);
    BlockingBackend backend(reactor, make_memory_node(memory.bytes()));
    std::vector<std::byte> block(kBlock, std::byte{0x5a});
    EXPECT_TRUE(backend.write(8192, block));
    EXPECT_EQ(memory.bytes()[8192], std::byte{0x5a});
    EXPECT_TRUE(backend.write_zeroes({8192, kBlock}));
    EXPECT_EQ(memory.bytes()[8192], std::byte{0});
    EXPECT_TRUE(backend.discard({8192, kBlock}));
    EXPECT_TRUE(backend.close());
}

TEST(BlockingShortZone, range_may_end_with_a_short_last_zone) {
    Reactor reactor(make_uring_engine(8).value());
    BlockingPool pool(1);
    OpenContext context{reactor, pool};
    const auto options = OptionValues::parse("zone.size=64K", "", "test");
    const zoned::NewImage image = zoned::plan_image(4 * kZone + 8192, options.value()).value();
    AlignedBuffer memory(zoned::layout_of(image.geometry).image_size);
    ChildNodes children;
    children.push_back(make_memory_node(memory.bytes()));
    ASSERT_TRUE(reactor.run_to_end(zoned::format_image(*children.front(), image)));
    OptionValues none("test");
    BlockingBackend backend(reactor,
                            reactor.run_to_end(kZonedDriver.open(context, none, children)).value());
    EXPECT_TRUE(backend.act(Op::zone_finish, {3 * kZone, kZone + 8192}));
    EXPECT_EQ(backend.report(4 * kZone, 1).value().front().state, ZoneState::full);
    EXPECT_TRUE(backend.act(Op::zone_reset, {4 * kZone, 8192}));
    EXPECT_EQ(backend.report(4 * kZone, 1).value().front().state, ZoneState::empty);
    EXPECT_FALSE(backend.act(Op::zone_finish, {4 * kZone, 4096}));
    EXPECT_TRUE(backend.close());
}

}  // namespace
}  // namespace zbdkit
