// SPDX-License-Identifier: Apache-2.0
// Each kind of damage: made, found, mended, and then the image is opened and its data read. At the
// end damage at random, and repairs that are cut off.
#include "app/image_check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "base/crc32c.h"
#include "node/format/zoned_store.h"
#include "tests/support/node/zoned_format.h"
#include "tests/support/seed.h"

namespace zbdkit::app {
namespace {

using zoned::Cure;
using zoned::FindingKind;
using zoned::kPageSize;
using zoned::Page;
using zoned::Superblock;

constexpr std::uint64_t kSmallZone = 64 * kKiB;
constexpr std::uint32_t kZones = 8;
constexpr const char* kSaid = "injected fault: Input/output error";
constexpr const char* kStillUnread = "; it was written anew, and still cannot be read";

std::uint64_t bits(ZoneState state, std::uint64_t data_end) {
    return zoned::encode_word({.record = {.state = state, .data_end = data_end}});
}

/// Cuts a repair off: write number `cut_at` gets only its first sector through, and nothing does
/// after that.
class CutNode final : public PassthroughFilter {
  public:
    CutNode(std::unique_ptr<BlockNode> child, int cut_at)
        : PassthroughFilter("cut", std::move(child)), left_(cut_at) {
        set_info(this->child().info());
    }

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        if (request.op == Op::write) --left_;
        if (left_ >= 0) co_return co_await child().submit(request);
        if (left_ == -1 && request.op == Op::write) {
            const IoVector sector = slice(request.segments, {0, 512});
            Request torn = write_request({request.range.offset, 512}, sector);
            co_await ok(child().submit(torn));
        }
        left_ = std::min(left_, -2);
        co_return fail(Errc::io, "the power went");
    }

  private:
    int left_;
};

/// An image of 8 zones, of which 0 is conventional, with data in most:
///   1 closed with 8 KiB of 0x11, 2 finished after 4 KiB of 0x22, 3 written full of 0x33,
///   4 implicitly open with 12 KiB of 0x44, 5 to 7 empty.
class ImageCheck : public test::ZonedFormat {
  protected:
    void SetUp() override { fill("zone.size=64K,zone.conventional_zones=1"); }

    void fill(std::string_view options) {
        make(kZones * kSmallZone, options);
        write(0, 4096, 0x0f);
        write(kSmallZone, 8192, 0x11);
        act(Op::zone_close, 1);
        write(2 * kSmallZone, 4096, 0x22);
        act(Op::zone_finish, 2);
        write(3 * kSmallZone, kSmallZone, 0x33);
        write(4 * kSmallZone, 8192, 0x44);
        ASSERT_EQ(now(flush_request()), std::nullopt);
        write(4 * kSmallZone + 8192, 4096, 0x44);
        ASSERT_EQ(now(flush_request()), std::nullopt);
    }
    void write(std::uint64_t at, std::uint64_t length, std::uint8_t value) {
        start(Op::write, at, length, value);
        settle();
        ASSERT_EQ(pendings_.back().error, std::nullopt);
    }
    void act(Op op, std::uint32_t zone) {
        ASSERT_EQ(now(zone_request(op, zone * kSmallZone)), std::nullopt);
    }
    void close() {
        ASSERT_TRUE(reactor_.run_to_end(disk_->close()).has_value());
        disk_.reset();
    }

    // --- The bytes --------------------------------------------------------------------------

    MutableBytes slot(std::uint32_t index) {
        return memory_.bytes().subspan(layout_.slot_offset(0, index), kPageSize);
    }
    zoned::CommitPage page(std::uint32_t index) {
        return zoned::decode_commit_page(slot(index), superblock().uuid, 0, kZones).value();
    }
    void put_page(std::uint32_t index, const zoned::CommitPage& commit) {
        const Page bytes = zoned::encode_commit_page(commit);
        std::ranges::copy(bytes, slot(index).begin());
    }
    std::uint32_t newest() { return page(1).sequence > page(0).sequence ? 1 : 0; }
    MutableBytes copy(std::uint32_t index) {
        return memory_.bytes().subspan(index * zoned::kSecondSuperblockOffset, kPageSize);
    }
    Superblock superblock(std::uint32_t index = 1) {
        return zoned::decode_superblock(copy(index)).value();
    }
    void put_superblock(std::uint32_t index, const Superblock& superblock) {
        const Page bytes = zoned::encode_superblock(superblock);
        std::ranges::copy(bytes, copy(index).begin());
    }
    std::byte* live(std::uint32_t zone) {
        return memory_.bytes().data() + layout_.live_table_offset + zone * std::size_t{8};
    }
    /// Into the slot that counts, with a right checksum.
    void put_word(std::uint32_t zone, std::uint64_t word) {
        zoned::CommitPage commit = page(newest());
        commit.words.at(zone) = word;
        put_page(newest(), commit);
    }
    static void smash(MutableBytes bytes) { std::ranges::fill(bytes.first(512), std::byte{0xa5}); }

    // --- Checking ---------------------------------------------------------------------------

