// SPDX-License-Identifier: Apache-2.0
// The zoned format with the storage below it in the test's hand: several writes in flight, failures
// in between, what is synced when, and power loss. What a disk does in general is in
// tests/conformance.
#include "node/format/zoned.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>

#include "base/buffer.h"
#include "io/blocking_pool.h"
#include "io/reactor.h"
#include "io/uring_engine.h"
#include "node/format/zoned_create.h"
#include "node/format/zoned_store.h"
#include "node/protocol/memory.h"
#include "tests/support/node/held_node.h"
#include "tests/support/seed.h"

namespace zbdkit {
namespace {

using test::HeldNode;

constexpr std::uint64_t kZone = kMiB;

/// A write on its way, with its answer when it has one.
struct Pending {
    AlignedBuffer buffer;
    iovec segment{};
    Request request;
    bool done = false;
    std::optional<Errc> error;
};

class ZonedFormat : public testing::Test {
  protected:
    void SetUp() override {
        const OptionValues options =
            OptionValues::parse("zone.size=1M,zone.conventional_zones=1", "", "test").value();
        image_ = zoned::plan_image(8 * kZone, options).value();
        layout_ = zoned::layout_of(image_.geometry);
        memory_ = AlignedBuffer(layout_.image_size);
        const std::unique_ptr<BlockNode> node = make_memory_node(memory_.bytes());
        ASSERT_TRUE(reactor_.run_to_end(zoned::format_image(*node, image_)).has_value());
        open();
    }

    void TearDown() override {
        if (disk_) EXPECT_TRUE(reactor_.run_to_end(disk_->close()).has_value());
    }

    std::string open() {
        auto held = std::make_unique<HeldNode>(make_memory_node(memory_.bytes()));
        below_ = held.get();
        OpenContext context{reactor_, pool_};
        const OptionValues options("test");
        ChildNodes children;
        children.push_back(std::move(held));
        Outcome<std::unique_ptr<BlockNode>> node =
            reactor_.run_to_end(kZonedDriver.open(context, options, children));
        if (!node) return node.error().message;
        disk_ = std::move(*node);
        return "";
    }

    /// Leaves the image as another boot of the host finds it.
    void lose_power() {
        disk_.reset();
        zoned::Page page;
        std::ranges::copy(memory_.bytes().first(zoned::kPageSize), page.begin());
        zoned::Superblock superblock = zoned::decode_superblock(page).value();
        superblock.boot_id.fill(std::byte{0x77});
        page = zoned::encode_superblock(superblock);
        std::ranges::copy(page, memory_.bytes().begin());
        std::ranges::copy(page, memory_.bytes().subspan(zoned::kSecondSuperblockOffset).begin());
    }

    /// Starts a write, or an append if `at` is a zone's start and `append` is set.
    Pending& start(Op op, std::uint64_t at, std::uint64_t length, std::uint8_t value) {
        Pending& pending = pendings_.emplace_back();
        pending.buffer = AlignedBuffer(length);
        std::ranges::fill(pending.buffer.bytes(), std::byte{value});
        pending.segment = segment_of(pending.buffer.bytes());
        const IoSegments segments(&pending.segment, 1);
        pending.request =
            op == Op::append ? append_request(at, segments) : write_request({at, length}, segments);
        scope_.spawn(drive(*disk_, pending));
        return pending;
    }
    Pending& start(const Request& request) {
        Pending& pending = pendings_.emplace_back();
        pending.request = request;
        scope_.spawn(drive(*disk_, pending));
        return pending;
    }
    static Task<void> drive(BlockNode& disk, Pending& pending) {
        const Result<void> result = co_await disk.submit(pending.request);
        pending.done = true;
        if (!result) pending.error = result.error().code;
    }
    /// Runs everything that can run.
    void settle() {
        for (int turn = 0; turn < 64; ++turn) reactor_.turn(false);
    }
    std::optional<Errc> now(const Request& request) {
        Pending& pending = start(request);
        settle();
        EXPECT_TRUE(pending.done);
        return pending.error;
    }
    ZoneDescriptor zone_at(std::uint64_t offset) {
        std::array<ZoneDescriptor, 1> zones;
        EXPECT_EQ(now(report_request(offset, zones)), std::nullopt);
        return zones[0];
    }
    ZoneDescriptor zone(std::uint32_t index) { return zone_at(index * kZone); }
    std::uint64_t pointer(std::uint32_t index) {
        const ZoneDescriptor descriptor = zone(index);
        return descriptor.write_pointer - descriptor.start;
    }
    std::uint8_t byte_at(std::uint64_t offset) {
        const std::uint64_t block = round_down(offset, 4096);
        AlignedBuffer buffer(4096);
        const iovec segment = segment_of(buffer.bytes());
        EXPECT_EQ(now(read_request({block, 4096}, IoSegments(&segment, 1))), std::nullopt);
        return std::to_integer<std::uint8_t>(buffer.bytes()[offset - block]);
    }
    void hold_data() { below_->hold_from(layout_.data_offset); }

