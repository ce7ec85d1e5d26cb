// SPDX-License-Identifier: Apache-2.0
// What is synced when, and what a failed sync, the daemon's death and a power loss leave. The
// simulator (tests/sim) looks for what is not here; what it found has its test at the end.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/support/node/zoned_format.h"

namespace zbdkit {
namespace {

using test::HeldNode;
using test::kZone;
using test::Pending;

using ZonedCrash = test::ZonedFormat;

AlignedBuffer copy_of(ConstBytes bytes) {
    AlignedBuffer copy(bytes.size());
    std::ranges::copy(bytes, copy.bytes().begin());
    return copy;
}

TEST_F(ZonedCrash, flush_syncs_data_before_the_commit_page_and_the_page_after) {
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

TEST_F(ZonedCrash, commit_pages_alternate_between_their_slots) {
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

TEST_F(ZonedCrash, flushes_that_wait_together_share_a_round) {
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

TEST_F(ZonedCrash, reset_is_committed_before_its_space_is_punched) {
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

TEST_F(ZonedCrash, reset_whose_commit_fails_leaves_the_zone_as_it_was) {
    start(Op::write, kZone, 4096, 9);
    settle();
    below_->fail_all(Op::write, Errc::io);
    EXPECT_EQ(now(zone_request(Op::zone_reset, kZone)), Errc::io);
    below_->fail_nothing();
    EXPECT_EQ(zone(1).state, ZoneState::implicit_open);
    EXPECT_EQ(byte_at(kZone), 9);
}

TEST_F(ZonedCrash, failed_sync_makes_every_later_flush_fail_until_it_is_opened_again) {
    below_->fail_all(Op::flush, Errc::io);
    EXPECT_EQ(now(flush_request()), Errc::io);
    below_->fail_nothing();
    EXPECT_EQ(now(flush_request()), Errc::io);
    disk_.reset();
    ASSERT_EQ(open(), "");
    EXPECT_EQ(now(flush_request()), std::nullopt);
}

/// The host may have dropped what it could not write, and does not say so at the next sync.
TEST_F(ZonedCrash, after_a_failed_sync_only_what_was_committed_counts) {
    start(Op::write, kZone, 4096, 1);
    settle();
    ASSERT_EQ(now(flush_request()), std::nullopt);
    start(Op::write, kZone + 4096, 4096, 2);
    settle();
    below_->fail_all(Op::flush, Errc::io);
    EXPECT_EQ(now(flush_request()), Errc::io);
    below_->fail_nothing();
    kill_daemon();
    ASSERT_EQ(open(), "");
    EXPECT_EQ(zone(1).state, ZoneState::closed);
    EXPECT_EQ(pointer(1), 4096U);
    EXPECT_EQ(now(flush_request()), std::nullopt);
}

/// The second sync of a round failed: its slots may be in the host's cache alone. They are made
/// durable before the next round overwrites the slots that are.
TEST_F(ZonedCrash, after_a_failed_sync_slots_are_written_again_before_the_others) {
    start(Op::write, kZone, 4096, 1);
    settle();
    below_->hold_from(layout_.commit_offset);
    Pending& flush = start(flush_request());
    settle();
    ASSERT_EQ(below_->held_count(), 1U);
    const ByteRange slot = below_->held_range(0);
    below_->fail_all(Op::flush, Errc::io);
    below_->release(0);
    settle();
    EXPECT_EQ(flush.error, Errc::io);
    kill_daemon();
    ASSERT_EQ(open(), "");
    const std::vector<HeldNode::Seen>& seen = below_->seen();
    const auto is_commit = [this](const HeldNode::Seen& one) {
        return one.op == Op::write && one.range.offset >= layout_.commit_offset;
    };
    const auto first = std::ranges::find_if(seen, is_commit);
    ASSERT_NE(first, seen.end());
    EXPECT_EQ(first->range, slot);
    const auto sync = std::ranges::find(first, seen.end(), Op::flush, &HeldNode::Seen::op);
    EXPECT_EQ(std::find_if(std::next(first), sync, is_commit), sync);
    EXPECT_EQ(pointer(1), 4096U);
}

TEST_F(ZonedCrash, power_loss_keeps_what_was_flushed_and_closes_open_zones) {
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

/// What the first copy of the superblock says.
zoned::Superblock superblock_of(ConstBytes image) {
    return zoned::decode_superblock(image.first(zoned::kPageSize)).value();
}

TEST_F(ZonedCrash, storage_that_outlives_the_host_loses_nothing_that_completed) {
    mappable_ = false;
    durable_ = true;
    kill_daemon();
    ASSERT_EQ(open(), "");
    start(Op::write, kZone, 8192, 1);
    settle();
    kill_daemon();
    constexpr zoned::Uuid kOtherHost = {std::byte{0x77}};
    EXPECT_EQ(recovery_of(superblock_of(memory_.bytes()), kOtherHost),
              zoned::Recovery::daemon_death);
    ASSERT_EQ(open(), "");
    EXPECT_EQ(pointer(1), 8192U);
    EXPECT_EQ(zone(1).state, ZoneState::implicit_open);
}

TEST_F(ZonedCrash, storage_that_outlives_the_host_does_not_vouch_for_what_came_before) {
    start(Op::write, kZone, 8192, 1);
    settle();
    lose_power();
    durable_ = true;
    ASSERT_EQ(open(), "");
    EXPECT_EQ(pointer(1), 0U);
}

TEST_F(ZonedCrash, after_a_failed_sync_storage_that_outlives_the_host_does_not_either) {
    durable_ = true;
    kill_daemon();
    ASSERT_EQ(open(), "");
    start(Op::write, kZone, 8192, 1);
    settle();
    below_->fail_all(Op::flush, Errc::io);
    ASSERT_EQ(now(flush_request()), Errc::io);
    below_->fail_nothing();
    kill_daemon();
    ASSERT_EQ(open(), "");
    EXPECT_EQ(pointer(1), 0U);
}

TEST_F(ZonedCrash, power_loss_keeps_completed_zone_actions) {
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
TEST_F(ZonedCrash, power_loss_between_two_pages_may_leave_more_active_zones_than_the_limit) {
    make(1024 * 64 * kKiB, "zone.size=64K,zone.max_active_zones=1");
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

TEST_F(ZonedCrash, torn_commit_page_leaves_the_older_slot) {
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

/// In an image that was closed in good order nothing was torn: an open from the older slot would
/// serve less than was flushed, and make the live table forget the rest.
TEST_F(ZonedCrash, newer_slot_damaged_in_a_clean_image_is_refused) {
    start(Op::write, kZone, 4096, 1);
    ASSERT_EQ(now(flush_request()), std::nullopt);
    start(Op::write, kZone + 4096, 4096, 2);
    settle();
    below_->forget();
    ASSERT_EQ(now(flush_request()), std::nullopt);
    const std::uint64_t newest = below_->seen().at(1).range.offset;
    ASSERT_TRUE(reactor_.run_to_end(disk_->close()).has_value());
    disk_.reset();
    memory_.bytes()[newest + 2000] ^= std::byte{0xff};
    const AlignedBuffer before = copy_of(memory_.bytes());
    const std::string refusal =
        "'memory of 9 MiB' is damaged: a slot of commit page 0 (zones 0 to 7) is unreadable and "
        "was the newer one: zbdkit check says what mends it";
    EXPECT_EQ(open(), refusal);
    EXPECT_EQ(open(true), refusal);
    EXPECT_TRUE(std::ranges::equal(before.bytes(), memory_.bytes()));
}

TEST_F(ZonedCrash, older_slot_damaged_in_a_clean_image_loses_nothing) {
    start(Op::write, kZone, 4096, 1);
    ASSERT_EQ(now(flush_request()), std::nullopt);
    start(Op::write, kZone + 4096, 4096, 2);
    settle();
    below_->forget();
    ASSERT_EQ(now(flush_request()), std::nullopt);
    const std::uint64_t newest = below_->seen().at(1).range.offset;
    ASSERT_TRUE(reactor_.run_to_end(disk_->close()).has_value());
    disk_.reset();
    const std::uint64_t older = 2 * layout_.commit_offset + zoned::kPageSize - newest;
    memory_.bytes()[older + 2000] ^= std::byte{0xff};
    ASSERT_EQ(open(), "");
    EXPECT_EQ(pointer(1), 8192U);
}

// Otherwise a later check, after the daemon closed it in good order, would call the slot damaged.
TEST_F(ZonedCrash, torn_slot_is_whole_again_as_soon_as_the_image_is_open) {
    start(Op::write, kZone, 4096, 1);
    ASSERT_EQ(now(flush_request()), std::nullopt);
    const zoned::Uuid uuid =
        zoned::decode_superblock(memory_.bytes().first(zoned::kPageSize)).value().uuid;
    lose_power();
    const MutableBytes slots = memory_.bytes().subspan(layout_.commit_offset, 2 * zoned::kPageSize);
    slots[512] ^= std::byte{0xff};
    ASSERT_EQ(open(), "");
    EXPECT_TRUE(zoned::decode_commit_page(slots.first(zoned::kPageSize), uuid, 0, 8).has_value());
}

TEST_F(ZonedCrash, flush_of_an_image_open_for_reading_after_a_power_loss_writes_nothing) {
    start(Op::write, kZone, 4096, 1);
    ASSERT_EQ(now(flush_request()), std::nullopt);
    lose_power();
    ASSERT_EQ(open(true), "");
    below_->forget();
    ASSERT_EQ(now(flush_request()), std::nullopt);
    EXPECT_EQ(below_->seen(), (std::vector<HeldNode::Seen>{{Op::flush, {}}}));
}

TEST_F(ZonedCrash, both_slots_of_a_commit_page_damaged_is_refused) {
    disk_.reset();
    std::ranges::fill(memory_.bytes().subspan(layout_.commit_offset, 8192), std::byte{0xff});
    EXPECT_EQ(open(),
              "'memory of 9 MiB' is damaged: both copies of commit page 0 (zones 0 to 7) "
              "are unreadable");
}

TEST_F(ZonedCrash, live_table_with_an_impossible_state_is_refused_after_daemon_death) {
    disk_.reset();
    memory_.bytes()[layout_.live_table_offset + 7] = std::byte{0x07};
    EXPECT_NE(open().find("zone 0 in the live table"), std::string::npos);
}

/// The live table is never behind a commit page: here it lost what was flushed.
TEST_F(ZonedCrash, live_table_behind_the_commit_pages_is_refused_after_daemon_death) {
    start(Op::write, kZone, 8192, 1);
    ASSERT_EQ(now(flush_request()), std::nullopt);
    kill_daemon();
    store_le(memory_.bytes().data() + layout_.live_table_offset + 8,
             zoned::encode_word({.record = {.state = ZoneState::closed, .data_end = 4096}}));
    EXPECT_EQ(open(),
              "'memory of 9 MiB' is damaged: the live table ends the data of zone 1 at 4096, of "
              "which 8192 was committed: zbdkit check says what mends it");
}

TEST_F(ZonedCrash, zone_beyond_its_capacity_in_the_live_table_is_refused) {
    disk_.reset();
    store_le(memory_.bytes().data() + layout_.live_table_offset + 8,
             zoned::encode_word({.record = {.state = ZoneState::closed, .data_end = 2 * kMiB}}));
    EXPECT_NE(open().find("is damaged: zone 1"), std::string::npos);
}

// --- Found by the simulator ---------------------------------------------------------------------

TEST_F(ZonedCrash, finish_of_a_zone_that_writes_filled_is_durable) {
    start(Op::write, kZone, kZone, 1);
    settle();
    ASSERT_EQ(now(zone_request(Op::zone_finish, kZone)), std::nullopt);
    lose_power();
    ASSERT_EQ(open(), "");
    EXPECT_EQ(zone(1).state, ZoneState::full);
}

TEST_F(ZonedCrash, close_of_a_closed_zone_makes_its_data_durable) {
    make(8 * kZone, "zone.size=1M,zone.max_open_zones=1");
    start(Op::write, kZone, 4096, 1);
    start(Op::write, 2 * kZone, 4096, 2);  // closes zone 1
    settle();
    ASSERT_EQ(zone(1).state, ZoneState::closed);
    ASSERT_EQ(now(zone_request(Op::zone_close, kZone)), std::nullopt);
    lose_power();
    ASSERT_EQ(open(), "");
    EXPECT_EQ(pointer(1), 4096U);
}

/// The failed finish may be on the medium, so a reset must not succeed without undoing it there.
TEST_F(ZonedCrash, reset_after_a_finish_that_failed_is_no_success_without_a_commit) {
    below_->fail_all(Op::flush, Errc::io);
    ASSERT_EQ(now(zone_request(Op::zone_finish, kZone)), Errc::io);
    ASSERT_EQ(zone(1).state, ZoneState::empty);
    EXPECT_EQ(now(zone_request(Op::zone_reset, kZone)), Errc::io);
    EXPECT_EQ(now(zone_request(Op::zone_reset_all, 0)), Errc::io);
    kill_daemon();
    ASSERT_EQ(open(), "");
}

/// A commit page that got to the storage just before the daemon died is taken back before anybody
/// is told of the older state.
TEST_F(ZonedCrash, action_under_way_at_the_daemons_death_does_not_come_back_after_a_power_loss) {
    start(Op::write, kZone, 4096, 7);
    ASSERT_EQ(now(flush_request()), std::nullopt);
    below_->hold_from(layout_.commit_offset);
    Pending& reset = start(zone_request(Op::zone_reset, kZone));
    settle();
    ASSERT_EQ(below_->held_count(), 1U);
    // The page lands, and the daemon dies over its sync: here the sync fails, and what the daemon
    // writes to the superblock because of that is taken back.
    const AlignedBuffer superblocks = copy_of(memory_.bytes().first(layout_.live_table_offset));
    below_->fail_all(Op::flush, Errc::io);
    below_->release(0);
    settle();
    ASSERT_EQ(reset.error, Errc::io);
    kill_daemon();
    std::ranges::copy(superblocks.bytes(), memory_.bytes().begin());
    ASSERT_EQ(open(), "");
    ASSERT_EQ(pointer(1), 4096U);
    lose_power();
    ASSERT_EQ(open(), "");
    EXPECT_EQ(pointer(1), 4096U);
    EXPECT_EQ(byte_at(kZone), 7);
}

/// Else a daemon that dies between the two leaves a live table that has less than was committed,
/// which a check calls damage.
TEST_F(ZonedCrash, commit_waits_for_a_live_table_that_must_be_written) {
    mappable_ = false;
    make(8 * kZone, "zone.size=1M");
    below_->hold_from(layout_.live_table_offset);
    start(Op::write, kZone, 4096, 1);
    below_->release(0);  // the data
    settle();
    const Pending& flush = start(flush_request());
    settle();
    EXPECT_EQ(below_->held_count(), 1U);
    EXPECT_EQ(below_->held_range(0).offset, layout_.live_table_offset);
    below_->hold_nothing();
    while (below_->held_count() > 0) below_->release(0);
    settle();
    EXPECT_TRUE(flush.done);
    EXPECT_EQ(flush.error, std::nullopt);
}

TEST_F(ZonedCrash, flush_fails_if_the_live_table_cannot_be_written) {
    mappable_ = false;
    make(8 * kZone, "zone.size=1M");
    below_->hold_from(layout_.live_table_offset);
    start(Op::write, kZone, 4096, 1);
    below_->release(0);  // the data
    settle();
    const Pending& flush = start(flush_request());
    settle();
    below_->hold_nothing();
    below_->fail_all(Op::write, Errc::no_space);
    while (below_->held_count() > 0) below_->release(0, Errc::no_space);
    settle();
    EXPECT_EQ(flush.error, Errc::no_space);
    below_->fail_nothing();
    EXPECT_EQ(now(flush_request()), std::nullopt);
}

/// Such a write has failed, so nothing is owed of it: what a report shows of it is settled by the
/// next flush, and until then the daemon's death may take it back.
TEST_F(ZonedCrash, write_that_failed_with_its_live_page_is_shown_until_the_daemon_dies) {
    mappable_ = false;
    make(8 * kZone, "zone.size=1M");
    start(Op::write, kZone, 4096, 1);
    settle();
    below_->hold_from(layout_.live_table_offset);
    const Pending& failed = start(Op::write, kZone + 4096, 4096, 2);
    below_->release(0);  // the data
    settle();
    below_->release(0, Errc::io);  // the live page
    settle();
    EXPECT_EQ(failed.error, Errc::io);
    EXPECT_EQ(pointer(1), 8192U);
    kill_daemon();
    ASSERT_EQ(open(), "");
    EXPECT_EQ(pointer(1), 4096U);
}

TEST_F(ZonedCrash, flush_settles_a_write_that_failed_with_its_live_page) {
    mappable_ = false;
    make(8 * kZone, "zone.size=1M");
    below_->hold_from(layout_.live_table_offset);
    const Pending& failed = start(Op::write, kZone, 4096, 2);
    below_->release(0);  // the data
    settle();
    below_->release(0, Errc::io);  // the live page
    settle();
    EXPECT_EQ(failed.error, Errc::io);
    below_->hold_nothing();
    EXPECT_EQ(now(flush_request()), std::nullopt);
    kill_daemon();
    ASSERT_EQ(open(), "");
    EXPECT_EQ(pointer(1), 4096U);
}

/// Where the live table is written, the word of a zone that was opened may get there without that
/// of the one that was closed to make room for it. Nobody was told of either.
TEST_F(ZonedCrash, open_zone_too_many_after_the_daemons_death_is_closed) {
    make(8 * kZone, "zone.size=1M,zone.max_open_zones=2");
    start(Op::write, 2 * kZone, 4096, 2);
    ASSERT_EQ(now(zone_request(Op::zone_open, kZone)), std::nullopt);
    kill_daemon();
    store_le(memory_.bytes().data() + layout_.live_table_offset + 3 * sizeof(std::uint64_t),
             zoned::encode_word({.record = {.state = ZoneState::implicit_open, .data_end = 4096}}));
    ASSERT_EQ(open(), "");
    EXPECT_EQ(zone(1).state, ZoneState::explicit_open);
    EXPECT_EQ(zone(2).state, ZoneState::closed);
    EXPECT_EQ(zone(3).state, ZoneState::implicit_open);
    EXPECT_EQ(byte_at(2 * kZone), 2);
    kill_daemon();
    ASSERT_EQ(open(), "");
    EXPECT_EQ(zone(2).state, ZoneState::closed);
}

TEST_F(ZonedCrash, explicitly_open_zones_too_many_after_the_daemons_death_are_damage) {
    make(8 * kZone, "zone.size=1M,zone.max_open_zones=1");
    ASSERT_EQ(now(zone_request(Op::zone_open, kZone)), std::nullopt);
    kill_daemon();
    store_le(memory_.bytes().data() + layout_.live_table_offset + 3 * sizeof(std::uint64_t),
             zoned::encode_word({.record = {.state = ZoneState::explicit_open, .data_end = 4096}}));
    EXPECT_NE(open().find("is damaged: 2 zones are open, the limit is 1"), std::string::npos);
}

TEST_F(ZonedCrash, damaged_superblock_copy_is_written_before_the_good_one) {
    for (const std::uint64_t damaged : {std::uint64_t{0}, zoned::kSecondSuperblockOffset}) {
        kill_daemon();
        std::ranges::fill(memory_.bytes().subspan(damaged, 512), std::byte{0xff});
        ASSERT_EQ(open(), "");
        const auto first_write = std::ranges::find(below_->seen(), Op::write, &HeldNode::Seen::op);
        ASSERT_NE(first_write, below_->seen().end());
        EXPECT_EQ(first_write->range.offset, damaged);
        // What counts may be in the host's cache only: it is synced before the other is touched.
        EXPECT_EQ(std::prev(first_write)->op, Op::flush);
    }
}

/// While the space of zone 1 is freed, zone 2 is reset as well, and must not be closed to make room
/// for another zone: its old word would come back.
TEST_F(ZonedCrash, zone_of_a_reset_all_is_not_brought_back_by_making_room_for_another) {
    make(8 * kZone, "zone.size=1M,zone.max_open_zones=2");
    start(Op::write, kZone, 4096, 1);
    start(Op::write, 2 * kZone, 4096, 2);
    settle();
    below_->hold_discards();
    Pending& reset = start(zone_request(Op::zone_reset_all, 0));
    settle();
    ASSERT_EQ(below_->held_count(), 1U);
    start(Op::write, 3 * kZone, 4096, 3);
    start(Op::write, 4 * kZone, 4096, 4);
    settle();
    ASSERT_EQ(now(flush_request()), std::nullopt);
    while (below_->held_count() > 0) {
        below_->release(0);
        settle();
    }
    ASSERT_TRUE(reset.done);
    ASSERT_EQ(reset.error, std::nullopt);
    lose_power();
    ASSERT_EQ(open(), "");
    EXPECT_EQ(zone(2).state, ZoneState::empty);
    EXPECT_EQ(zone(4).state, ZoneState::closed);
}

/// A sequential-write-preferred zone may get a hole where the lost write was.
TEST_F(ZonedCrash, host_aware_write_lost_at_a_power_loss_does_not_come_back_in_a_hole) {
    make(8 * kZone, "zone.size=1M,zone.mode=host-aware");
    start(Op::write, kZone, 4096, 1);
    ASSERT_EQ(now(flush_request()), std::nullopt);
    start(Op::write, kZone + 8192, 4096, 2);
    settle();
    lose_power();
    ASSERT_EQ(open(), "");
    EXPECT_EQ(pointer(1), 4096U);
    ASSERT_EQ(byte_at(kZone + 8192), 0);
    start(Op::write, kZone + 16384, 4096, 3);
    settle();
    EXPECT_EQ(byte_at(kZone), 1);
    EXPECT_EQ(byte_at(kZone + 8192), 0);
    EXPECT_EQ(byte_at(kZone + 16384), 3);
}

/// Nor that of one which was under way when the daemon died: here it lands, and nothing says so.
TEST_F(ZonedCrash, host_aware_write_in_flight_at_the_daemons_death_does_not_come_back_in_a_hole) {
    make(8 * kZone, "zone.size=1M,zone.mode=host-aware");
    disk_.reset();
    std::ranges::fill(memory_.bytes().subspan(layout_.data_offset + kZone + 8192, 4096),
                      std::byte{2});
    ASSERT_EQ(open(), "");
    ASSERT_EQ(byte_at(kZone + 8192), 0);
    start(Op::write, kZone + 16384, 4096, 3);
    settle();
    EXPECT_EQ(byte_at(kZone + 8192), 0);
    EXPECT_EQ(byte_at(kZone + 16384), 3);
}

}  // namespace
}  // namespace zbdkit