    CheckResult check() {
        const std::unique_ptr<BlockNode> node = storage();
        Outcome<CheckResult> result = reactor_.run_to_end(check_image(*node));
        EXPECT_TRUE(result.has_value()) << result.error().message;
        return result ? std::move(*result) : CheckResult{};
    }
    CheckResult repair(Permission permission) {
        const CheckResult found = check();
        const std::unique_ptr<BlockNode> node = storage();
        EXPECT_TRUE(reactor_.run_to_end(repair_image(*node, found, permission)).has_value());
        Outcome<CheckResult> left = reactor_.run_to_end(check_repaired_image(*node, permission));
        EXPECT_TRUE(left.has_value()) << left.error().message;
        return left ? std::move(*left) : CheckResult{};
    }
    static std::string listed(const CheckResult& result, bool with_notes = true) {
        std::string text;
        for (const zoned::Finding& finding : result.findings) {
            if (!with_notes && !finding.is_damage()) continue;
            if (!text.empty()) text += ", ";
            text += zoned::finding_kind_name(finding.kind);
            text += " of " + finding.place;
            if (finding.cure == Cure::force) text += " (force)";
            if (finding.cure == Cure::none) text += " (none)";
        }
        return text;
    }
    std::vector<std::byte> saved() { return {memory_.bytes().begin(), memory_.bytes().end()}; }
    void restore(const std::vector<std::byte>& bytes) {
        std::ranges::copy(bytes, memory_.bytes().begin());
    }
    /// The damage is found, stays if it may not be mended, is mended, and no damage is left.
    void expect_mended(const std::string& findings, Permission permission) {
        EXPECT_EQ(listed(check()), findings);
        if (permission == Permission::force) {
            const std::vector<std::byte> before = saved();
            EXPECT_TRUE(repair(Permission::repair).is_damaged);
            EXPECT_TRUE(std::ranges::equal(before, memory_.bytes())) << "written without --force";
        }
        EXPECT_EQ(listed(repair(permission), false), "");
    }
    /// The same of sectors that cannot be read. As long as they stay so they are told of, and
    /// nobody claims to mend them any more; and when they can be read there is no damage.
    void expect_written_anew(const std::string& findings, Permission permission) {
        EXPECT_EQ(listed(check()), findings);
        if (permission == Permission::force) {
            const std::vector<std::byte> before = saved();
            EXPECT_TRUE(repair(Permission::repair).is_damaged);
            EXPECT_TRUE(std::ranges::equal(before, memory_.bytes())) << "written without --force";
        }
        const CheckResult left = repair(permission);
        EXPECT_EQ(left.repairable + left.forceable, 0U) << listed(left);
        EXPECT_GT(left.incurable, 0U);
        for (const zoned::Finding& finding : left.findings) {
            EXPECT_NE(finding.text.find(kStillUnread), std::string::npos) << finding.text;
        }
        replace_sectors();
        EXPECT_EQ(listed(check(), false), "");
    }
    void expect_data() {
        ASSERT_EQ(open(), "");
        EXPECT_EQ(byte_at(0), 0x0f);
        EXPECT_EQ(byte_at(kSmallZone + 8191), 0x11);
        EXPECT_EQ(byte_at(2 * kSmallZone), 0x22);
        EXPECT_EQ(byte_at(4 * kSmallZone - 1), 0x33);
        EXPECT_EQ(byte_at(4 * kSmallZone + 12287), 0x44);
    }
    /// All states, too, are as they were.
    void expect_all_there() {
        expect_data();
        EXPECT_EQ(zone_at(kSmallZone).state, ZoneState::closed);
        EXPECT_EQ(zone_at(kSmallZone).write_pointer, kSmallZone + 8192);
        EXPECT_EQ(zone_at(2 * kSmallZone).state, ZoneState::full);
        EXPECT_EQ(zone_at(4 * kSmallZone).write_pointer, 4 * kSmallZone + 12288);
        EXPECT_EQ(zone_at(6 * kSmallZone).state, ZoneState::empty);
        EXPECT_EQ(byte_at(2 * kSmallZone + 4096), 0);
    }
    void expect_full(std::uint32_t zone) {
        EXPECT_EQ(zone_at(zone * kSmallZone).state, ZoneState::full);
    }
};

// --- Sound images -------------------------------------------------------------------------------

TEST_F(ImageCheck, image_that_was_closed_is_sound) {
    close();
    EXPECT_EQ(listed(check()), "");
    EXPECT_EQ(check().zones_checked, 8U);
}

TEST_F(ImageCheck, image_of_a_daemon_that_died_is_sound) {
    kill_daemon();
    EXPECT_EQ(listed(check()), "");
}

TEST_F(ImageCheck, image_after_a_power_loss_is_sound) {
    lose_power();
    EXPECT_EQ(listed(check()), "");
}

TEST_F(ImageCheck, image_never_opened_is_sound) {
    make(kZones * kSmallZone, "zone.size=64K");
    disk_.reset();
    const std::unique_ptr<BlockNode> node = make_memory_node(memory_.bytes());
    ASSERT_TRUE(reactor_.run_to_end(zoned::format_image(*node, image_)).has_value());
    EXPECT_EQ(listed(check()), "");
}

TEST_F(ImageCheck, repair_of_a_sound_image_writes_nothing) {
    close();
    const std::vector<std::byte> before = saved();
    EXPECT_FALSE(repair(Permission::force).is_damaged);
    EXPECT_TRUE(std::ranges::equal(before, memory_.bytes()));
}

// --- Superblocks --------------------------------------------------------------------------------

TEST_F(ImageCheck, one_bad_superblock_is_written_anew_from_the_other) {
    for (const std::uint32_t index : {0U, 1U}) {
        close();
        smash(copy(index));
        expect_mended(index == 0 ? "superblock-unreadable of superblock"
                                 : "superblock-unreadable of superblock copy at 64 KiB",
                      Permission::repair);
        EXPECT_EQ(superblock(0), superblock(1));
        expect_all_there();
    }
}

TEST_F(ImageCheck, superblock_that_lost_writes_is_brought_up_to_date) {
    close();
    Superblock old = superblock();
    old.sequence -= 2;
    put_superblock(0, old);
    expect_mended("superblock-stale of superblock", Permission::repair);
    EXPECT_EQ(superblock(0), superblock(1));
    expect_all_there();
}

TEST_F(ImageCheck, superblock_of_another_disk_gives_way_to_the_one_that_the_commit_pages_confirm) {
    close();
    Superblock other = superblock();
    other.uuid.fill(std::byte{9});
    other.sequence += 5;
    put_superblock(0, other);
    expect_mended("superblock-foreign of superblock", Permission::repair);
    EXPECT_EQ(superblock(0), superblock(1));
    expect_all_there();
}

TEST_F(ImageCheck, superblocks_of_one_sequence_with_different_conditions_lose_no_open_zone) {
    kill_daemon();
    Superblock clean = superblock();
    clean.condition = zoned::Condition::clean;
    clean.boot_id = {};
    put_superblock(0, clean);
    expect_mended("superblock-conflict of superblock", Permission::repair);
    EXPECT_EQ(superblock(0).condition, zoned::Condition::in_use);
    expect_all_there();
    EXPECT_EQ(zone_at(4 * kSmallZone).state, ZoneState::implicit_open);
}

TEST_F(ImageCheck, superblock_whose_sequence_cannot_go_on_is_counted_anew) {
    close();
    Superblock last = superblock();
    last.sequence = ~std::uint64_t{0};
    put_superblock(0, last);
    put_superblock(1, last);
    expect_mended("superblock-sequence of superblock", Permission::repair);
    expect_all_there();
}

TEST_F(ImageCheck, both_superblocks_bad_are_made_anew_only_with_force) {
    close();
    copy(0)[3000] = std::byte{1};
    copy(1)[4092] ^= std::byte{1};
    expect_mended(
        "superblocks-lost of superblock (force), superblocks-lost of superblock copy at 64 KiB "
        "(force)",
        Permission::force);
    expect_all_there();
}

TEST_F(ImageCheck, nothing_is_mended_by_a_superblock_that_may_not_be) {
    close();
    copy(0)[3000] = std::byte{1};
    copy(1)[4092] ^= std::byte{1};
    smash(slot(0));
    const std::vector<std::byte> before = saved();
    EXPECT_EQ(repair(Permission::repair).forceable, 3U);
    EXPECT_TRUE(std::ranges::equal(before, memory_.bytes()));
    EXPECT_FALSE(repair(Permission::force).is_damaged);
    expect_all_there();
}

TEST_F(ImageCheck, superblocks_without_sense_cannot_be_mended) {
    close();
    std::ranges::fill(copy(0).subspan(8), std::byte{0x5a});
    std::ranges::fill(copy(1).subspan(8), std::byte{0x5a});
    const std::vector<std::byte> before = saved();
    EXPECT_TRUE(repair(Permission::force).is_damaged);
    EXPECT_TRUE(std::ranges::equal(before, memory_.bytes()));
}

TEST_F(ImageCheck, superblock_of_a_later_version_beside_a_good_one_is_left_alone) {
    close();
    smash(slot(0));
    store_le(copy(0).data() + 8, std::uint32_t{2});
    store_le(copy(0).data() + 4092, crc32c(ConstBytes(copy(0)).first(4092)));
    const std::vector<std::byte> before = saved();
    const CheckResult left = repair(Permission::force);
    EXPECT_EQ(left.incurable, 2U) << listed(left);
    EXPECT_TRUE(std::ranges::equal(before, memory_.bytes()));
}

TEST_F(ImageCheck, image_that_can_only_be_read_is_not_repaired) {
    close();
    Superblock later = superblock();
    later.read_only_features = 1;
    put_superblock(0, later);
    put_superblock(1, later);
    smash(slot(0));
    const std::vector<std::byte> before = saved();
    EXPECT_TRUE(repair(Permission::force).is_damaged);
    EXPECT_TRUE(std::ranges::equal(before, memory_.bytes()));
}

// --- Commit pages -------------------------------------------------------------------------------

TEST_F(ImageCheck, older_slot_damaged_is_written_anew) {
    close();
    const std::uint32_t older = 1 - newest();
    smash(slot(older));
    expect_mended("slot-unreadable of commit page 0, slot " + std::to_string(older),
                  Permission::repair);
    expect_all_there();
}

/// The other slot has zone 4 with less data: what was flushed last is in the live table.
TEST_F(ImageCheck, newer_slot_damaged_is_written_anew_from_the_live_table) {
    close();
    const std::uint32_t newer = newest();
    smash(slot(newer));
    expect_mended("slot-unreadable of commit page 0, slot " + std::to_string(newer),
                  Permission::repair);
    expect_all_there();
}

/// Whether the slot was the newer one cannot be told by a live table that is damaged too, and the
/// other one has zone 4 with less data.
TEST_F(ImageCheck, newer_slot_damaged_with_a_word_of_the_live_table_needs_force) {
    close();
    const std::uint32_t newer = newest();
    smash(slot(newer));
    store_le(live(6), ~std::uint64_t{0});
    expect_mended("slot-unreadable of commit page 0, slot " + std::to_string(newer) + " (force)",
                  Permission::force);
    expect_data();
    EXPECT_EQ(zone_at(kSmallZone).state, ZoneState::closed);
    EXPECT_EQ(zone_at(4 * kSmallZone).write_pointer, 4 * kSmallZone + 12288);
    expect_full(6);
}

/// The slot that is left has the zone as it was before its reset.
TEST_F(ImageCheck, newer_slot_damaged_while_in_use_does_not_undo_what_was_committed) {
    act(Op::zone_reset, 3);
    ASSERT_EQ(now(flush_request()), std::nullopt);
    act(Op::zone_reset, 2);
    kill_daemon();
    const std::uint32_t newer = newest();
    smash(slot(newer));
    expect_mended("slot-unreadable of commit page 0, slot " + std::to_string(newer),
                  Permission::repair);
    EXPECT_EQ(page(newest()).words.at(2) & ~(std::uint64_t{1} << 60), bits(ZoneState::empty, 0));
    ASSERT_EQ(open(), "");
    EXPECT_EQ(zone_at(2 * kSmallZone).state, ZoneState::empty);
    EXPECT_EQ(byte_at(kSmallZone), 0x11);
}

TEST_F(ImageCheck, slot_of_another_image_is_written_anew) {
    close();
    const std::uint32_t older = 1 - newest();
    zoned::CommitPage other = page(older);
    other.uuid.fill(std::byte{7});
    other.sequence = 99;
    put_page(older, other);
    expect_mended("slot-foreign of commit page 0, slot " + std::to_string(older),
                  Permission::repair);
    expect_all_there();
}

TEST_F(ImageCheck, slot_that_lost_a_write_is_written_anew) {
    close();
    const std::uint32_t older = 1 - newest();
    zoned::CommitPage old = page(older);
    old.sequence -= 2;
    put_page(older, old);
    expect_mended("slot-stale of commit page 0, slot " + std::to_string(older), Permission::repair);
    expect_all_there();
}

TEST_F(ImageCheck, slots_of_one_sequence_are_told_apart_by_the_live_table) {
    close();
    zoned::CommitPage old = page(1 - newest());
    const std::uint32_t older = 1 - newest();
    old.sequence = page(newest()).sequence;
    put_page(older, old);
    expect_mended("slot-conflict of commit page 0", Permission::repair);
    expect_all_there();
}

TEST_F(ImageCheck, slot_whose_sequence_cannot_go_on_is_counted_anew) {
    close();
    zoned::CommitPage last = page(newest());
    const std::uint32_t newer = newest();
    last.sequence = ~std::uint64_t{0};
    put_page(newer, last);
    EXPECT_NE(listed(check()).find("slot-sequence"), std::string::npos);
    EXPECT_FALSE(repair(Permission::repair).is_damaged);
    expect_all_there();
}

/// The last sequence that counts is no damage by itself, but a repair has nowhere to go on from it.
TEST_F(ImageCheck, slot_of_the_last_sequence_is_repaired_at_once) {
    close();
    zoned::CommitPage last = page(newest());
    const std::uint32_t newer = newest();
    last.sequence = std::uint64_t{1} << 62;
    put_page(newer, last);
    EXPECT_FALSE(repair(Permission::repair).is_damaged);
    expect_all_there();
}

TEST_F(ImageCheck, slot_torn_by_a_power_loss_is_no_damage) {
    lose_power();
    const std::uint32_t older = 1 - newest();
    smash(slot(older));
    EXPECT_EQ(listed(check()), "slot-torn of commit page 0, slot " + std::to_string(older));
    EXPECT_FALSE(check().is_damaged);
    // ... and the next open writes it anew.
    ASSERT_EQ(open(), "");
    close();
    EXPECT_EQ(listed(check()), "");
    expect_all_there();
}

TEST_F(ImageCheck, page_lost_is_written_anew_from_the_live_table) {
    close();
    smash(slot(0));
    smash(slot(1));
    EXPECT_NE(open(), "");
    expect_mended("page-lost of commit page 0", Permission::repair);
    expect_all_there();
}

TEST_F(ImageCheck, page_lost_while_in_use_is_written_anew_from_the_live_table) {
    kill_daemon();
    smash(slot(0));
    smash(slot(1));
    expect_mended("page-lost of commit page 0", Permission::repair);
    expect_all_there();
}

TEST_F(ImageCheck, page_lost_in_a_power_loss_needs_force) {
    lose_power();
    smash(slot(0));
    smash(slot(1));
    expect_mended("page-lost of commit page 0 (force)", Permission::force);
    expect_all_there();
}

TEST_F(ImageCheck, page_lost_with_the_live_table_makes_zones_full_with_force) {
    close();
    smash(slot(0));
    smash(slot(1));
    std::ranges::fill(memory_.bytes().subspan(layout_.live_table_offset, 64), std::byte{0xee});
    expect_mended("page-lost of commit page 0 (force)", Permission::force);
    expect_data();
    for (std::uint32_t zone = 1; zone < kZones; ++zone) expect_full(zone);
}

TEST_F(ImageCheck, page_lost_of_a_new_image_is_that_of_a_new_image) {
    disk_.reset();
    const std::unique_ptr<BlockNode> node = make_memory_node(memory_.bytes());
    ASSERT_TRUE(reactor_.run_to_end(zoned::format_image(*node, image_)).has_value());
    smash(slot(0));
    expect_mended("page-lost of commit page 0", Permission::repair);
    EXPECT_EQ(listed(check()), "");
    ASSERT_EQ(open(), "");
    EXPECT_EQ(zone_at(kSmallZone).state, ZoneState::empty);
}

// --- Words --------------------------------------------------------------------------------------

TEST_F(ImageCheck, impossible_word_of_a_clean_image_comes_from_the_live_table) {
    close();
    put_word(4, std::uint64_t{9} << 56);
    expect_mended("word-impossible of zone 4", Permission::repair);
    expect_all_there();
}

TEST_F(ImageCheck, impossible_word_comes_from_the_other_slot_if_that_has_all_the_data) {
    lose_power();
    store_le(live(1), std::uint64_t{0});
    put_word(1, std::uint64_t{9} << 56 | 8192);
    expect_mended("word-impossible of zone 1", Permission::repair);
    expect_all_there();
}

/// The other slot has 8 KiB of zone 4, and 12 were flushed.
TEST_F(ImageCheck, impossible_word_with_more_data_than_the_other_slot_needs_force) {
    lose_power();
    store_le(live(4), std::uint64_t{0});
    put_word(4, std::uint64_t{9} << 56 | 12288);
    expect_mended("word-impossible of zone 4 (force)", Permission::force);
    expect_data();
    expect_full(4);
}

TEST_F(ImageCheck, word_with_the_mark_of_a_reset_and_data_does_not_lose_the_data) {
    close();
    put_word(1, bits(ZoneState::closed, 8192) | std::uint64_t{1} << 60);
    store_le(live(1), bits(ZoneState::closed, 8192) | std::uint64_t{1} << 60);
    EXPECT_NE(open(), "");
    expect_mended("word-impossible of zone 1", Permission::repair);
    expect_all_there();
}

TEST_F(ImageCheck, word_beyond_the_capacity_comes_from_the_live_table) {
    close();
    put_word(1, bits(ZoneState::closed, kSmallZone + 4096));
    expect_mended("word-beyond-capacity of zone 1", Permission::repair);
    expect_all_there();
}

TEST_F(ImageCheck, word_beyond_the_capacity_everywhere_needs_force) {
    close();
    put_word(1, bits(ZoneState::closed, kSmallZone + 4096));
    store_le(live(1), bits(ZoneState::closed, kSmallZone + 4096));
    expect_mended("word-beyond-capacity of zone 1 (force)", Permission::force);
    expect_data();
    expect_full(1);
}

TEST_F(ImageCheck, empty_zone_with_data_keeps_it) {
    close();
    put_word(1, bits(ZoneState::empty, 8192));
    expect_mended("word-contradictory of zone 1", Permission::repair);
    expect_all_there();
}

TEST_F(ImageCheck, closed_zone_without_room_is_full) {
    close();
    put_word(3, bits(ZoneState::closed, kSmallZone));
    store_le(live(3), bits(ZoneState::closed, kSmallZone));
    const std::uint32_t older = 1 - newest();
    smash(slot(older));
    expect_mended("slot-unreadable of commit page 0, slot " + std::to_string(older) +
                      ", word-contradictory of zone 3",
                  Permission::repair);
    expect_all_there();
}

TEST_F(ImageCheck, conventional_zone_can_only_be_one_thing) {
    close();
    put_word(0, bits(ZoneState::full, 4096));
    store_le(live(0), bits(ZoneState::full, 4096));
    expect_mended("word-contradictory of zone 0", Permission::repair);
    expect_all_there();
}

TEST_F(ImageCheck, impossible_live_word_of_a_full_zone_comes_from_the_commit_page) {
    kill_daemon();
    store_le(live(3), std::uint64_t{7} << 61);
    expect_mended("word-impossible of zone 3", Permission::repair);
    expect_all_there();
}

TEST_F(ImageCheck, impossible_live_word_needs_force_because_more_may_have_been_written) {
    kill_daemon();
    store_le(live(4), std::uint64_t{7} << 61);
    expect_mended("word-impossible of zone 4 (force)", Permission::force);
    expect_data();
    expect_full(4);
}

TEST_F(ImageCheck, live_word_behind_what_was_committed_is_brought_up_to_it) {
    kill_daemon();
    store_le(live(4), bits(ZoneState::implicit_open, 4096));
    expect_mended("word-behind of zone 4", Permission::repair);
    expect_all_there();
}

TEST_F(ImageCheck, bad_commit_page_word_while_in_use_comes_from_the_live_table) {
    kill_daemon();
    put_word(4, std::uint64_t{9} << 56);
    expect_mended("word-impossible of zone 4", Permission::repair);
    EXPECT_EQ(page(newest()).words.at(4), bits(ZoneState::implicit_open, 12288));
    expect_all_there();
}

TEST_F(ImageCheck, live_table_of_a_clean_image_that_differs_is_a_note) {
    close();
    store_le(live(4), bits(ZoneState::closed, 4096));
    EXPECT_EQ(listed(check()), "live-table-differs of commit page 0");
    EXPECT_FALSE(check().is_damaged);
    expect_all_there();
}

TEST_F(ImageCheck, space_to_be_reclaimed_is_a_note) {
    close();
    const std::uint64_t word =
        zoned::encode_word({.record = {.state = ZoneState::empty}, .reclaim_pending = true});
    put_word(6, word);
    store_le(live(6), word);
    EXPECT_EQ(listed(check()), "reclaim-pending of zone 6");
    EXPECT_FALSE(check().is_damaged);
}

// --- Sectors that cannot be read ----------------------------------------------------------------

/// Each of these is garbage under the fault: what a repair does not write anew is found afterwards.
class UnreadSectors : public ImageCheck {
  protected:
    void lose_copy(std::uint32_t index) {
        lose_sectors({index * zoned::kSecondSuperblockOffset, kPageSize});
    }
    void lose_slot(std::uint32_t index) {
        lose_sectors({layout_.slot_offset(0, index), kPageSize});
    }
    void lose_live_table() { lose_sectors({layout_.live_table_offset, kPageSize}); }
    /// Leaves the newer slot with other states than the older one: zone 2 was reset.
    void reset_zone_2() {
        act(Op::zone_reset, 3);
        ASSERT_EQ(now(flush_request()), std::nullopt);
        act(Op::zone_reset, 2);
    }
};

TEST_F(UnreadSectors, superblock_is_written_anew_from_the_other_copy) {
    for (const std::uint32_t index : {0U, 1U}) {
        close();
        lose_copy(index);
        EXPECT_EQ(check().findings.at(0).text, std::string("it cannot be read: ") + kSaid);
        expect_written_anew(index == 0 ? "superblock-unreadable of superblock"
                                       : "superblock-unreadable of superblock copy at 64 KiB",
                            Permission::repair);
        EXPECT_EQ(superblock(0), superblock(1));
        expect_all_there();
    }
}

TEST_F(UnreadSectors, superblock_beside_a_damaged_one_needs_force) {
    close();
    lose_copy(0);
    copy(1)[3000] ^= std::byte{1};
    EXPECT_EQ(
        listed(check()),
        "superblocks-lost of superblock (force), superblocks-lost of superblock copy at 64 KiB "
        "(force)");
    repair(Permission::force);
    replace_sectors();
    EXPECT_EQ(listed(check()), "");
    expect_all_there();
}

TEST_F(UnreadSectors, both_superblocks_are_an_error) {
    close();
    lose_copy(0);
    lose_copy(1);
    const std::unique_ptr<BlockNode> node = storage();
    const Outcome<CheckResult> result = reactor_.run_to_end(check_image(*node));
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().message, std::string("cannot read 'memory of 1.5 MiB': ") + kSaid);
}

