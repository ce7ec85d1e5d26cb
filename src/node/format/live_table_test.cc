// SPDX-License-Identifier: Apache-2.0
// The live table where the storage cannot be mapped. Where it can, the tests of the format and the
// simulator use it all the time.
#include "node/format/live_table.h"

#include <gtest/gtest.h>

#include "tests/support/node/zoned_format.h"

namespace zbdkit {
namespace {

using test::HeldNode;
using test::kZone;
using test::Pending;

class WrittenLiveTable : public test::ZonedFormat {
  protected:
    void SetUp() override {
        mappable_ = false;
        ZonedFormat::SetUp();
    }
    void TearDown() override {
        below_->hold_nothing();
        ZonedFormat::TearDown();
    }
    /// Writes to the live table that reached the storage.
    [[nodiscard]] std::int64_t table_writes() const {
        return std::ranges::count_if(below_->seen(), [this](const HeldNode::Seen& seen) {
            return seen.op == Op::write && seen.range.offset >= layout_.live_table_offset &&
                   seen.range.offset < layout_.commit_offset;
        });
    }
    /// Lets what the storage below is written go on only when told to, from the live table on.
    void hold_table() { below_->hold_from(layout_.live_table_offset); }
};

TEST_F(WrittenLiveTable, write_is_answered_when_its_word_is_written) {
    hold_table();
    Pending& write = start(Op::write, kZone, 4096, 1);
    settle();
    below_->release(0);  // the data
    settle();
    EXPECT_FALSE(write.done);
    ASSERT_EQ(below_->held_count(), 1U);
    EXPECT_EQ(below_->held_range(0), (ByteRange{layout_.live_table_offset, 4096}));
    below_->release(0);
    settle();
    EXPECT_TRUE(write.done);
    EXPECT_EQ(write.error, std::nullopt);
}

TEST_F(WrittenLiveTable, requests_that_complete_meanwhile_share_the_next_write) {
    below_->forget();
    hold_table();
    for (std::uint64_t zone = 1; zone < 7; ++zone) start(Op::write, zone * kZone, 4096, 1);
    settle();
    for (int data = 0; data < 6; ++data) below_->release(0);
    settle();
    while (below_->held_count() > 0) {
        below_->release(0);
        settle();
    }
    EXPECT_TRUE(std::ranges::all_of(pendings_, &Pending::done));
    EXPECT_LE(table_writes(), 2);
}

/// Over a network a round would else be as long as it has pages.
TEST_F(WrittenLiveTable, pages_of_a_round_are_written_at_the_same_time) {
    constexpr std::uint64_t kSmallZone = 64 * kKiB;
    make(1024 * kSmallZone, "zone.size=64K");
    hold_table();
    for (const std::uint64_t zone : {0U, 1U, 600U}) start(Op::write, zone * kSmallZone, 4096, 1);
    settle();
    below_->release(0);
    settle();
    for (int data = 0; data < 2; ++data) below_->release(0);
    settle();
    ASSERT_EQ(below_->held_count(), 1U);
    below_->release(0);
    settle();
    ASSERT_EQ(below_->held_count(), 2U);
    EXPECT_EQ(below_->held_range(0).offset, layout_.live_table_offset);
    EXPECT_EQ(below_->held_range(1).offset, layout_.live_table_offset + 4096);
    below_->release(1);
    settle();
    EXPECT_FALSE(pendings_.back().done);
    below_->release(0);
    settle();
    EXPECT_TRUE(std::ranges::all_of(pendings_, &Pending::done));

    start(flush_request());
    settle();
    ASSERT_EQ(below_->held_count(), 2U);
    EXPECT_EQ(below_->held_range(0).offset, layout_.slot_offset(0, 1));
    EXPECT_EQ(below_->held_range(1).offset, layout_.slot_offset(1, 1));
    below_->release(0);
    below_->release(0);
    settle();
    EXPECT_TRUE(pendings_.back().done);
}

TEST_F(WrittenLiveTable, completed_requests_outlive_the_daemon) {
    start(Op::write, kZone, 8192, 1);
    start(Op::append, 2 * kZone, 4096, 2);
    settle();
    ASSERT_EQ(now(zone_request(Op::zone_open, 3 * kZone)), std::nullopt);
    ASSERT_EQ(now(zone_request(Op::zone_finish, 2 * kZone)), std::nullopt);
    kill_daemon();
    ASSERT_EQ(open(), "");
    EXPECT_EQ(pointer(1), 8192U);
    EXPECT_EQ(zone(1).state, ZoneState::implicit_open);
    EXPECT_EQ(zone(2).state, ZoneState::full);
    EXPECT_EQ(byte_at(2 * kZone), 2);
    EXPECT_EQ(zone(3).state, ZoneState::explicit_open);
}

TEST_F(WrittenLiveTable, write_whose_word_cannot_be_written_fails) {
    hold_table();
    Pending& write = start(Op::write, kZone, 4096, 1);
    settle();
    below_->release(0);
    settle();
    below_->release(0, Errc::io);
    settle();
    EXPECT_EQ(write.error, Errc::io);
    below_->hold_nothing();
    // The next request writes the page again.
    EXPECT_EQ(now(zone_request(Op::zone_open, 3 * kZone)), std::nullopt);
    kill_daemon();
    ASSERT_EQ(open(), "");
    EXPECT_EQ(pointer(1), 4096U);
}

TEST_F(WrittenLiveTable, space_of_a_reset_is_freed_only_after_its_word_is_written) {
    start(Op::write, kZone, 4096, 1);
    settle();
    below_->forget();
    ASSERT_EQ(now(zone_request(Op::zone_reset, kZone)), std::nullopt);
    const auto discard = std::ranges::find(below_->seen(), Op::discard, &HeldNode::Seen::op);
    ASSERT_NE(discard, below_->seen().end());
    EXPECT_EQ(std::prev(discard)->range, (ByteRange{layout_.live_table_offset, 4096}));
}

/// Its old word is still in the storage: were it written to now, a daemon's death would leave that
/// word over new bytes.
TEST_F(WrittenLiveTable, zone_takes_no_writes_until_the_word_of_its_reset_is_written) {
    start(Op::write, kZone, 8192, 1);
    settle();
    ASSERT_EQ(now(flush_request()), std::nullopt);
    hold_table();
    Pending& reset = start(zone_request(Op::zone_reset, kZone));
    settle();
    ASSERT_EQ(below_->held_count(), 1U);
    below_->release(0);  // the commit page
    settle();
    ASSERT_EQ(below_->held_range(0).offset, layout_.live_table_offset);
    below_->release(0, Errc::io);
    settle();
    EXPECT_EQ(reset.error, Errc::io);
    below_->forget();
    Pending& write = start(Op::write, kZone, 4096, 2);
    settle();
    ASSERT_EQ(below_->held_count(), 1U);
    EXPECT_EQ(below_->held_range(0).offset, layout_.live_table_offset);
    below_->hold_nothing();
    below_->release(0, Errc::io);
    settle();
    EXPECT_EQ(write.error, Errc::io);
    EXPECT_EQ(byte_at(kZone), 0);
    kill_daemon();
    ASSERT_EQ(open(), "");
    EXPECT_EQ(pointer(1), 8192U);
    EXPECT_EQ(byte_at(kZone), 1);
}

TEST_F(WrittenLiveTable, space_of_a_reset_that_was_settled_later_is_freed) {
    start(Op::write, kZone, 8192, 1);
    settle();
    ASSERT_EQ(now(flush_request()), std::nullopt);
    hold_table();
    Pending& reset = start(zone_request(Op::zone_reset, kZone));
    settle();
    below_->release(0);
    settle();
    below_->release(0, Errc::io);
    settle();
    EXPECT_EQ(reset.error, Errc::io);
    below_->hold_nothing();
    below_->forget();
    EXPECT_EQ(now(zone_request(Op::zone_reset, kZone)), std::nullopt);
    const std::vector<HeldNode::Seen>& seen = below_->seen();
    EXPECT_EQ(std::ranges::count(seen, Op::discard, &HeldNode::Seen::op), 1);
    start(Op::write, kZone, 4096, 2);
    settle();
    EXPECT_EQ(byte_at(kZone), 2);
}

/// What is committed after a power loss must not be more than what outlived the daemon, or an open
/// could not tell a live table that lost data from one that was a moment behind.
TEST_F(WrittenLiveTable, word_is_written_before_it_is_committed) {
    hold_table();
    start(Op::write, kZone, 4096, 1);
    settle();
    below_->release(0);  // the data
    settle();
    Pending& flush = start(flush_request());
    settle();
    EXPECT_EQ(below_->held_count(), 1U);
    EXPECT_EQ(below_->held_range(0).offset, layout_.live_table_offset);
    while (below_->held_count() > 0) {
        below_->release(0);
        settle();
    }
    EXPECT_TRUE(flush.done);
    EXPECT_EQ(flush.error, std::nullopt);
}

/// Zone 600 is closed to make room for zone 2, and their words are in different pages of the table:
/// one of them is written first.
TEST_F(WrittenLiveTable, death_between_two_pages_leaves_an_image_that_opens) {
    constexpr std::uint64_t kSmall = 64 * kKiB;
    make(1024 * kSmall, "zone.size=64K,zone.max_open_zones=2");
    start(Op::write, 600 * kSmall, 4096, 1);
    settle();
    start(Op::write, 1 * kSmall, 4096, 2);
    settle();
    below_->hold_from(layout_.live_table_offset);
    start(Op::write, 1 * kSmall + 4096, 4096, 3);
    settle();
    below_->release(0);  // its data; the first page is on its way now
    settle();
    start(Op::write, 1 * kSmall + 8192, 4096, 4);
    settle();
    below_->release(1);  // its data; the first page is to be written again, before the second
    settle();
    start(Op::write, 2 * kSmall, 4096, 5);
    settle();
    below_->release(1);  // its data
    settle();
    below_->release(0);
    settle();
    EXPECT_EQ(below_->held_range(0), (ByteRange{layout_.live_table_offset, 4096}));
    below_->release(0);
    settle();
    EXPECT_EQ(below_->held_range(0), (ByteRange{layout_.live_table_offset + 4096, 4096}));
    below_->release(0, Errc::io);
    settle();
    kill_daemon();
    ASSERT_EQ(open(), "");
    EXPECT_EQ(zone_at(1 * kSmall).state, ZoneState::closed);
    EXPECT_EQ(zone_at(2 * kSmall).state, ZoneState::implicit_open);
    EXPECT_EQ(zone_at(600 * kSmall).state, ZoneState::implicit_open);
}

}  // namespace
}  // namespace zbdkit
