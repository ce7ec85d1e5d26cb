// SPDX-License-Identifier: Apache-2.0
#include "base/options.h"

#include <gtest/gtest.h>

#include <array>

namespace zbdkit {
namespace {

OptionValues parsed(std::string_view text, std::string_view first_key = "") {
    Outcome<OptionValues> values = OptionValues::parse(text, first_key, "driver 'x'");
    EXPECT_TRUE(values.has_value()) << values.error().message;
    return values ? std::move(*values) : OptionValues();
}

std::string refusal(std::string_view text) {
    const Outcome<OptionValues> values = OptionValues::parse(text, "", "driver 'x'");
    return values ? "" : values.error().message;
}

TEST(Options, pairs_are_read_in_order) {
    const OptionValues values = parsed("driver=zoned,file.driver=file,file.filename=disk.zbd");
    ASSERT_EQ(values.items().size(), 3U);
    EXPECT_EQ(values.items()[1].first, "file.driver");
    EXPECT_EQ(values.text("file.filename"), "disk.zbd");
}

TEST(Options, doubled_comma_is_a_comma) {
    EXPECT_EQ(parsed("filename=a,,b,read-only=on").text("filename"), "a,b");
}

TEST(Options, first_item_without_a_name_goes_to_the_first_key) {
    EXPECT_EQ(parsed("vhost-user-blk,id=e0", "type").text("type"), "vhost-user-blk");
}

TEST(Options, later_item_without_a_value_means_on) {
    const Outcome<bool> flag = parsed("driver=file,read-only").flag("read-only", false);
    ASSERT_TRUE(flag.has_value());
    EXPECT_TRUE(*flag);
}

TEST(Options, option_given_twice_is_refused) {
    EXPECT_EQ(refusal("a=1,a=2"), "driver 'x': option 'a' is given twice");
}

TEST(Options, item_without_a_name_is_refused) {
    EXPECT_EQ(refusal("a=1,=2"), "driver 'x': '=2' has no option name: expected name=value");
}

TEST(Options, unknown_option_names_the_nearest) {
    constexpr std::array kKnown = {OptionInfo{"filename", "", ""}, OptionInfo{"locking", "", ""}};
    const Outcome<void> known = parsed("filenmae=x").check_known(kKnown);
    ASSERT_FALSE(known.has_value());
    EXPECT_EQ(known.error().message,
              "driver 'x': unknown option 'filenmae' (did you mean 'filename'?)");
}

TEST(Options, flag_that_is_neither_on_nor_off_is_refused) {
    const Outcome<bool> flag = parsed("read-only=maybe").flag("read-only", false);
    ASSERT_FALSE(flag.has_value());
    EXPECT_EQ(flag.error().message,
              "driver 'x': option 'read-only': 'maybe' is neither on nor off");
}

TEST(Options, number_beyond_its_limit_is_refused) {
    EXPECT_FALSE(parsed("n=65").number("n", 0, 64).has_value());
    EXPECT_EQ(parsed("n=64").number("n", 0, 64).value(), 64U);
    EXPECT_FALSE(parsed("n=-1").number("n", 0, 64).has_value());
    EXPECT_FALSE(parsed("n=1x").number("n", 0, 64).has_value());
}

TEST(Options, size_takes_any_usual_form) {
    EXPECT_EQ(parsed("size=8G").size("size", 0).value(), 8589934592U);
    EXPECT_FALSE(parsed("size=8Q").size("size", 0).has_value());
}

TEST(Options, required_option_that_is_missing_is_named) {
    const Outcome<std::string> text = parsed("a=1").required_text("filename");
    ASSERT_FALSE(text.has_value());
    EXPECT_EQ(text.error().message, "driver 'x': option 'filename' is missing");
}

TEST(Options, options_below_a_prefix_are_taken_out) {
    OptionValues values = parsed("driver=zoned,file.driver=file,file.cache.direct=on,files=1");
    const OptionValues below = values.take_below("file", "child");
    EXPECT_EQ(below.items().size(), 2U);
    EXPECT_EQ(below.text("cache.direct"), "on");
    EXPECT_EQ(values.items().size(), 2U);
}

TEST(Options, indexes_of_a_list_are_known_by_a_star) {
    constexpr std::array kKnown = {OptionInfo{"rule.*.event", "EVENT", "which requests"}};
    EXPECT_TRUE(parsed("rule.0.event=read,rule.12.event=write").check_known(kKnown).has_value());
    EXPECT_FALSE(parsed("rule.x.event=read").check_known(kKnown).has_value());
    EXPECT_FALSE(parsed("rule.0=read").check_known(kKnown).has_value());
}

TEST(Options, duration_is_in_nanoseconds) {
    const OptionValues values = parsed("delay=10ms");
    EXPECT_EQ(values.duration_ns("delay", 0, 1'000'000'000), 10'000'000U);
    EXPECT_EQ(values.duration_ns("other", 7, 1'000'000'000), 7U);
}

TEST(Options, duration_that_is_none_or_too_long_is_refused) {
    const OptionValues values = parsed("a=soon,b=2min");
    const Outcome<std::uint64_t> none = values.duration_ns("a", 0, 60'000'000'000);
    ASSERT_FALSE(none.has_value());
    EXPECT_EQ(
        none.error().message,
        "driver 'x': option 'a': 'soon' is not a time: expected one such as 10ms, 250us, 1.5s "
        "or 2min (seconds without a unit)");
    const Outcome<std::uint64_t> too_long = values.duration_ns("b", 0, 60'000'000'000);
    ASSERT_FALSE(too_long.has_value());
    EXPECT_EQ(too_long.error().message,
              "driver 'x': option 'b': '2min' is too long: at most 1 min");
}

}  // namespace
}  // namespace zbdkit
