// SPDX-License-Identifier: Apache-2.0
#include "app/io_number.h"

#include <gtest/gtest.h>

#include <random>
#include <string_view>

#include "app/io_words.h"
#include "base/units.h"
#include "tests/support/seed.h"

namespace zbdkit::app {
namespace {

constexpr const char* kNoNumber =
    "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- ";
constexpr const char* kTooLarge = "Parsing error: argument too large -- ";

struct NumberCase {
    const char* text;
    std::uint64_t value;
};

class IoNumber : public testing::TestWithParam<NumberCase> {};

TEST_P(IoNumber, text_is_a_number) {
    const Outcome<std::uint64_t> number = parse_io_number(GetParam().text);
    ASSERT_TRUE(number.has_value()) << GetParam().text << ": " << number.error().message;
    EXPECT_EQ(*number, GetParam().value) << GetParam().text;
}

INSTANTIATE_TEST_SUITE_P(
    Numbers, IoNumber,
    testing::Values(NumberCase{"0", 0}, NumberCase{"+0", 0}, NumberCase{"010", 10},
                    NumberCase{"08", 8}, NumberCase{"512", 512}, NumberCase{"\t5", 5},
                    NumberCase{"1b", 1}, NumberCase{"1B", 1}, NumberCase{"1k", 1024},
                    NumberCase{"1K", 1024}, NumberCase{"64M", 67108864},
                    NumberCase{"1g", 1073741824}, NumberCase{"1T", 1099511627776},
                    NumberCase{"1p", 1125899906842624}, NumberCase{"7e", 8070450532247928832},
                    NumberCase{"1.5k", 1536}, NumberCase{".5k", 512}, NumberCase{"1.k", 1024},
                    NumberCase{"1.1k", 1126}, NumberCase{"0.0005k", 1}, NumberCase{"1.0", 1},
                    NumberCase{"1.", 1}, NumberCase{"1.9999999999999999999999k", 2048},
                    NumberCase{"0x200", 512}, NumberCase{"0X10", 16}, NumberCase{"0x1e", 30},
                    NumberCase{"0x10B", 267}, NumberCase{"0x7fffffffffffffff", kMaxOffset},
                    NumberCase{"9223372036854775807", kMaxOffset}));

struct MessageCase {
    const char* text;
    const char* message;
};

class IoNumberError : public testing::TestWithParam<MessageCase> {};

TEST_P(IoNumberError, text_is_refused_as_qemu_io_does) {
    const Outcome<std::uint64_t> number = parse_io_number(GetParam().text);
    ASSERT_FALSE(number.has_value()) << GetParam().text;
    EXPECT_EQ(number.error().message, std::string(GetParam().message) + GetParam().text);
}

INSTANTIATE_TEST_SUITE_P(
    NoNumbers, IoNumberError,
    testing::Values(MessageCase{"", kNoNumber}, MessageCase{"x", kNoNumber},
                    MessageCase{".", kNoNumber}, MessageCase{".k", kNoNumber},
                    MessageCase{"-", kNoNumber}, MessageCase{"-1k", kNoNumber},
                    MessageCase{"--1", kNoNumber}, MessageCase{"++1", kNoNumber},
                    MessageCase{"1kk", kNoNumber}, MessageCase{"1KB", kNoNumber},
                    MessageCase{"1KiB", kNoNumber}, MessageCase{"1Z", kNoNumber},
                    MessageCase{"1.5", kNoNumber}, MessageCase{"1.5b", kNoNumber},
                    MessageCase{"1,5k", kNoNumber}, MessageCase{"1e3", kNoNumber},
                    MessageCase{"0x", kNoNumber}, MessageCase{"0xg", kNoNumber},
                    MessageCase{"0x1k", kNoNumber}, MessageCase{"0x1.8k", kNoNumber},
                    MessageCase{"inf", kNoNumber}, MessageCase{"nan", kNoNumber}));

INSTANTIATE_TEST_SUITE_P(TooLarge, IoNumberError,
                         testing::Values(MessageCase{"-1", kTooLarge}, MessageCase{"-0", kTooLarge},
                                         MessageCase{"8E", kTooLarge},
                                         MessageCase{"8192P", kTooLarge},
                                         MessageCase{"0x8000000000000000", kTooLarge},
                                         MessageCase{"0xffffffffffffffffff", kTooLarge},
                                         MessageCase{"9223372036854775808", kTooLarge},
                                         MessageCase{"18446744073709551616", kTooLarge},
                                         MessageCase{"12345678901234567890k", kTooLarge},
                                         MessageCase{"7.9999999999999999999E", kTooLarge}));

TEST(IoPattern, byte_is_read_in_any_base) {
    EXPECT_EQ(parse_io_pattern("205").value(), std::byte{0xcd});
    EXPECT_EQ(parse_io_pattern("0xCD").value(), std::byte{0xcd});
    EXPECT_EQ(parse_io_pattern("0315").value(), std::byte{0xcd});
    EXPECT_EQ(parse_io_pattern("-0").value(), std::byte{0});
}

TEST(IoPattern, what_is_no_byte_is_refused) {
    for (const char* text : {"256", "-1", "x", "", "0x", "08", "1k", "99999999999999999999"}) {
        const Outcome<std::byte> pattern = parse_io_pattern(text);
        ASSERT_FALSE(pattern.has_value()) << text;
        EXPECT_EQ(pattern.error().message, std::string(text) + " is not a valid pattern byte");
    }
}

TEST(IoMilliseconds, numbers_up_to_a_day_are_read) {
    EXPECT_EQ(parse_io_milliseconds("10").value(), 10U);
    EXPECT_EQ(parse_io_milliseconds("86400000").value(), 86400000U);
    for (const char* text : {"x", "1x", "-5", "1.5", "86400001", "99999999999999999999"}) {
        const Outcome<std::uint64_t> time = parse_io_milliseconds(text);
        ASSERT_FALSE(time.has_value()) << text;
        EXPECT_EQ(time.error().message, std::string(text) + " is not a valid number");
    }
}

TEST(IoWords, blanks_separate_words) {
    EXPECT_EQ(split_words("  read   0  4k "), (std::vector<std::string>{"read", "0", "4k"}));
    EXPECT_TRUE(split_words("").empty());
    EXPECT_TRUE(split_words("   ").empty());
    EXPECT_EQ(split_words("read\t0"), std::vector<std::string>{"read\t0"});
}

TEST(IoWords, options_are_found_among_operands) {
    CommandWords words(split_words("read 0 -q 4k -P 7"));
    EXPECT_EQ(words.count(), 5U);
    EXPECT_EQ(words.next_option("qP:"), 'q');
    EXPECT_EQ(words.next_option("qP:"), 'P');
    EXPECT_EQ(words.value(), "7");
    EXPECT_EQ(words.next_option("qP:"), -1);
    EXPECT_EQ(words.operands(), (std::vector<std::string>{"0", "4k"}));
}

TEST(IoWords, two_hyphens_end_the_options) {
    CommandWords words(split_words("read -- -1 -q"));
    EXPECT_EQ(words.next_option("q"), -1);
    EXPECT_EQ(words.operands(), (std::vector<std::string>{"-1", "-q"}));
}

TEST(IoWords, each_line_starts_anew) {
    CommandWords first(split_words("read -abc"));
    EXPECT_EQ(first.next_option("abc"), 'a');
    CommandWords second(split_words("read -q"));
    EXPECT_EQ(second.next_option("q"), 'q');
}

/// Texts made of what numbers are made of, so that they are often nearly right.
std::string random_text(std::mt19937_64& random) {
    constexpr std::string_view kCharacters = "0123456789999xX.+-kKmgtpeEbB aZ\t";
    std::string text;
    const std::size_t length = random() % 24;
    for (std::size_t i = 0; i < length; ++i) text += kCharacters[random() % kCharacters.size()];
    return text;
}

TEST(IoNumberRandom, every_text_is_a_number_or_refused_with_its_text) {
    SCOPED_TRACE(test::seed_trace());
    std::mt19937_64 random(test::seed());
    for (int i = 0; i < 100000; ++i) {
        const std::string text = random_text(random);
        const Outcome<std::uint64_t> number = parse_io_number(text);
        if (number) {
            ASSERT_LE(*number, kMaxOffset) << text;
        } else {
            ASSERT_TRUE(number.error().message.ends_with(" -- " + text)) << text;
        }
    }
}

TEST(IoNumberRandom, whole_numbers_are_read_back) {
    SCOPED_TRACE(test::seed_trace());
    std::mt19937_64 random(test::seed());
    for (int i = 0; i < 10000; ++i) {
        const std::uint64_t value = random() >> (1 + random() % 63);
        ASSERT_EQ(parse_io_number(std::to_string(value)).value(), value);
    }
}

TEST(IoWordsRandom, no_line_breaks_the_lexer) {
    SCOPED_TRACE(test::seed_trace());
    std::mt19937_64 random(test::seed());
    for (int i = 0; i < 10000; ++i) {
        std::string line;
        for (int word = 0; word < 6; ++word) line += random_text(random) + " ";
        for (const std::string& word : split_words(line)) {
            ASSERT_FALSE(word.empty());
            ASSERT_EQ(word.find(' '), std::string::npos);
        }
    }
}

}  // namespace
}  // namespace zbdkit::app
