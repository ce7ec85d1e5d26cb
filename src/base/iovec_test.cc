// SPDX-License-Identifier: Apache-2.0
#include "base/iovec.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace zbdkit {
namespace {

ConstBytes bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

/// Segments "ab", "", "cdef", "ghi".
struct Letters {
    std::array<std::string, 4> texts = {"ab", "", "cdef", "ghi"};
    IoVector segments;

    Letters() {
        for (std::string& text : texts) segments.push_back({text.data(), text.size()});
    }
    [[nodiscard]] std::string joined() const { return texts[0] + texts[1] + texts[2] + texts[3]; }
};

std::string text_of(IoSegments segments) {
    std::string text(total_length(segments), '\0');
    EXPECT_EQ(copy_from(segments, 0, std::as_writable_bytes(std::span(text))), text.size());
    return text;
}

TEST(TotalLength, lengths_add_up) {
    const Letters letters;
    EXPECT_EQ(total_length(letters.segments), 9U);
    EXPECT_EQ(total_length({}), 0U);
}

TEST(CopyTo, bytes_go_across_segments) {
    const Letters letters;
    EXPECT_EQ(copy_to(letters.segments, 1, bytes("123456")), 6U);
    EXPECT_EQ(letters.joined(), "a123456hi");
}

TEST(CopyTo, end_of_the_list_cuts_off) {
    const Letters letters;
    EXPECT_EQ(copy_to(letters.segments, 7, bytes("123456")), 2U);
    EXPECT_EQ(letters.joined(), "abcdefg12");
}

TEST(CopyTo, beyond_the_list_copies_nothing) {
    const Letters letters;
    EXPECT_EQ(copy_to(letters.segments, 9, bytes("1")), 0U);
    EXPECT_EQ(letters.joined(), "abcdefghi");
}

TEST(CopyFrom, bytes_come_from_across_segments) {
    const Letters letters;
    std::string text(4, '-');
    EXPECT_EQ(copy_from(letters.segments, 4, std::as_writable_bytes(std::span(text))), 4U);
    EXPECT_EQ(text, "efgh");
}

TEST(CopyFrom, end_of_the_list_cuts_off) {
    const Letters letters;
    std::string text(4, '-');
    EXPECT_EQ(copy_from(letters.segments, 7, std::as_writable_bytes(std::span(text))), 2U);
    EXPECT_EQ(text, "hi--");
}

TEST(Fill, range_gets_the_value) {
    const Letters letters;
    fill(letters.segments, {1, 6}, std::byte{'*'});
    EXPECT_EQ(letters.joined(), "a******hi");
}

TEST(Fill, empty_range_changes_nothing) {
    const Letters letters;
    fill(letters.segments, {3, 0}, std::byte{'*'});
    EXPECT_EQ(letters.joined(), "abcdefghi");
}

TEST(Slice, part_across_segments_has_its_bytes) {
    const Letters letters;
    const IoVector part = slice(letters.segments, {1, 7});
    EXPECT_EQ(text_of(part), "bcdefgh");
    EXPECT_EQ(part.size(), 3U);
}

TEST(Slice, part_within_a_segment_is_one_segment) {
    const Letters letters;
    const IoVector part = slice(letters.segments, {3, 2});
    EXPECT_EQ(text_of(part), "de");
    EXPECT_EQ(part.size(), 1U);
}

TEST(Slice, part_is_a_view_and_no_copy) {
    const Letters letters;
    const IoVector part = slice(letters.segments, {6, 3});
    EXPECT_EQ(part[0].iov_base, letters.texts[3].data());
}

TEST(Slice, empty_part_has_no_segments) {
    const Letters letters;
    EXPECT_TRUE(slice(letters.segments, {4, 0}).empty());
}

TEST(Slice, list_longer_than_the_inline_room_is_complete) {
    std::string text = "0123456789abcdefghij";
    std::vector<iovec> segments;
    for (char& letter : text) segments.push_back({&letter, 1});
    EXPECT_EQ(text_of(slice(segments, {1, 18})), "123456789abcdefghi");
}

TEST(SliceDeathTest, part_beyond_the_list_aborts) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    const Letters letters;
    EXPECT_DEATH((void)slice(letters.segments, {5, 5}), "range.length");
}

}  // namespace
}  // namespace zbdkit
