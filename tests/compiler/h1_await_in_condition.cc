// SPDX-License-Identifier: Apache-2.0
// H1: co_await in a condition of a coroutine without local variables. g++ 12 never ran the body.
#include <gtest/gtest.h>

#include "tests/compiler/canary.h"

namespace zbdkit::canary {
namespace {

Task<int> in_if(bool value) {
    if (!co_await truth(value)) co_return 1;
    co_return 2;
}

TEST(H1, await_in_if_runs_the_branch) {
    EXPECT_EQ(run(in_if(false)), 1);
    EXPECT_EQ(run(in_if(true)), 2);
}

Task<int> in_while(int* rounds) {
    while (co_await truth(*rounds < 3)) ++*rounds;
    co_return *rounds;
}

TEST(H1, await_in_while_is_repeated) {
    int rounds = 0;
    EXPECT_EQ(run(in_while(&rounds)), 3);
}

Task<int> in_switch(int value) {
    switch (co_await number(value)) {
        case 1: co_return 10;
        case 2: co_return 20;
        default: co_return 30;
    }
}

TEST(H1, await_in_switch_selects) {
    EXPECT_EQ(run(in_switch(1)), 10);
    EXPECT_EQ(run(in_switch(2)), 20);
    EXPECT_EQ(run(in_switch(9)), 30);
}

Task<bool> in_and(bool first, bool second) { co_return first&& co_await truth(second); }

TEST(H1, await_behind_and_is_evaluated_when_needed) {
    EXPECT_FALSE(run(in_and(false, true)));
    EXPECT_FALSE(run(in_and(true, false)));
    EXPECT_TRUE(run(in_and(true, true)));
}

Task<int> in_if_of_two(bool first, bool second) {
    if (co_await truth(first) && co_await truth(second)) co_return 1;
    co_return 2;
}

TEST(H1, two_awaits_in_a_condition_are_both_evaluated) {
    EXPECT_EQ(run(in_if_of_two(true, true)), 1);
    EXPECT_EQ(run(in_if_of_two(true, false)), 2);
}

}  // namespace
}  // namespace zbdkit::canary