TEST_F(UnreadSectors, superblock_that_cannot_be_written_either_is_an_error) {
    close();
    lose_copy(0);
    faults_ += ",inject-error.1.event=write,inject-error.1.offset=0";
    const CheckResult found = check();
    const std::unique_ptr<BlockNode> node = storage();
    const Outcome<void> done = reactor_.run_to_end(repair_image(*node, found, Permission::repair));
    ASSERT_FALSE(done.has_value());
    EXPECT_EQ(done.error().message,
              std::string("cannot write 4 KiB of 'memory of 1.5 MiB' at 0: ") + kSaid);
}

TEST_F(UnreadSectors, either_slot_of_a_clean_image_is_written_anew) {
    for (const bool is_newer : {false, true}) {
        close();
        const std::uint32_t lost = is_newer ? newest() : 1 - newest();
        lose_slot(lost);
        expect_written_anew("slot-unreadable of commit page 0, slot " + std::to_string(lost),
                            Permission::repair);
        expect_all_there();
    }
}

TEST_F(UnreadSectors, either_slot_is_written_anew_after_the_daemons_death) {
    for (const bool is_newer : {false, true}) {
        fill("zone.size=64K,zone.conventional_zones=1");
        reset_zone_2();
        kill_daemon();
        const std::uint32_t lost = is_newer ? newest() : 1 - newest();
        lose_slot(lost);
        expect_written_anew("slot-unreadable of commit page 0, slot " + std::to_string(lost),
                            Permission::repair);
        EXPECT_EQ(page(lost).words.at(2) & ~(std::uint64_t{1} << 60), bits(ZoneState::empty, 0));
        ASSERT_EQ(open(), "");
        EXPECT_EQ(zone_at(2 * kSmallZone).state, ZoneState::empty);
        EXPECT_EQ(byte_at(kSmallZone), 0x11);
    }
}

