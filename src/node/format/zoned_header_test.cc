// SPDX-License-Identifier: Apache-2.0
#include "node/format/zoned_header.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "base/crc32c.h"

namespace zbdkit::zoned {
namespace {

ZoneGeometry example_geometry() {
    return {.model = ZoneModel::host_managed,
            .device_size = 8 * kGiB,
            .zone_size = 256 * kMiB,
            .zone_capacity = 200 * kMiB,
            .conventional_zones = 2,
            .max_open_zones = 4,
            .max_active_zones = 6,
            .max_append_bytes = 512 * kKiB,
            .write_granularity = 4096};
}

Superblock example_superblock() {
    Superblock superblock{.geometry = example_geometry(), .sequence = 7};
    superblock.uuid.fill(std::byte{0xab});
    superblock.boot_id.fill(std::byte{0xcd});
    superblock.condition = Condition::in_use;
    return superblock;
}

void fix_crc(Page& page) { store_le(page.data() + 4092, crc32c(ConstBytes(page).first(4092))); }

std::string fault_of(const Page& page) {
    const auto decoded = decode_superblock(page);
    return decoded ? "none" : superblock_fault_text(decoded.error());
}

TEST(ZonedHeader, superblock_encoded_is_decoded_the_same) {
    const Superblock superblock = example_superblock();
    const auto decoded = decode_superblock(encode_superblock(superblock));
    ASSERT_TRUE(decoded.has_value());
    EXPECT_EQ(*decoded, superblock);
}

TEST(ZonedHeader, superblock_fields_are_where_the_format_says) {
    const Page page = encode_superblock(example_superblock());
    EXPECT_EQ(std::memcmp(page.data(), "ZBDKIT\r\n", 8), 0);
    EXPECT_EQ(load_le<std::uint32_t>(page.data() + 8), 1U);
    EXPECT_EQ(load_le<std::uint64_t>(page.data() + 56), 8589934592U);
    EXPECT_EQ(load_le<std::uint64_t>(page.data() + 64), 268435456U);
    EXPECT_EQ(load_le<std::uint32_t>(page.data() + 88), 32U);
    EXPECT_EQ(page[112], std::byte{1});
    EXPECT_EQ(load_le<std::uint64_t>(page.data() + 120), 131072U);
    EXPECT_EQ(load_le<std::uint64_t>(page.data() + 128), 135168U);
    EXPECT_EQ(load_le<std::uint64_t>(page.data() + 136), 1048576U);
    EXPECT_EQ(load_le<std::uint64_t>(page.data() + 152), 7U);
}

TEST(ZonedHeader, superblock_of_zeroes_is_not_an_image) {
    EXPECT_EQ(fault_of(Page{}), "it is no zbdkit image");
}

TEST(ZonedHeader, superblock_with_each_byte_flipped_is_refused) {
    const Page good = encode_superblock(example_superblock());
    for (std::size_t i = 0; i < good.size(); ++i) {
        Page bad = good;
        bad.at(i) ^= std::byte{1};
        EXPECT_NE(fault_of(bad), "none") << "byte " << i;
    }
}

TEST(ZonedHeader, superblock_of_a_later_version_says_so) {
    Page page = encode_superblock(example_superblock());
    store_le(page.data() + 8, std::uint32_t{2});
    fix_crc(page);
    EXPECT_EQ(fault_of(page), "it is of a later version of the format than this zbdkit knows");
}

TEST(ZonedHeader, superblock_with_unknown_incompatible_feature_is_refused) {
    Page page = encode_superblock(example_superblock());
    store_le(page.data() + 16, std::uint64_t{1} << 5);
    fix_crc(page);
    EXPECT_EQ(fault_of(page), "it uses a feature that this zbdkit does not know");
}

TEST(ZonedHeader, superblock_with_unknown_compatible_feature_keeps_it) {
    Page page = encode_superblock(example_superblock());
    store_le(page.data() + 32, std::uint64_t{1} << 9);
    fix_crc(page);
    const auto decoded = decode_superblock(page);
    ASSERT_TRUE(decoded.has_value());
    EXPECT_EQ(encode_superblock(*decoded), page);
}

TEST(ZonedHeader, superblock_whose_zone_count_contradicts_its_size_is_refused) {
    Page page = encode_superblock(example_superblock());
    store_le(page.data() + 88, std::uint32_t{33});
    fix_crc(page);
    EXPECT_EQ(fault_of(page), "its numbers contradict each other");
}

TEST(ZonedHeader, superblock_with_zone_size_zero_is_refused) {
    Page page = encode_superblock(example_superblock());
    store_le(page.data() + 64, std::uint64_t{0});
    fix_crc(page);
    EXPECT_EQ(fault_of(page), "its numbers contradict each other");
}

TEST(ZonedHeader, layout_of_a_million_zones_has_every_part_in_order) {
    ZoneGeometry geometry = example_geometry();
    geometry.zone_size = kMiB;
    geometry.zone_capacity = kMiB;
    geometry.device_size = 1'000'000 * kMiB;
    const Layout layout = layout_of(geometry);
    EXPECT_EQ(layout.live_table_length, 8003584U);
    EXPECT_EQ(layout.commit_offset, 8134656U);
    EXPECT_EQ(layout.page_count, 1985U);
    EXPECT_EQ(layout.data_offset, 25165824U);
    EXPECT_EQ(entries_of_page(geometry, 1984), 64U);
}

TEST(ZonedHeader, word_encoded_is_decoded_the_same) {
    const Word word{.record = {.state = ZoneState::full, .data_end = (std::uint64_t{1} << 55)}};
    const Result<Word> decoded = decode_word(encode_word(word));
    ASSERT_TRUE(decoded.has_value());
    EXPECT_EQ(*decoded, word);
}

TEST(ZonedHeader, word_of_a_zone_that_was_reset_keeps_its_mark) {
    const Word word{.record = {.state = ZoneState::empty}, .reclaim_pending = true};
    const Result<Word> decoded = decode_word(encode_word(word));
    ASSERT_TRUE(decoded.has_value());
    EXPECT_EQ(*decoded, word);
}

/// An open would punch its space out, and its data with it.
TEST(ZonedHeader, word_with_data_and_the_mark_of_a_reset_is_corrupt) {
    const Word word{.record = {.state = ZoneState::full, .data_end = 4096},
                    .reclaim_pending = true};
    EXPECT_FALSE(decode_word(encode_word(word)).has_value());
}

TEST(ZonedHeader, word_with_unknown_state_is_corrupt) {
    const Result<Word> decoded = decode_word(std::uint64_t{7} << 56);
    ASSERT_FALSE(decoded.has_value());
    EXPECT_EQ(decoded.error().code, Errc::corrupt);
}

TEST(ZonedHeader, word_with_reserved_bit_is_corrupt) {
    EXPECT_FALSE(decode_word(std::uint64_t{1} << 61 | std::uint64_t{1} << 56).has_value());
}

CommitPage example_page() {
    CommitPage page{.index = 3, .sequence = 9, .entry_count = 504};
    page.uuid.fill(std::byte{0xab});
    for (std::uint32_t i = 0; i < 504; ++i) page.words.at(i) = i;
    return page;
}

TEST(ZonedHeader, commit_page_encoded_is_decoded_the_same) {
    const CommitPage page = example_page();
    const auto decoded = decode_commit_page(encode_commit_page(page), page.uuid, 3, 504);
    ASSERT_TRUE(decoded.has_value());
    EXPECT_EQ(decoded->sequence, 9U);
    EXPECT_EQ(decoded->words, page.words);
}

TEST(ZonedHeader, commit_page_with_each_byte_flipped_is_refused) {
    const CommitPage page = example_page();
    const Page good = encode_commit_page(page);
    for (std::size_t i = 0; i < good.size(); ++i) {
        Page bad = good;
        bad.at(i) ^= std::byte{0x10};
        EXPECT_FALSE(decode_commit_page(bad, page.uuid, 3, 504).has_value()) << "byte " << i;
    }
}

TEST(ZonedHeader, commit_page_of_another_image_or_place_is_refused) {
    const CommitPage page = example_page();
    const Page bytes = encode_commit_page(page);
    Uuid other = page.uuid;
    other[0] = std::byte{0};
    EXPECT_FALSE(decode_commit_page(bytes, other, 3, 504).has_value());
    EXPECT_FALSE(decode_commit_page(bytes, page.uuid, 4, 504).has_value());
    EXPECT_FALSE(decode_commit_page(bytes, page.uuid, 3, 503).has_value());
}

// An open takes 0 for "no page found yet"; what it refuses the checker must refuse.
TEST(ZonedHeader, commit_page_with_sequence_0_is_refused) {
    CommitPage page = example_page();
    page.sequence = 0;
    EXPECT_FALSE(decode_commit_page(encode_commit_page(page), page.uuid, 3, 504).has_value());
}

TEST(ZonedHeader, geometry_fault_names_each_contradiction) {
    const auto fault = [](auto change) {
        ZoneGeometry geometry = example_geometry();
        change(geometry);
        return std::string(geometry_fault(geometry, 4096));
    };
    EXPECT_EQ(fault([](ZoneGeometry&) {}), "");
    EXPECT_NE(fault([](ZoneGeometry& g) { g.model = ZoneModel::none; }), "");
    EXPECT_NE(fault([](ZoneGeometry& g) { g.zone_size = 0; }), "");
    EXPECT_NE(fault([](ZoneGeometry& g) { g.zone_capacity = g.zone_size + 4096; }), "");
    EXPECT_NE(fault([](ZoneGeometry& g) { g.zone_capacity = 100; }), "");
    EXPECT_NE(fault([](ZoneGeometry& g) { g.device_size += 512; }), "");
    EXPECT_NE(fault([](ZoneGeometry& g) { g.conventional_zones = 33; }), "");
    EXPECT_NE(fault([](ZoneGeometry& g) { g.max_open_zones = 7; }), "");
    EXPECT_NE(fault([](ZoneGeometry& g) { g.max_append_bytes = 300 * kMiB; }), "");
    EXPECT_NE(fault([](ZoneGeometry& g) { g.write_granularity = 3000; }), "");
}

}  // namespace
}  // namespace zbdkit::zoned
