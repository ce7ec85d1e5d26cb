// SPDX-License-Identifier: Apache-2.0
// What an open makes of metadata that the medium does not give any more: served if what is left
// says the same, written anew then, and refused where it may say less.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/support/node/captured_log.h"
#include "tests/support/node/zoned_format.h"

namespace zbdkit {
namespace {

using test::HeldNode;
using test::kZone;
using zoned::kPageSize;

constexpr const char* kSaid = "injected fault: Input/output error";

/// Zone 1 has 4 KiB in the older slot of its commit page, and 8 in the newer.
class ZonedUnread : public test::ZonedFormat {
  protected:
    void SetUp() override {
        ZonedFormat::SetUp();
        write(kZone, 1);
        ASSERT_EQ(now(flush_request()), std::nullopt);
        write(kZone + 4096, 2);
        below_->forget();
        ASSERT_EQ(now(flush_request()), std::nullopt);
        newer_ = below_->seen().at(1).range;
        older_ = {2 * layout_.commit_offset + kPageSize - newer_.offset, kPageSize};
    }
    void write(std::uint64_t at, std::uint8_t value) {
        start(Op::write, at, 4096, value);
        settle();
        ASSERT_EQ(pendings_.back().error, std::nullopt);
    }
    void close() {
        ASSERT_TRUE(reactor_.run_to_end(disk_->close()).has_value());
        disk_.reset();
    }
    void lose_copy(std::uint64_t offset) { lose_sectors({offset, kPageSize}); }
    /// The image does not open, and nothing of it is changed by that.
    void expect_refused(const std::string& message) {
        const std::vector<std::byte> before(memory_.bytes().begin(), memory_.bytes().end());
        EXPECT_EQ(open(), message);
        EXPECT_EQ(open(true), message);
        EXPECT_TRUE(std::ranges::equal(before, memory_.bytes()));
    }
    void expect_all_there() {
        EXPECT_EQ(pointer(1), 8192U);
        EXPECT_EQ(byte_at(kZone), 1);
        EXPECT_EQ(byte_at(kZone + 4096), 2);
    }
    /// ... and what was lost is whole again: the image opens from that alone.
    void expect_written_anew(ByteRange lost, ByteRange other) {
        kill_daemon();
        replace_sectors();
        std::ranges::fill(memory_.bytes().subspan(other.offset, other.length), std::byte{0});
        EXPECT_FALSE(zoned::is_blank(memory_.bytes().subspan(lost.offset, lost.length)));
        ASSERT_EQ(open(), "");
        expect_all_there();
    }