TEST_F(UnreadSectors, newer_slot_after_a_power_loss_needs_force_and_loses_no_data) {
    lose_power();
    const std::uint32_t newer = newest();
    lose_slot(newer);
    expect_written_anew(
        "slot-unreadable of commit page 0, slot " + std::to_string(newer) + " (force)",
        Permission::force);
    expect_all_there();
}

TEST_F(UnreadSectors, older_slot_after_a_power_loss_needs_force_and_loses_no_data) {
    lose_power();
    const std::uint32_t older = 1 - newest();
    lose_slot(older);
    EXPECT_EQ(check().findings.at(0).text,
              std::string("it cannot be read: ") + kSaid + ", and may have been the newer one");
    expect_written_anew(
        "slot-unreadable of commit page 0, slot " + std::to_string(older) + " (force)",
        Permission::force);
    expect_all_there();
}

/// What was reset last may have its data again: that it was is what was lost.
TEST_F(UnreadSectors, zone_whose_reset_was_lost_keeps_what_can_be_read_of_it) {
    lose_power();
    store_le(live(1), bits(ZoneState::empty, 0));
    lose_slot(newest());
    repair(Permission::force);
    replace_sectors();
    expect_all_there();
}

/// The slot that is left was written before the finish, or the live table does not have it yet.
TEST_F(UnreadSectors, zone_that_was_finished_stays_full) {
    for (const bool is_in_live_table : {true, false}) {
        lose_power();
        const std::uint32_t newer = newest();
        if (is_in_live_table) {
            zoned::CommitPage older = page(1 - newer);
            older.words.at(2) = bits(ZoneState::implicit_open, 4096);
            put_page(1 - newer, older);
            lose_slot(newer);
        } else {
            store_le(live(2), bits(ZoneState::implicit_open, 4096));
            lose_slot(1 - newer);
        }
        repair(Permission::force);
        replace_sectors();
        expect_all_there();
    }
}

