// SPDX-License-Identifier: Apache-2.0
// H4: co_await in both arms of ?: with a result that has a destructor. g++ 12 destroyed it twice.
#include <gtest/gtest.h>

#include "tests/compiler/canary.h"

namespace zbdkit::canary {
namespace {

Task<int> choose(bool first) {
    const Tracked chosen = first ? co_await tracked(1) : co_await tracked(2);
    co_return chosen.value();
}

TEST(H4, chosen_arm_alone_runs_and_its_result_is_destroyed_once) {
    EXPECT_EQ(run(choose(true)), 1);
    EXPECT_EQ(run(choose(false)), 2);
    EXPECT_EQ(Tracked::alive, 0);
}

}  // namespace
}  // namespace zbdkit::canary