    ByteRange newer_;  ///< slot of commit page 0
    ByteRange older_;
};

constexpr ByteRange kFirstCopy = {0, kPageSize};
constexpr ByteRange kSecondCopy = {zoned::kSecondSuperblockOffset, kPageSize};

// --- Superblocks --------------------------------------------------------------------------------

TEST_F(ZonedUnread, superblock_is_taken_from_the_other_copy_and_written_anew) {
    for (const ByteRange lost : {kFirstCopy, kSecondCopy}) {
        const ByteRange other = lost == kFirstCopy ? kSecondCopy : kFirstCopy;
        close();
        lose_sectors(lost);
        ASSERT_EQ(open(), "");
        expect_all_there();
        const auto first_write = std::ranges::find(below_->seen(), Op::write, &HeldNode::Seen::op);
        ASSERT_NE(first_write, below_->seen().end());
        EXPECT_EQ(first_write->range, lost) << "before the good one is touched";
        expect_written_anew(lost, other);
    }
}

TEST_F(ZonedUnread, superblock_is_taken_from_the_other_copy_after_a_death_and_a_power_loss) {
    kill_daemon();
    lose_sectors(kFirstCopy);
    ASSERT_EQ(open(), "");
    EXPECT_EQ(zone(1).state, ZoneState::implicit_open);
    expect_all_there();
    replace_sectors();
    lose_power();
    lose_sectors(kSecondCopy);
    ASSERT_EQ(open(), "");
    EXPECT_EQ(zone(1).state, ZoneState::closed);
    expect_all_there();
}

TEST_F(ZonedUnread, superblock_that_cannot_be_read_is_told_once) {
    close();
    lose_sectors(kSecondCopy);
    const test::CapturedLog log;
    ASSERT_EQ(open(), "");
    EXPECT_EQ(log.text(), std::string("warning: 'memory of 9 MiB': the second superblock cannot be "
                                      "read, the first one counts: ") +
                              kSaid + "\n");
}

TEST_F(ZonedUnread, superblock_opens_for_reading_and_is_not_written) {
    close();
    lose_sectors(kFirstCopy);
    ASSERT_EQ(open(true), "");
    expect_all_there();
    EXPECT_EQ(std::ranges::count(below_->seen(), Op::write, &HeldNode::Seen::op), 0);
}

TEST_F(ZonedUnread, superblock_that_cannot_be_written_either_is_refused) {
    close();
    lose_sectors(kFirstCopy);
    faults_ += ",inject-error.1.event=write,inject-error.1.offset=0";
    EXPECT_EQ(open(), std::string("cannot write the superblock of 'memory of 9 MiB': ") + kSaid);
    replace_sectors();
    ASSERT_EQ(open(), "");  // from the other one, which was left alone
    expect_all_there();
}

TEST_F(ZonedUnread, both_superblocks_are_refused) {
    close();
    lose_sectors(kFirstCopy);
    lose_sectors(kSecondCopy);
    expect_refused(std::string("cannot read 'memory of 9 MiB': ") + kSaid);
}

TEST_F(ZonedUnread, superblock_beside_a_damaged_one_is_refused) {
    close();
    lose_sectors(kFirstCopy);
    memory_.bytes()[kSecondCopy.offset + 100] ^= std::byte{1};
    expect_refused(std::string("cannot read 'memory of 9 MiB': ") + kSaid);
}

TEST_F(ZonedUnread, error_that_is_not_the_mediums_is_no_bad_sector) {
    close();
    faults_ = "inject-error.0.event=read,inject-error.0.offset=0,inject-error.0.errno=EROFS";
    EXPECT_NE(open().find("cannot read 'memory of 9 MiB': "), std::string::npos);
    faults_ =
        fmt::format("inject-error.0.event=read,inject-error.0.offset={},inject-error.0.errno=EROFS",
                    older_.offset);
    EXPECT_NE(open().find("cannot read the zone states of 'memory of 9 MiB': "), std::string::npos);
}

// --- Slots --------------------------------------------------------------------------------------

TEST_F(ZonedUnread, older_slot_of_a_clean_image_is_written_anew) {
    close();
    lose_sectors(older_);
    ASSERT_EQ(open(), "");
    expect_all_there();
    expect_written_anew(older_, newer_);
}

TEST_F(ZonedUnread, newer_slot_of_a_clean_image_is_refused) {
    close();
    lose_sectors(newer_);
    expect_refused(
        "'memory of 9 MiB' is damaged: a slot of commit page 0 (zones 0 to 7) is unreadable and "
        "was the newer one: zbdkit check says what mends it");
}

TEST_F(ZonedUnread, either_slot_is_written_anew_after_the_daemons_death) {
    for (const ByteRange lost : {newer_, older_}) {
        const ByteRange other = lost == newer_ ? older_ : newer_;
        kill_daemon();
        lose_sectors(lost);
        ASSERT_EQ(open(), "");
        EXPECT_EQ(zone(1).state, ZoneState::implicit_open);
        expect_all_there();
        expect_written_anew(lost, other);
    }
}

/// What is served may not be lost to a power loss because one slot was all there was.
TEST_F(ZonedUnread, slot_is_whole_before_the_image_is_in_use) {
    kill_daemon();
    lose_sectors(newer_);
    ASSERT_EQ(open(), "");
    replace_sectors();
    lose_power();
    ASSERT_EQ(open(), "");
    expect_all_there();
}

TEST_F(ZonedUnread, either_slot_is_refused_after_a_power_loss) {
    for (const ByteRange lost : {newer_, older_}) {
        lose_power();
        const std::vector<std::byte> before(memory_.bytes().begin(), memory_.bytes().end());
        lose_sectors(lost);
        expect_refused(
            std::string("'memory of 9 MiB' is damaged: a slot of commit page 0 (zones 0 to 7) "
                        "cannot be read and may have been the newer one: zbdkit check says what "
                        "mends it: ") +
            kSaid);
        replace_sectors();
        std::ranges::copy(before, memory_.bytes().begin());
        ASSERT_EQ(open(), "");
    }
}

TEST_F(ZonedUnread, slot_that_cannot_be_written_either_is_refused) {
    kill_daemon();
    lose_sectors(newer_);
    faults_ += fmt::format(",inject-error.1.event=write,inject-error.1.offset={}", newer_.offset);
    EXPECT_EQ(open(), std::string("cannot settle the zone states of 'memory of 9 MiB': ") + kSaid);
}

TEST_F(ZonedUnread, slot_opens_for_reading_after_the_daemons_death_and_is_not_written) {
    kill_daemon();
    lose_sectors(newer_);
    ASSERT_EQ(open(true), "");
    expect_all_there();
    EXPECT_EQ(std::ranges::count(below_->seen(), Op::write, &HeldNode::Seen::op), 0);
}

TEST_F(ZonedUnread, both_slots_are_refused) {
    kill_daemon();
    lose_sectors(newer_);
    lose_sectors(older_);
    expect_refused(std::string("'memory of 9 MiB' is damaged: both copies of commit page 0 (zones "
                               "0 to 7) are unreadable: ") +
                   kSaid);
}

TEST_F(ZonedUnread, slot_beside_a_torn_one_is_refused) {
    lose_power();
    lose_sectors(older_);
    memory_.bytes()[newer_.offset + 2000] ^= std::byte{1};
    expect_refused(std::string("'memory of 9 MiB' is damaged: both copies of commit page 0 (zones "
                               "0 to 7) are unreadable: ") +
                   kSaid);
}

/// Pages are read many at a time: one bad sector takes none of its neighbours along.
TEST_F(ZonedUnread, one_slot_among_many_pages_is_the_only_one_lost) {
    constexpr std::uint64_t kSmallZone = 64 * kKiB;
    make(2000 * kSmallZone, "zone.size=64K");
    start(Op::write, 1500 * kSmallZone, 4096, 7);
    ASSERT_EQ(now(flush_request()), std::nullopt);
    start(Op::write, 600 * kSmallZone, 4096, 6);
    ASSERT_EQ(now(flush_request()), std::nullopt);
    kill_daemon();
    lose_sectors({layout_.slot_offset(1, 0), kPageSize});
    lose_sectors({layout_.slot_offset(2, 1), kPageSize});
    const test::CapturedLog log;
    ASSERT_EQ(open(), "");
    EXPECT_NE(log.text().find("a slot of commit page 1 cannot be read"), std::string::npos);
    EXPECT_NE(log.text().find("2 slots in all cannot be read"), std::string::npos);
    std::vector<std::uint64_t> written;
    for (const HeldNode::Seen& seen : below_->seen()) {
        const bool is_slot = seen.op == Op::write && seen.range.offset >= layout_.commit_offset;
        if (is_slot) written.push_back(seen.range.offset);
    }
    EXPECT_EQ(written, (std::vector{layout_.slot_offset(1, 0), layout_.slot_offset(2, 1)}));
    EXPECT_EQ(byte_at(1500 * kSmallZone), 7);
    EXPECT_EQ(byte_at(600 * kSmallZone), 6);
}

}  // namespace
}  // namespace zbdkit
