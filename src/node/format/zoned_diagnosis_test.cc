// SPDX-License-Identifier: Apache-2.0
// What the diagnosis decides, on bytes alone. How it is read and written, and what an open makes of
// it, stands in src/app/image_check_test.cc, with each kind of damage.
#include "node/format/zoned_diagnosis.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "base/crc32c.h"

namespace zbdkit::zoned {
namespace {

constexpr std::uint64_t kCapacity = 48 * kKiB;

ImageFacts example_image(Recovery recovery) {
    ImageFacts image;
    image.superblock.geometry = {.model = ZoneModel::host_managed,
                                 .device_size = 4 * 64 * kKiB,
                                 .zone_size = 64 * kKiB,
                                 .zone_capacity = kCapacity,
                                 .conventional_zones = 1,
                                 .write_granularity = 4096};
    image.superblock.sequence = 5;
    image.recovery = recovery;
    image.storage_size = layout_of(image.superblock.geometry).image_size;
    return image;
}

std::uint64_t bits(ZoneState state, std::uint64_t data_end) {
    return encode_word({.record = {.state = state, .data_end = data_end}});
}

/// One page with its live words; as a clean image has them, with 4 KiB in zone 1.
struct Bytes {
    std::array<std::byte, kSlots * kPageSize> slots{};
    std::array<std::byte, 32> live{};