TEST_F(UnreadSectors, slot_after_a_power_loss_with_a_bad_live_word_makes_the_zone_full) {
    lose_power();
    store_le(live(6), ~std::uint64_t{0});
    lose_slot(newest());
    repair(Permission::force);
    replace_sectors();
    EXPECT_EQ(listed(check()), "");
    expect_data();
    expect_full(6);
    EXPECT_EQ(zone_at(5 * kSmallZone).state, ZoneState::empty);
}

TEST_F(UnreadSectors, slot_beside_one_that_a_power_loss_tore_is_a_page_lost) {
    lose_power();
    smash(slot(newest()));
    lose_slot(1 - (zoned::decode_commit_page(slot(0), superblock().uuid, 0, kZones) ? 1U : 0U));
    expect_written_anew("page-lost of commit page 0 (force)", Permission::force);
    expect_all_there();
}

TEST_F(UnreadSectors, both_slots_are_written_anew_from_the_live_table) {
    close();
    lose_slot(0);
    lose_slot(1);
    EXPECT_EQ(check().findings.at(0).text,
              std::string("no slot is readable (slot 0: ") + kSaid + ") (slot 1: " + kSaid +
                  "): the states of zones 0 to 7 are in the live table");
    expect_written_anew("page-lost of commit page 0", Permission::repair);
    expect_all_there();
}

