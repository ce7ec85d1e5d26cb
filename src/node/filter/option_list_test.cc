// SPDX-License-Identifier: Apache-2.0
#include "node/filter/option_list.h"

#include <gtest/gtest.h>

namespace zbdkit {
namespace {

using Words = std::vector<std::string>;

OptionValues parsed(std::string_view text) {
    return OptionValues::parse(text, "", "driver 'x'").value();
}

TEST(OptionList, elements_come_by_number_whatever_order_they_are_given_in) {
    const std::vector<OptionValues> elements =
        list_elements(parsed("rule.10.a=1,rule.9.a=2,rule.9.b=3,ruled.0.a=4,rule=5"), "rule");
    ASSERT_EQ(elements.size(), 2U);
    EXPECT_EQ(elements[0].text("a"), "2");
    EXPECT_EQ(elements[0].text("b"), "3");
    EXPECT_EQ(elements[1].text("a"), "1");
    EXPECT_EQ(elements[1].subject(), "driver 'x': rule.10");
}

TEST(OptionList, list_that_is_not_given_has_no_elements) {
    EXPECT_TRUE(list_elements(parsed("other.0.a=1"), "rule").empty());
    EXPECT_TRUE(word_list(parsed("other=a"), "ops").empty());
}

TEST(OptionList, words_stand_in_one_value_or_in_a_list) {
    EXPECT_EQ(word_list(parsed("ops=a:b"), "ops"), (Words{"a", "b"}));
    EXPECT_EQ(word_list(parsed("ops.1=b,ops.0=a"), "ops"), (Words{"a", "b"}));
    EXPECT_EQ(word_list(parsed("ops="), "ops"), (Words{""}));
}

}  // namespace
}  // namespace zbdkit
