// SPDX-License-Identifier: Apache-2.0
// R1: co_await as a statement, as the whole right side, or behind co_return.
#include <gtest/gtest.h>

#include "tests/compiler/canary.h"

namespace zbdkit::canary {
namespace {

Task<int> as_right_side() {
    int total = co_await number(1);
    const int more = co_await number(2);
    total += more;
    total = co_await number(total + 4);
    co_return total;
}

TEST(R1, await_as_the_whole_right_side_gives_its_value) { EXPECT_EQ(run(as_right_side()), 7); }

Task<Tracked> behind_return() { co_return co_await tracked(3); }

Task<int> value_behind_return() {
    const Tracked value = co_await behind_return();
    co_return value.value();
}

TEST(R1, await_behind_return_moves_its_value_through) {
    EXPECT_EQ(run(value_behind_return()), 3);
    EXPECT_EQ(Tracked::alive, 0);
}

/// The form that replaces H1.
Task<int> named_condition(bool value) {
    const bool is_true = co_await truth(value);
    if (!is_true) co_return 1;
    co_return 2;
}

TEST(R1, named_condition_selects) {
    EXPECT_EQ(run(named_condition(false)), 1);
    EXPECT_EQ(run(named_condition(true)), 2);
}

Task<int> in_init_statement(bool value) {
    if (const bool is_true = co_await truth(value); !is_true) co_return 1;
    co_return 2;
}

TEST(R1, condition_named_in_the_if_selects) {
    EXPECT_EQ(run(in_init_statement(false)), 1);
    EXPECT_EQ(run(in_init_statement(true)), 2);
}

}  // namespace
}  // namespace zbdkit::canary