TEST_F(UnreadSectors, slot_of_a_new_image_that_was_never_written_is_written) {
    disk_.reset();
    const std::unique_ptr<BlockNode> node = make_memory_node(memory_.bytes());
    ASSERT_TRUE(reactor_.run_to_end(zoned::format_image(*node, image_)).has_value());
    lose_slot(1);
    expect_written_anew("slot-unreadable of commit page 0, slot 1", Permission::repair);
    ASSERT_EQ(open(), "");
    EXPECT_EQ(zone_at(kSmallZone).state, ZoneState::empty);
}

TEST_F(UnreadSectors, live_table_is_written_anew_from_the_commit_pages_where_they_count) {
    for (const bool is_clean : {true, false}) {
        if (is_clean) {
            close();
        } else {
            lose_power();
        }
        lose_live_table();
        EXPECT_NE(open(true), "");
        expect_written_anew("live-table-unreadable of live table, zones 0 to 7",
                            Permission::repair);
        expect_all_there();
    }
}

TEST_F(UnreadSectors, live_table_of_a_new_image_is_blank_again) {
    disk_.reset();
    const std::unique_ptr<BlockNode> node = make_memory_node(memory_.bytes());
    ASSERT_TRUE(reactor_.run_to_end(zoned::format_image(*node, image_)).has_value());
    lose_live_table();
    expect_written_anew("live-table-unreadable of live table, zones 0 to 7", Permission::repair);
    EXPECT_TRUE(zoned::is_blank(memory_.bytes().subspan(layout_.live_table_offset, kPageSize)));
    ASSERT_EQ(open(), "");
    EXPECT_EQ(zone_at(kSmallZone).state, ZoneState::empty);
}

/// Zone 3 was committed as written full, which it still is; of the others more may have been
/// written.
TEST_F(UnreadSectors, live_table_that_counts_needs_force) {
    kill_daemon();
    lose_live_table();
    expect_written_anew("live-table-unreadable of live table, zones 0 to 7 (force)",
                        Permission::force);
    expect_data();
    for (std::uint32_t zone = 1; zone < kZones; ++zone) expect_full(zone);
}

TEST_F(UnreadSectors, live_table_that_counts_with_zones_that_can_only_be_full_is_written_anew) {
    for (std::uint32_t zone = 1; zone < kZones; ++zone) act(Op::zone_reset, zone);
    for (std::uint32_t zone = 1; zone < kZones; ++zone) write(zone * kSmallZone, kSmallZone, 0x33);
    ASSERT_EQ(now(flush_request()), std::nullopt);
    kill_daemon();
    lose_live_table();
    expect_written_anew("live-table-unreadable of live table, zones 0 to 7", Permission::repair);
    ASSERT_EQ(open(), "");
    EXPECT_EQ(byte_at(7 * kSmallZone), 0x33);
    expect_full(7);
}

TEST_F(UnreadSectors, live_table_and_slot_of_a_clean_image_need_force) {
    close();
    const std::uint32_t newer = newest();
    lose_slot(newer);
    lose_live_table();
    expect_written_anew("slot-unreadable of commit page 0, slot " + std::to_string(newer) +
                            " (force), live-table-unreadable of live table, zones 0 to 7 (force)",
                        Permission::force);
    expect_data();
    expect_full(6);
}

TEST_F(UnreadSectors, repair_cut_off_at_any_write_can_be_done_again) {
    lose_power();
    lose_copy(0);
    lose_slot(newest());
    lose_live_table();
    // The sectors are garbage that a checksum tells, but for the live table.
    std::ranges::fill(memory_.bytes().subspan(layout_.live_table_offset, kPageSize),
                      std::byte{0xff});
    const std::vector<std::byte> damaged = saved();
    const std::string faults = faults_;
    bool is_cut = true;
    int cut_at = 0;
    for (; is_cut && cut_at < 32; ++cut_at) {
        restore(damaged);
        faults_ = faults;
        const CheckResult found = check();
        CutNode node(storage(), cut_at);
        is_cut = !reactor_.run_to_end(repair_image(node, found, Permission::force)).has_value();
        repair(Permission::force);
        replace_sectors();
        EXPECT_EQ(listed(check(), false), "") << "cut at " << cut_at;
        expect_data();
        disk_.reset();
    }
    EXPECT_EQ(cut_at, 5);  // a superblock, the live table and two slots; and one that was not cut
}

/// 2000 zones: commit pages of 504 words, blocks of the live table of 512. Block 1 is of pages 1
/// and 2, which have conventional zones only, block 2 of pages 2 and 3.
class UnreadSectorsOfMany : public UnreadSectors {
  protected:
    static constexpr std::uint32_t kMany = 2000;
    static constexpr const char* kBothBlocks =
        "live-table-unreadable of live table, zones 512 to 1007, "
        "live-table-unreadable of live table, zones 1008 to 1023, "
        "live-table-unreadable of live table, zones 1024 to 1511, "
        "live-table-unreadable of live table, zones 1512 to 1535";