    Bytes() {
        set_live(0, bits(ZoneState::not_write_pointer, 0));
        set_live(1, bits(ZoneState::closed, 4096));
        set_live(2, bits(ZoneState::empty, 0));
        set_live(3, bits(ZoneState::empty, 0));
        put(0, 7);
        put(1, 8);
    }
    void set_live(std::uint32_t zone, std::uint64_t word) {
        store_le(live.data() + zone * std::size_t{8}, word);
    }
    /// Writes the live words to a slot.
    void put(std::uint32_t slot, std::uint64_t sequence) {
        CommitPage page{.index = 0, .sequence = sequence, .entry_count = 4};
        for (std::uint32_t zone = 0; zone < 4; ++zone) {
            page.words.at(zone) = load_le<std::uint64_t>(live.data() + zone * std::size_t{8});
        }
        const Page encoded = encode_commit_page(page);
        std::ranges::copy(encoded, MutableBytes(slots).subspan(slot * kPageSize).begin());
    }
    void smash(std::uint32_t slot) { slots.at(slot * kPageSize + 100) ^= std::byte{1}; }
    [[nodiscard]] PageDiagnosis diagnose(Recovery recovery) const {
        return diagnose_page(example_image(recovery), {.index = 0, .slots = slots, .live = live});
    }
};

TEST(ZonedDiagnosis, sound_page_has_nothing_to_say_or_write) {
    const Bytes bytes;
    for (const Recovery recovery :
         {Recovery::clean, Recovery::daemon_death, Recovery::power_loss}) {
        const PageDiagnosis found = bytes.diagnose(recovery);
        EXPECT_TRUE(found.findings.empty());
        EXPECT_TRUE(found.repair.is_empty());
        EXPECT_EQ(found.closed, 1U);
    }
}

TEST(ZonedDiagnosis, bad_slot_is_written_with_the_next_sequence_and_the_other_left_alone) {
    Bytes bytes;
    bytes.smash(0);
    const PageDiagnosis found = bytes.diagnose(Recovery::clean);
    EXPECT_EQ(found.cure, Cure::repair);
    ASSERT_EQ(found.repair.slots.size(), 1U);
    EXPECT_EQ(found.repair.slots[0].slot, 0U);
    EXPECT_EQ(found.repair.slots[0].sequence, 9U);
    EXPECT_TRUE(found.repair.live.empty());
}

TEST(ZonedDiagnosis, words_that_change_are_written_to_the_live_table_and_then_to_both_slots) {
    Bytes bytes;
    bytes.set_live(1, bits(ZoneState::closed, kCapacity));
    bytes.put(1, 8);
    const PageDiagnosis found = bytes.diagnose(Recovery::clean);
    EXPECT_EQ(found.cure, Cure::repair);
    ASSERT_EQ(found.repair.live.size(), 1U);
    EXPECT_EQ(found.repair.live[0].bits, bits(ZoneState::full, kCapacity));
    ASSERT_EQ(found.repair.slots.size(), 2U);
    EXPECT_EQ(found.repair.slots[0].slot, 0U);
    EXPECT_EQ(found.repair.slots[1].sequence, 10U);
}

TEST(ZonedDiagnosis, slot_never_written_is_no_damage_only_beside_the_first_sequence) {
    Bytes bytes;
    std::ranges::fill(MutableBytes(bytes.slots).subspan(kPageSize), std::byte{0});
    EXPECT_EQ(bytes.diagnose(Recovery::clean).cure, Cure::repair);
    bytes.put(0, 1);
    EXPECT_EQ(bytes.diagnose(Recovery::clean).cure, Cure::not_needed);
}

TEST(ZonedDiagnosis, page_of_sequence_0_is_no_page) {
    Bytes bytes;
    bytes.put(0, 0);
    const PageDiagnosis found = bytes.diagnose(Recovery::clean);
    ASSERT_EQ(found.findings.size(), 1U);
    EXPECT_EQ(found.findings[0].place, "commit page 0, slot 0");
}

TEST(ZonedDiagnosis, forced_zone_is_full_to_its_capacity_not_to_its_length) {
    Bytes bytes;
    bytes.set_live(1, std::uint64_t{9} << 56);
    const PageDiagnosis found = bytes.diagnose(Recovery::daemon_death);
    EXPECT_EQ(found.cure, Cure::force);
    ASSERT_EQ(found.repair.live.size(), 1U);
    EXPECT_EQ(found.repair.live[0].bits, bits(ZoneState::full, kCapacity));
}

/// A newer slot that was lost, whose states were a reset: the zone keeps what the older slot has,
/// for the live table alone proves nothing.
TEST(ZonedDiagnosis, live_table_with_less_data_than_the_slot_left_needs_force_and_does_not_win) {
    Bytes bytes;
    bytes.smash(1);
    bytes.set_live(1, bits(ZoneState::empty, 0));
    const PageDiagnosis found = bytes.diagnose(Recovery::clean);
    EXPECT_EQ(found.cure, Cure::force);
    EXPECT_EQ(found.repair.words[1], bits(ZoneState::closed, 4096));
}

TEST(ZonedDiagnosis, data_behind_the_end_of_the_storage_is_told_zone_by_zone) {
    const Bytes bytes;
    ImageFacts image = example_image(Recovery::clean);
    const std::uint64_t data_offset = layout_of(image.superblock.geometry).data_offset;
    image.storage_size = data_offset + 64 * kKiB + 512;
    const PageDiagnosis found =
        diagnose_page(image, {.index = 0, .slots = bytes.slots, .live = bytes.live});
    ASSERT_EQ(found.findings.size(), 1U);
    EXPECT_EQ(found.findings[0].kind, FindingKind::data_missing);
    EXPECT_EQ(found.findings[0].place, "zone 1");
    EXPECT_EQ(found.findings[0].cure, Cure::force);
    EXPECT_EQ(found.cure, Cure::not_needed) << "its page is sound";
    EXPECT_EQ(diagnose_length(image).size(), 1U);
}

TEST(ZonedDiagnosis, missing_space_without_data_is_told_of_the_length_only) {
    const Bytes bytes;
    ImageFacts image = example_image(Recovery::clean);
    image.storage_size -= 4096;
    EXPECT_TRUE(diagnose_page(image, {.index = 0, .slots = bytes.slots, .live = bytes.live})
                    .findings.empty());
    EXPECT_EQ(diagnose_length(image).at(0).cure, Cure::repair);
}

TEST(ZonedDiagnosis, zones_to_close_are_implicitly_open_first_and_no_more_than_too_many) {
    ImageFacts image = example_image(Recovery::clean);
    image.superblock.geometry.max_open_zones = 2;
    const ZonesToClose few =
        zones_to_close(image, {.implicitly_open = 3, .explicitly_open = 1, .closed = 9});
    EXPECT_EQ(few.implicitly_open, 2U);
    EXPECT_EQ(few.explicitly_open, 0U);
    const ZonesToClose both =
        zones_to_close(image, {.implicitly_open = 1, .explicitly_open = 4, .closed = 0});
    EXPECT_EQ(both.implicitly_open, 1U);
    EXPECT_EQ(both.explicitly_open, 2U);
    image.recovery = Recovery::power_loss;
    EXPECT_TRUE(zones_to_close(image, {.implicitly_open = 3}).is_empty());
}

TEST(ZonedDiagnosis, features_that_may_be_ignored_are_a_note) {
    SuperblockCopy copy;
    copy.found = example_image(Recovery::clean).superblock;
    copy.found->compatible_features = 4;
    const SuperblockDiagnosis found = diagnose_superblocks({copy, copy}, Uuid{});
    ASSERT_EQ(found.findings.size(), 1U);
    EXPECT_FALSE(found.findings[0].is_damage());
    EXPECT_TRUE(found.rewrite.empty());
}

TEST(ZonedDiagnosis, superblocks_of_different_disks_need_force_if_nothing_tells_which_is_right) {
    SuperblockCopy first;
    first.found = example_image(Recovery::clean).superblock;
    SuperblockCopy second = first;
    second.found->uuid.fill(std::byte{1});
    const SuperblockDiagnosis unknown = diagnose_superblocks({first, second}, Uuid{});
    EXPECT_EQ(unknown.cure, Cure::force);
    second.has_pages = true;
    const SuperblockDiagnosis known = diagnose_superblocks({first, second}, Uuid{});
    EXPECT_EQ(known.cure, Cure::repair);
    EXPECT_EQ(known.superblock->uuid, second.found->uuid);
    ASSERT_EQ(known.rewrite.size(), 2U);
    EXPECT_EQ(known.rewrite[0], 0U) << "the right one is written last";
}

TEST(ZonedDiagnosis, superblock_of_a_later_version_is_not_salvaged_as_one_of_this) {
    Page page = encode_superblock(example_image(Recovery::clean).superblock);
    store_le(page.data() + 8, std::uint32_t{2});
    EXPECT_FALSE(look_at_superblock(page).salvaged.has_value());
    store_le(page.data() + 4092, crc32c(ConstBytes(page).first(4092)));
    EXPECT_FALSE(look_at_superblock(page).salvaged.has_value());
}

TEST(ZonedDiagnosis, every_kind_of_finding_has_a_name_of_its_own) {
    std::set<std::string> names;
    for (int kind = 0; kind <= static_cast<int>(FindingKind::over_active_limit); ++kind) {
        names.insert(finding_kind_name(static_cast<FindingKind>(kind)));
    }
    EXPECT_EQ(names.size(), 27U);
    EXPECT_EQ(names.count("unknown"), 0U);
}

}  // namespace
}  // namespace zbdkit::zoned
