// SPDX-License-Identifier: Apache-2.0
// R3: Task resumes through a trampoline, so that the stack does not grow with the number of awaits.
#include <gtest/gtest.h>

#include "tests/compiler/canary.h"

namespace zbdkit::canary {
namespace {

Task<int> one() { co_return 1; }

Task<int> add_up(int count) {
    int total = 0;
    for (int i = 0; i < count; ++i) {
        const int value = co_await one();
        total += value;
    }
    co_return total;
}

TEST(R3, two_million_ready_awaits_do_not_grow_the_stack) {
    EXPECT_EQ(run(add_up(2'000'000)), 2'000'000);
}

}  // namespace
}  // namespace zbdkit::canary