    void SetUp() override {
        make(kMany * kSmallZone, "zone.size=64K,zone.conventional_zones=1512");
        write(1520 * kSmallZone, 8192, 0x15);
        write(1900 * kSmallZone, 4096, 0x19);
        ASSERT_EQ(now(flush_request()), std::nullopt);
    }
    void lose_live_block(std::uint32_t block) {
        lose_sectors({layout_.live_table_offset + block * kPageSize, kPageSize});
    }
    void expect_many() {
        ASSERT_EQ(open(), "");
        EXPECT_EQ(byte_at(1520 * kSmallZone + 8191), 0x15);
        EXPECT_EQ(byte_at(1900 * kSmallZone + 4095), 0x19);
        EXPECT_EQ(zone_at(1536 * kSmallZone).state, ZoneState::empty);
        EXPECT_EQ(zone_at(1900 * kSmallZone).write_pointer, 1900 * kSmallZone + 4096);
    }
};

TEST_F(UnreadSectorsOfMany, blocks_of_the_live_table_are_found_and_written_page_by_page) {
    close();
    lose_live_block(1);
    lose_live_block(2);
    expect_written_anew(kBothBlocks, Permission::repair);
    expect_many();
    EXPECT_EQ(zone_at(1520 * kSmallZone).write_pointer, 1520 * kSmallZone + 8192);
}

/// A block without zones that could be anything but what they are.
TEST_F(UnreadSectorsOfMany, block_of_conventional_zones_is_written_anew_while_in_use) {
    kill_daemon();
    lose_live_block(1);
    expect_written_anew(
        "live-table-unreadable of live table, zones 512 to 1007, "
        "live-table-unreadable of live table, zones 1008 to 1023",
        Permission::repair);
    expect_many();
}

/// ... but by the next block it hangs together with page 3, whose zones would become full.
TEST_F(UnreadSectorsOfMany, pages_with_a_lost_block_in_common_are_mended_together) {
    kill_daemon();
    lose_live_block(1);
    lose_live_block(2);
    expect_written_anew(
        "live-table-unreadable of live table, zones 512 to 1007 (force), "
        "live-table-unreadable of live table, zones 1008 to 1023 (force), "
        "live-table-unreadable of live table, zones 1024 to 1511 (force), "
        "live-table-unreadable of live table, zones 1512 to 1535 (force)",
        Permission::force);
    expect_many();
    expect_full(1512);
    expect_full(1535);
}

TEST_F(UnreadSectorsOfMany, repair_cut_off_between_two_pages_of_a_block_can_be_done_again) {
    kill_daemon();
    lose_live_block(1);
    lose_live_block(2);
    const std::vector<std::byte> damaged = saved();
    bool is_cut = true;
    int cut_at = 0;
    for (; is_cut && cut_at < 32; ++cut_at) {
        restore(damaged);
        lose_live_block(1);
        lose_live_block(2);
        const CheckResult found = check();
        CutNode node(storage(), cut_at);
        is_cut = !reactor_.run_to_end(repair_image(node, found, Permission::force)).has_value();
        replace_sectors();  // what was not written anew is garbage
        repair(Permission::force);
        EXPECT_EQ(listed(check()), "") << "cut at " << cut_at;
        expect_many();
        expect_full(1535);
        disk_.reset();
    }
    EXPECT_EQ(cut_at, 10);  // three pages: live words and two slots; and one that was not cut
}

TEST_F(UnreadSectorsOfMany, one_slot_is_the_only_one_lost) {
    close();
    lose_sectors({layout_.slot_offset(3, 0), kPageSize});
    expect_written_anew("slot-unreadable of commit page 3, slot 0", Permission::repair);
    expect_many();
}

// --- Limits -------------------------------------------------------------------------------------

TEST_F(ImageCheck, more_open_zones_than_the_limit_are_closed_implicitly_open_ones_first) {
    fill("zone.size=64K,zone.conventional_zones=1,zone.max_open_zones=1");
    close();
    for (const std::uint32_t zone : {1U, 4U}) {
        const std::uint64_t end = zone == 1 ? 8192 : 12288;
        const ZoneState state = zone == 1 ? ZoneState::explicit_open : ZoneState::implicit_open;
        put_word(zone, bits(state, end));
        store_le(live(zone), bits(state, end));
    }
    EXPECT_EQ(open(), "'memory of 1.5 MiB' is damaged: 2 zones are open, the limit is 1");
    expect_mended("over-open-limit of zones", Permission::repair);
    expect_data();
    EXPECT_EQ(zone_at(kSmallZone).state, ZoneState::explicit_open);
    EXPECT_EQ(zone_at(4 * kSmallZone).state, ZoneState::closed);
}

TEST_F(ImageCheck, more_open_zones_than_the_limit_in_the_live_table_are_closed_there) {
    fill("zone.size=64K,zone.conventional_zones=1,zone.max_open_zones=1");
    kill_daemon();
    store_le(live(1), bits(ZoneState::explicit_open, 8192));
    store_le(live(4), bits(ZoneState::explicit_open, 12288));
    expect_mended("over-open-limit of zones", Permission::repair);
    expect_data();
}

/// Where the live table is written page by page, a daemon's death can leave that.
TEST_F(ImageCheck, more_implicitly_open_zones_than_the_limit_in_the_live_table_are_a_note) {
    fill("zone.size=64K,zone.conventional_zones=1,zone.max_open_zones=1");
    kill_daemon();
    store_le(live(1), bits(ZoneState::implicit_open, 8192));
    EXPECT_EQ(listed(check()), "over-open-limit of zones");
    EXPECT_FALSE(check().is_damaged);
    expect_data();
    EXPECT_EQ(zone_at(kSmallZone).state, ZoneState::closed);
    EXPECT_EQ(zone_at(4 * kSmallZone).state, ZoneState::implicit_open);
}

TEST_F(ImageCheck, more_active_zones_than_the_limit_are_a_note_and_open) {
    fill("zone.size=64K,zone.conventional_zones=1,zone.max_active_zones=2");
    close();
    put_word(6, bits(ZoneState::closed, 4096));
    store_le(live(6), bits(ZoneState::closed, 4096));
    EXPECT_EQ(listed(check()), "over-active-limit of zones");
    EXPECT_FALSE(check().is_damaged);
    expect_data();
    EXPECT_EQ(zone_at(6 * kSmallZone).state, ZoneState::closed);
    close();
    expect_data();
}

// --- Cut off, and at random ---------------------------------------------------------------------

