// SPDX-License-Identifier: Apache-2.0
#include "base/units.h"

#include <gtest/gtest.h>

#include <optional>

namespace zbdkit {
namespace {

TEST(Sectors, count_becomes_bytes) {
    EXPECT_EQ(Sectors(0).to_bytes(), 0U);
    EXPECT_EQ(Sectors(8).to_bytes(), 4096U);
}

TEST(Sectors, largest_count_that_fits_becomes_bytes) {
    EXPECT_EQ(Sectors((std::uint64_t{1} << 54) - 1).to_bytes(), 0x7ffffffffffffe00U);
}

TEST(Sectors, count_beyond_a_file_offset_is_refused) {
    EXPECT_EQ(Sectors(std::uint64_t{1} << 54).to_bytes(), std::nullopt);
    EXPECT_EQ(Sectors(std::uint64_t{1} << 55).to_bytes(), std::nullopt);
    EXPECT_EQ(Sectors(~std::uint64_t{0}).to_bytes(), std::nullopt);
}

TEST(Sectors, floor_cuts_the_remainder_off) {
    EXPECT_EQ(Sectors::floor(511).count(), 0U);
    EXPECT_EQ(Sectors::floor(512).count(), 1U);
    EXPECT_EQ(Sectors::floor(1535).count(), 2U);
}

TEST(ByteRange, end_within_a_file_offset_is_sane) {
    EXPECT_TRUE((ByteRange{0, 0}).is_sane());
    EXPECT_TRUE((ByteRange{kMaxOffset, 0}).is_sane());
    EXPECT_TRUE((ByteRange{1, kMaxOffset - 1}).is_sane());
}

TEST(ByteRange, end_that_passes_or_wraps_is_not_sane) {
    EXPECT_FALSE((ByteRange{kMaxOffset, 1}).is_sane());
    EXPECT_FALSE((ByteRange{kMaxOffset + 1, 0}).is_sane());
    EXPECT_FALSE((ByteRange{4096, ~std::uint64_t{0}}).is_sane());
}

TEST(ByteRange, contains_what_lies_within) {
    constexpr ByteRange kRange{100, 50};
    EXPECT_TRUE(kRange.contains({100, 50}));
    EXPECT_TRUE(kRange.contains({120, 0}));
    EXPECT_TRUE(kRange.contains({149, 1}));
    EXPECT_FALSE(kRange.contains({99, 2}));
    EXPECT_FALSE(kRange.contains({149, 2}));
}

TEST(Units, alignment_divides_the_value) {
    EXPECT_TRUE(is_aligned(0, 512));
    EXPECT_TRUE(is_aligned(1536, 512));
    EXPECT_FALSE(is_aligned(1535, 512));
    EXPECT_TRUE(is_aligned(300, 100));
}

TEST(Units, power_of_two_has_one_bit) {
    EXPECT_FALSE(is_power_of_two(0));
    EXPECT_TRUE(is_power_of_two(1));
    EXPECT_TRUE(is_power_of_two(std::uint64_t{1} << 63));
    EXPECT_FALSE(is_power_of_two(96));
}

TEST(Units, rounding_goes_to_the_next_multiple) {
    EXPECT_EQ(round_up(0, 4096), 0U);
    EXPECT_EQ(round_up(1, 4096), 4096U);
    EXPECT_EQ(round_up(4096, 4096), 4096U);
    EXPECT_EQ(round_down(4095, 4096), 0U);
    EXPECT_EQ(round_down(8191, 4096), 4096U);
}

TEST(ZoneIndex, number_is_kept) { EXPECT_EQ(to_number(ZoneIndex{7}), 7U); }

}  // namespace
}  // namespace zbdkit