    Reactor reactor_{make_uring_engine(16).value()};
    BlockingPool pool_{1};
    zoned::NewImage image_;
    zoned::Layout layout_;
    AlignedBuffer memory_;
    HeldNode* below_ = nullptr;
    std::unique_ptr<BlockNode> disk_;
    std::deque<Pending> pendings_;
    TaskScope scope_;
};

TEST_F(ZonedFormat, several_writes_of_one_zone_are_in_flight_together) {
    hold_data();
    start(Op::write, kZone, 4096, 1);
    start(Op::write, kZone + 4096, 4096, 2);
    start(Op::append, kZone, 4096, 3);
    settle();
    EXPECT_EQ(below_->held_count(), 3U);
    while (below_->held_count() > 0) below_->release(0);
    settle();
    EXPECT_EQ(pointer(1), 12288U);
}

TEST_F(ZonedFormat, write_that_lands_early_completes_after_those_before_it) {
    hold_data();
    Pending& first = start(Op::append, kZone, 4096, 1);
    Pending& second = start(Op::append, kZone, 4096, 2);
    settle();
    below_->release(1);
    settle();
    EXPECT_FALSE(second.done);
    EXPECT_EQ(pointer(1), 0U);
    below_->release(0);
    settle();
    EXPECT_TRUE(first.done);
    EXPECT_TRUE(second.done);
    EXPECT_EQ(first.request.append_offset, kZone);
    EXPECT_EQ(second.request.append_offset, kZone + 4096);
    EXPECT_EQ(pointer(1), 8192U);
}

TEST_F(ZonedFormat, failed_write_displaces_later_ones_appends_are_placed_again) {
    hold_data();
    Pending& failed = start(Op::append, kZone, 4096, 1);
    Pending& append = start(Op::append, kZone, 4096, 2);
    Pending& write = start(Op::write, kZone + 8192, 4096, 3);
    settle();
    below_->release(0, Errc::io);
    settle();
    EXPECT_EQ(failed.error, Errc::io);
    EXPECT_FALSE(append.done);
    // The displaced writes are still on their way to the medium: nothing may be placed yet.
    Pending& late = start(Op::append, kZone, 4096, 4);
    settle();
    EXPECT_EQ(below_->held_count(), 2U);
    below_->release(0);
    below_->release(0);
    settle();
    EXPECT_EQ(write.error, Errc::zone_unaligned_wp);
    while (below_->held_count() > 0) {
        below_->release(0);
        settle();
    }
    EXPECT_EQ(append.error, std::nullopt);
    EXPECT_EQ(late.error, std::nullopt);
    EXPECT_EQ(pointer(1), 8192U);
    EXPECT_EQ(byte_at(append.request.append_offset), 2);
    EXPECT_EQ(byte_at(late.request.append_offset), 4);
}

TEST_F(ZonedFormat, failed_first_write_leaves_the_zone_empty) {
    hold_data();
    Pending& write = start(Op::write, kZone, 4096, 1);
    settle();
    below_->release(0, Errc::no_space);
    settle();
    EXPECT_EQ(write.error, Errc::no_space);
    EXPECT_EQ(zone(1).state, ZoneState::empty);
}

TEST_F(ZonedFormat, reset_waits_for_writes_in_flight_and_holds_later_ones) {
    hold_data();
    Pending& write = start(Op::append, kZone, 4096, 1);
    Pending& reset = start(zone_request(Op::zone_reset, kZone));
    Pending& later = start(Op::append, kZone, 4096, 2);
    settle();
    EXPECT_FALSE(reset.done);
    EXPECT_EQ(below_->held_count(), 1U);
    below_->release(0);
    settle();
    EXPECT_TRUE(write.done);
    EXPECT_TRUE(reset.done);
    ASSERT_EQ(below_->held_count(), 1U);
    below_->release(0);
    settle();
    EXPECT_EQ(later.request.append_offset, kZone);
    EXPECT_EQ(byte_at(kZone), 2);
}

TEST_F(ZonedFormat, flush_syncs_data_before_the_commit_page_and_the_page_after) {
    ASSERT_EQ(now({.op = Op::flush}), std::nullopt);
    start(Op::write, kZone, 4096, 1);
    settle();
    below_->forget();
    ASSERT_EQ(now(flush_request()), std::nullopt);
    const std::vector<HeldNode::Seen> expected = {
        {Op::flush, {}},
        {Op::write, {layout_.slot_offset(0, 0), 4096}},
        {Op::flush, {}},
    };
    std::vector<HeldNode::Seen> seen = below_->seen();
    ASSERT_EQ(seen.size(), 3U);
    EXPECT_EQ(seen[0], expected[0]);
    EXPECT_EQ(seen[1].op, Op::write);
    EXPECT_GE(seen[1].range.offset, layout_.commit_offset);
    EXPECT_LT(seen[1].range.offset, layout_.data_offset);
    EXPECT_EQ(seen[2], expected[2]);
}

TEST_F(ZonedFormat, commit_pages_alternate_between_their_slots) {
    std::vector<std::uint64_t> offsets;
    for (std::uint64_t i = 0; i < 3; ++i) {
        start(Op::write, kZone + i * 4096, 4096, 1);
        settle();
        below_->forget();
        ASSERT_EQ(now(flush_request()), std::nullopt);
        offsets.push_back(below_->seen().at(1).range.offset);
    }
    EXPECT_NE(offsets[0], offsets[1]);
    EXPECT_EQ(offsets[0], offsets[2]);
}

TEST_F(ZonedFormat, flushes_that_wait_together_share_a_round) {
    start(Op::write, kZone, 4096, 1);
    settle();
    below_->forget();
    below_->hold_from(layout_.commit_offset);
    std::vector<Pending*> flushes;
    for (int i = 0; i < 8; ++i) flushes.push_back(&start(flush_request()));
    settle();
    ASSERT_EQ(below_->held_count(), 1U);
    below_->release(0);
    settle();
    for (const Pending* flush : flushes) EXPECT_TRUE(flush->done);
    // The first one's round syncs twice; the other seven share one that has no page to write.
    EXPECT_EQ(std::ranges::count(below_->seen(), Op::flush, &HeldNode::Seen::op), 3);
}

TEST_F(ZonedFormat, reset_is_committed_before_its_space_is_punched) {
    start(Op::write, kZone, 4096, 1);
    settle();
    below_->forget();
    ASSERT_EQ(now(zone_request(Op::zone_reset, kZone)), std::nullopt);
    const std::vector<HeldNode::Seen>& seen = below_->seen();
    ASSERT_EQ(seen.size(), 4U);
    EXPECT_EQ(seen[2].op, Op::flush);
    EXPECT_EQ(seen[3].op, Op::discard);
    EXPECT_EQ(seen[3].range, (ByteRange{layout_.data_offset + kZone, kZone}));
}

TEST_F(ZonedFormat, reset_whose_commit_fails_leaves_the_zone_as_it_was) {
    start(Op::write, kZone, 4096, 9);
    settle();
    below_->fail_all(Op::write, Errc::io);
    EXPECT_EQ(now(zone_request(Op::zone_reset, kZone)), Errc::io);
    below_->fail_nothing();
    EXPECT_EQ(zone(1).state, ZoneState::implicit_open);
    EXPECT_EQ(byte_at(kZone), 9);
}

TEST_F(ZonedFormat, failed_sync_makes_every_later_flush_fail_until_it_is_opened_again) {
    below_->fail_all(Op::flush, Errc::io);
    EXPECT_EQ(now(flush_request()), Errc::io);
    below_->fail_nothing();
    EXPECT_EQ(now(flush_request()), Errc::io);
    disk_.reset();
    ASSERT_EQ(open(), "");
    EXPECT_EQ(now(flush_request()), std::nullopt);
}

TEST_F(ZonedFormat, power_loss_keeps_what_was_flushed_and_closes_open_zones) {
    start(Op::write, kZone, 8192, 1);
    ASSERT_EQ(now(zone_request(Op::zone_open, 3 * kZone)), std::nullopt);
    ASSERT_EQ(now(flush_request()), std::nullopt);
    start(Op::write, kZone + 8192, 4096, 2);
    start(Op::write, 2 * kZone, 4096, 3);
    settle();
    lose_power();
    ASSERT_EQ(open(), "");
    EXPECT_EQ(zone(1).state, ZoneState::closed);
    EXPECT_EQ(pointer(1), 8192U);
    EXPECT_EQ(byte_at(kZone + 8192), 0);
    EXPECT_EQ(zone(2).state, ZoneState::empty);
    EXPECT_EQ(zone(3).state, ZoneState::empty);
}

TEST_F(ZonedFormat, power_loss_keeps_completed_zone_actions) {
    start(Op::write, kZone, 4096, 1);
    settle();
    ASSERT_EQ(now(zone_request(Op::zone_finish, kZone)), std::nullopt);
    start(Op::write, 2 * kZone, 4096, 2);
    ASSERT_EQ(now(flush_request()), std::nullopt);
    ASSERT_EQ(now(zone_request(Op::zone_reset, 2 * kZone)), std::nullopt);
    start(Op::write, 3 * kZone, 4096, 3);
    settle();
    ASSERT_EQ(now(zone_request(Op::zone_close, 3 * kZone)), std::nullopt);
    lose_power();
    ASSERT_EQ(open(), "");
    EXPECT_EQ(zone(1).state, ZoneState::full);
    EXPECT_EQ(byte_at(kZone), 1);
    EXPECT_EQ(zone(2).state, ZoneState::empty);
    EXPECT_EQ(zone(3).state, ZoneState::closed);
    EXPECT_EQ(pointer(3), 4096U);
}

/// Two commit pages of different rounds: zone 1 was full before zone 600 became active, but its
/// page was not written any more.
TEST_F(ZonedFormat, power_loss_between_two_pages_may_leave_more_active_zones_than_the_limit) {
    disk_.reset();
    const OptionValues options =
        OptionValues::parse("zone.size=64K,zone.max_active_zones=1", "", "test").value();
    image_ = zoned::plan_image(1024 * 64 * kKiB, options).value();
    layout_ = zoned::layout_of(image_.geometry);
    memory_ = AlignedBuffer(layout_.image_size);
    const std::unique_ptr<BlockNode> node = make_memory_node(memory_.bytes());
    ASSERT_TRUE(reactor_.run_to_end(zoned::format_image(*node, image_)).has_value());
    ASSERT_EQ(open(), "");
    start(Op::write, 64 * kKiB, 4096, 1);
    ASSERT_EQ(now(flush_request()), std::nullopt);
    start(Op::write, 64 * kKiB + 4096, 60 * kKiB, 1);
    start(Op::write, 600 * 64 * kKiB, 4096, 2);
    settle();
    below_->forget();
    ASSERT_EQ(now(flush_request()), std::nullopt);
    const std::uint64_t first_page = below_->seen().at(1).range.offset;
    lose_power();
    std::ranges::fill(memory_.bytes().subspan(first_page, 4096), std::byte{0});
    ASSERT_EQ(open(), "");
    EXPECT_EQ(zone_at(64 * kKiB).state, ZoneState::closed);
    EXPECT_EQ(zone_at(600 * 64 * kKiB).state, ZoneState::closed);
    Pending& third = start(Op::write, 700 * 64 * kKiB, 4096, 3);
    settle();
    EXPECT_EQ(third.error, Errc::zone_active_limit);
}

TEST_F(ZonedFormat, torn_commit_page_leaves_the_older_slot) {
    start(Op::write, kZone, 4096, 1);
    ASSERT_EQ(now(flush_request()), std::nullopt);
    start(Op::write, kZone + 4096, 4096, 2);
    settle();
    below_->forget();
    ASSERT_EQ(now(flush_request()), std::nullopt);
    const std::uint64_t newest = below_->seen().at(1).range.offset;
    lose_power();
    std::ranges::fill(memory_.bytes().subspan(newest + 512, 512), std::byte{0xff});
    ASSERT_EQ(open(), "");
    EXPECT_EQ(pointer(1), 4096U);
}

TEST_F(ZonedFormat, both_slots_of_a_commit_page_damaged_is_refused) {
    disk_.reset();
    std::ranges::fill(memory_.bytes().subspan(layout_.commit_offset, 8192), std::byte{0xff});
    EXPECT_EQ(open(),
              "'memory of 9 MiB' is damaged: both copies of commit page 0 (zones 0 to 7) "
              "are unreadable");
}

TEST_F(ZonedFormat, live_table_with_an_impossible_state_is_refused_after_daemon_death) {
    disk_.reset();
    memory_.bytes()[layout_.live_table_offset + 7] = std::byte{0x07};
    EXPECT_NE(open().find("zone 0 in the live table"), std::string::npos);
}

TEST_F(ZonedFormat, zone_beyond_its_capacity_in_the_live_table_is_refused) {
    disk_.reset();
    store_le(memory_.bytes().data() + layout_.live_table_offset + 8,
             zoned::encode_word({.record = {.state = ZoneState::closed, .data_end = 2 * kMiB}}));
    EXPECT_NE(open().find("is damaged: zone 1"), std::string::npos);
}

/// Many writers on few zones, failures, resets and reorderings: an acknowledged append is where it
/// was said to be, and nothing below a pointer is anything but what was acknowledged there.
TEST_F(ZonedFormat, random_interleaving_never_moves_an_acknowledged_append) {
    SCOPED_TRACE(test::seed_trace());
    std::mt19937_64 random(test::seed());
    hold_data();
    struct Known {
        std::map<std::uint64_t, std::uint8_t> bytes;  // block offset -> value
    };
    std::array<Known, 8> known;
    struct Step {
        Pending* pending;
        std::uint8_t value;
        bool judged = false;
    };
    std::vector<Step> steps;
    std::uint8_t value = 0;
    const auto judge = [&] {
        for (Step& step : steps) {
            if (step.judged || !step.pending->done) continue;
            step.judged = true;
            if (step.pending->error) continue;
            const Request& request = step.pending->request;
            const std::uint64_t zone_number = request.range.offset / kZone;
            if (request.op == Op::zone_reset) {
                known.at(zone_number).bytes.clear();
                continue;
            }
            for (std::uint64_t at = 0; at < request.range.length; at += 4096) {
                EXPECT_TRUE(known.at(zone_number)
                                .bytes.emplace(request.append_offset + at, step.value)
                                .second)
                    << "two appends were acknowledged at one place";
            }
        }
    };
    for (int round = 0; round < 2000; ++round) {
        const std::uint64_t at = (1 + random() % 3) * kZone;
        const auto choice = random() % 100;
        if (choice < 45) {
            value = static_cast<std::uint8_t>(value % 250 + 1);
            Pending& pending = start(Op::append, at, 4096 * (1 + random() % 4), value);
            steps.push_back({&pending, value});
        } else if (choice < 48) {
            Pending& pending = start(zone_request(Op::zone_reset, at));
            steps.push_back({&pending, 0});
        } else if (below_->held_count() > 0) {
            const std::size_t which = random() % below_->held_count();
            below_->release(which, random() % 20 == 0 ? std::optional(Errc::io) : std::nullopt);
        }
        settle();
        judge();
    }
    while (below_->held_count() > 0) {
        below_->release(0);
        settle();
        judge();
    }
    below_->hold_nothing();
    for (std::uint32_t index = 1; index <= 3; ++index) {
        EXPECT_EQ(pointer(index), known.at(index).bytes.size() * 4096);
        for (const auto& [offset, expected] : known.at(index).bytes) {
            ASSERT_EQ(byte_at(offset), expected) << "at " << offset;
        }
    }
    EXPECT_TRUE(std::ranges::all_of(steps, &Step::judged)) << "a request never completed";
}

}  // namespace
}  // namespace zbdkit