/// The word of zone 1 comes from the slot that is written first: it must be elsewhere by then.
TEST_F(ImageCheck, repair_cut_off_at_any_write_can_be_done_again) {
    lose_power();
    smash(copy(0));
    store_le(live(1), std::uint64_t{0});
    put_word(1, std::uint64_t{9} << 56 | 8192);
    const std::vector<std::byte> damaged = saved();
    bool is_cut = true;
    int cut_at = 0;
    for (; is_cut && cut_at < 32; ++cut_at) {
        restore(damaged);
        const CheckResult found = check();
        CutNode node(make_memory_node(memory_.bytes()), cut_at);
        is_cut = !reactor_.run_to_end(repair_image(node, found, Permission::repair)).has_value();
        EXPECT_EQ(listed(repair(Permission::repair), false), "") << "cut at " << cut_at;
        expect_all_there();
        disk_.reset();
    }
    EXPECT_EQ(cut_at, 5);  // a superblock, a live word and two slots; and one that was not cut
}

/// Whatever an image went through without damage, a check finds none.
class RandomLife : public ImageCheck {
  protected:
    std::uint64_t below(std::uint64_t bound) { return random_() % bound; }

    void act_at_random() {
        const std::uint64_t zone = 1 + below(kZones - 1);
        const std::uint64_t at = zone * kSmallZone;
        switch (below(8)) {
            case 0: return static_cast<void>(now(flush_request()));
            case 1: return static_cast<void>(now(zone_request(Op::zone_open, at)));
            case 2: return static_cast<void>(now(zone_request(Op::zone_close, at)));
            case 3: return static_cast<void>(now(zone_request(Op::zone_finish, at)));
            case 4: return static_cast<void>(now(zone_request(Op::zone_reset, at)));
            case 5: return static_cast<void>(now(zone_request(Op::zone_reset_all, 0)));
            default: start(Op::append, at, 4096 * (1 + below(4)), 1); settle();
        }
    }
    /// @return whether it is clean
    bool end() {
        switch (below(3)) {
            case 0: kill_daemon(); return false;
            case 1: close(); return true;
            default: break;
        }
        lose_power();
        // The write that was under way is torn.
        const bool has_two = !zoned::is_blank(slot(1));
        if (has_two && below(2) == 0) smash(slot(1 - newest()));
        return false;
    }

    std::mt19937_64 random_{test::seed()};
};

TEST_F(RandomLife, image_that_was_killed_and_lost_power_at_random_is_sound) {
    SCOPED_TRACE(test::seed_trace());
    int clean_ends = 0;
    for (int life = 0; life < 100 && !HasFailure(); ++life) {
        for (std::uint64_t left = below(12); left > 0; --left) act_at_random();
        const bool is_clean = end();
        if (is_clean) ++clean_ends;
        EXPECT_EQ(listed(check(), is_clean), "") << "life " << life;
        pendings_.clear();
        ASSERT_EQ(open(), "") << "life " << life;
    }
    EXPECT_GT(clean_ends, 0);
}

class RandomDamage : public ImageCheck {
  protected:
    std::uint64_t below(std::uint64_t bound) { return random_() % bound; }

    void leave() {
        switch (below(3)) {
            case 0: return close();
            case 1: return kill_daemon();
            default: return lose_power();
        }
    }
    /// Where the metadata of these small images is.
    MutableBytes somewhere() {
        switch (below(5)) {
            case 0: return copy(0);
            case 1: return copy(1);
            case 2: return slot(0);
            case 3: return slot(1);
            default: return memory_.bytes().subspan(layout_.live_table_offset, 8 * kZones);
        }
    }
    void damage() {
        const MutableBytes place = somewhere();
        const std::uint64_t begin = below(place.size());
        const std::uint64_t most = std::min<std::uint64_t>(place.size() - begin, 512);
        const std::uint64_t kind = below(4);
        const std::uint64_t length = kind == 0 ? 1 : 1 + below(most);
        for (std::byte& byte : place.subspan(begin, length)) {
            switch (kind) {
                case 0: byte ^= std::byte{static_cast<std::uint8_t>(1U << below(8))}; break;
                case 1: byte = std::byte{0}; break;
                case 2: byte = std::byte{0xff}; break;
                default: byte = std::byte{static_cast<std::uint8_t>(random_())}; break;
            }
        }
    }
    /// All that can be read, zone by zone; nothing if it does not open. The image stays as it is.
    std::optional<std::vector<std::byte>> readable() {
        const std::vector<std::byte> before = saved();
        std::optional<std::vector<std::byte>> data;
        if (open().empty()) {
            data.emplace();
            for (std::uint32_t zone = 0; zone < kZones; ++zone) {
                AlignedBuffer buffer(kSmallZone);
                const iovec segment = segment_of(buffer.bytes());
                const auto error =
                    now(read_request({zone * kSmallZone, kSmallZone}, IoSegments(&segment, 1)));
                if (error) std::ranges::fill(buffer.bytes(), std::byte{0});
                data->insert(data->end(), buffer.bytes().begin(), buffer.bytes().end());
            }
            disk_.reset();
        }
        pendings_.clear();
        restore(before);
        return data;
    }
    /// Whether all that is not zero in one is the same in the other.
    static bool is_kept(const std::vector<std::byte>& before, const std::vector<std::byte>& after) {
        for (std::size_t i = 0; i < before.size(); ++i) {
            if (before[i] != std::byte{0} && before[i] != after[i]) return false;
        }
        return true;
    }

    std::mt19937_64 random_{test::seed()};
};

TEST_F(RandomDamage, repair_never_loses_what_can_be_read_and_leaves_a_sound_image) {
    SCOPED_TRACE(test::seed_trace());
    for (int round = 0; round < 50 && !HasFailure(); ++round) {
        SCOPED_TRACE(round);
        fill("zone.size=64K,zone.conventional_zones=1");
        if (below(2) == 0) act(Op::zone_reset, 3);
        if (below(2) == 0) write(6 * kSmallZone, 4096, 0x66);
        leave();
        for (std::uint64_t left = 1 + below(3); left > 0; --left) damage();
        const std::unique_ptr<BlockNode> node = make_memory_node(memory_.bytes());
        const Outcome<CheckResult> found = reactor_.run_to_end(check_image(*node));
        if (!found) continue;  // no image any more
        const auto before = readable();
        EXPECT_TRUE(before || found->is_damaged) << "it does not open, and nothing is found";
        for (const Permission permission : {Permission::repair, Permission::force}) {
            const CheckResult left = repair(permission);
            const auto after = readable();
            const bool may_stay = permission == Permission::repair
                                      ? found->forceable + found->incurable > 0
                                      : found->incurable > 0;
            EXPECT_TRUE(!left.is_damaged || may_stay) << listed(*found) << " / " << listed(left);
            EXPECT_TRUE(left.is_damaged || after) << listed(*found);
            if (before) {
                EXPECT_TRUE(after && is_kept(*before, *after)) << listed(*found);
            }
        }
    }
}

}  // namespace
}  // namespace zbdkit::app
