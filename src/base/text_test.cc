// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <string_view>

namespace zbdkit {
namespace {

struct SizeCase {
    std::string_view text;
    std::uint64_t bytes;
};

class ParseSize : public testing::TestWithParam<SizeCase> {};

TEST_P(ParseSize, form_is_read) {
    const Outcome<std::uint64_t> bytes = parse_size(GetParam().text);
    ASSERT_TRUE(bytes.has_value()) << GetParam().text << ": " << bytes.error().message;
    EXPECT_EQ(*bytes, GetParam().bytes) << GetParam().text;
}

INSTANTIATE_TEST_SUITE_P(
    Forms, ParseSize,
    testing::Values(SizeCase{"0", 0}, SizeCase{"4096", 4096}, SizeCase{"512b", 512},
                    SizeCase{"512 bytes", 512}, SizeCase{"1 byte", 1}, SizeCase{"0x1000", 4096},
                    SizeCase{"0XfF", 255}, SizeCase{"64k", 65536}, SizeCase{"64K", 65536},
                    SizeCase{"64KB", 65536}, SizeCase{"64KiB", 65536}, SizeCase{"64ki", 65536},
                    SizeCase{"256 MiB", 268435456}, SizeCase{"8G", 8589934592},
                    SizeCase{"1.5M", 1572864}, SizeCase{"1.5 TiB", 1649267441664},
                    SizeCase{"0.25k", 256}, SizeCase{"2P", 2251799813685248},
                    SizeCase{"7E", 8070450532247928832},
                    SizeCase{"9223372036854775807", 9223372036854775807},
                    SizeCase{"7.5E", 8646911284551352320}));

class RefusedSize : public testing::TestWithParam<std::string_view> {};

TEST_P(RefusedSize, text_is_quoted_and_forms_are_named) {
    const Outcome<std::uint64_t> bytes = parse_size(GetParam());
    ASSERT_FALSE(bytes.has_value()) << GetParam();
    EXPECT_EQ(bytes.error().message,
              "'" + std::string(GetParam()) +
                  "' is not a size: expected a size such as 4096, 0x1000, 64k, 8G or 1.5 TiB");
}

INSTANTIATE_TEST_SUITE_P(Forms, RefusedSize,
                         testing::Values("", " ", "-1", "+1", " 4096", "k", "1.5", "1.", ".5k",
                                         "1.k", "12x", "1kk", "1 k b", "0x", "0xg", "1e3", "1 bits",
                                         "99999999999999999999", "0x11111111111111111"));

class TooLargeSize : public testing::TestWithParam<std::string_view> {};

TEST_P(TooLargeSize, size_beyond_a_file_offset_is_out_of_range) {
    const Outcome<std::uint64_t> bytes = parse_size(GetParam());
    ASSERT_FALSE(bytes.has_value()) << GetParam();
    EXPECT_EQ(bytes.error().code, Errc::out_of_range);
}

INSTANTIATE_TEST_SUITE_P(Forms, TooLargeSize,
                         testing::Values("8E", "9223372036854775808", "0x8000000000000000",
                                         "0xffffffffffffffff", "8192P", "9999999999999999999k",
                                         "7.9999999999999999999999E"));

struct NameCase {
    std::uint64_t bytes;
    std::string_view text;
};

class FormatSize : public testing::TestWithParam<NameCase> {};

TEST_P(FormatSize, size_is_written_for_people) {
    EXPECT_EQ(format_size(GetParam().bytes), GetParam().text);
}

INSTANTIATE_TEST_SUITE_P(Sizes, FormatSize,
                         testing::Values(NameCase{0, "0 bytes"}, NameCase{1, "1 byte"},
                                         NameCase{512, "512 bytes"}, NameCase{1023, "1023 bytes"},
                                         NameCase{1024, "1 KiB"}, NameCase{1536, "1.5 KiB"},
                                         NameCase{268435456, "256 MiB"},
                                         NameCase{1610612736, "1.5 GiB"},
                                         NameCase{1073741825, "1 GiB"},
                                         NameCase{9223372036854775808U, "8 EiB"}));

constexpr std::array<std::string_view, 3> kWords = {"zone.size", "zone.mode", "zone.capacity"};

TEST(Nearest, misspelt_word_finds_its_neighbour) {
    EXPECT_EQ(nearest("zone.sise", kWords), "zone.size");
    EXPECT_EQ(nearest("zonecapacity", kWords), "zone.capacity");
}

TEST(Nearest, exact_word_finds_itself) { EXPECT_EQ(nearest("zone.mode", kWords), "zone.mode"); }

TEST(Nearest, distant_word_finds_nothing) { EXPECT_EQ(nearest("filename", kWords), ""); }

TEST(Nearest, very_long_word_finds_nothing) {
    EXPECT_EQ(nearest(std::string(100'000, 'z'), kWords), "");
}

TEST(Nearest, no_candidates_find_nothing) { EXPECT_EQ(nearest("zone.size", {}), ""); }

TEST(DidYouMean, near_word_is_offered) {
    EXPECT_EQ(did_you_mean("zone.sise", kWords), " (did you mean 'zone.size'?)");
}

TEST(DidYouMean, distant_word_offers_nothing) { EXPECT_EQ(did_you_mean("filename", kWords), ""); }

struct DurationCase {
    std::string_view text;
    std::uint64_t nanoseconds;
};

class ParseDuration : public testing::TestWithParam<DurationCase> {};

TEST_P(ParseDuration, form_is_read) {
    const Outcome<std::uint64_t> duration = parse_duration(GetParam().text);
    ASSERT_TRUE(duration.has_value()) << GetParam().text << ": " << duration.error().message;
    EXPECT_EQ(*duration, GetParam().nanoseconds) << GetParam().text;
}

INSTANTIATE_TEST_SUITE_P(
    Forms, ParseDuration,
    testing::Values(DurationCase{"0", 0}, DurationCase{"1", 1'000'000'000},
                    DurationCase{"1.5", 1'500'000'000}, DurationCase{"10ms", 10'000'000},
                    DurationCase{"250 us", 250'000}, DurationCase{"1.2\u00b5s", 1'200},
                    DurationCase{"1.2\u03bcs", 1'200}, DurationCase{"1000ns", 1'000},
                    DurationCase{"2sec", 2'000'000'000}, DurationCase{"2 min", 120'000'000'000},
                    DurationCase{"0.000000001h", 3'600}, DurationCase{"0.5ns", 0},
                    DurationCase{"9223372036854775807ns", 9223372036854775807}));

class RefusedDuration : public testing::TestWithParam<std::string_view> {};

TEST_P(RefusedDuration, what_was_given_and_expected_is_said) {
    const Outcome<std::uint64_t> duration = parse_duration(GetParam());
    ASSERT_FALSE(duration.has_value()) << GetParam();
    EXPECT_TRUE(duration.error().message.starts_with("'" + std::string(GetParam()) + "' is "))
        << duration.error().message;
}

INSTANTIATE_TEST_SUITE_P(Forms, RefusedDuration,
                         testing::Values("", "ms", "-1", "1.", ".5", "10 m", "1e3", "10ms ", "0x10",
                                         "1.0000000001s", "9223372037s", "99999999999999999999"));

TEST(FormatDuration, unit_fits_the_length) {
    EXPECT_EQ(format_duration(0), "0 ns");
    EXPECT_EQ(format_duration(999), "999 ns");
    EXPECT_EQ(format_duration(250'000), "250 us");
    EXPECT_EQ(format_duration(1'500'000'000), "1.5 s");
    EXPECT_EQ(format_duration(3'600'000'000'000), "1 h");
}

}  // namespace
}  // namespace zbdkit
