// SPDX-License-Identifier: Apache-2.0
#include "io/run_queue.h"

#include <gtest/gtest.h>

#include <vector>

#include "io/scope.h"
#include "io/task.h"

namespace zbdkit {
namespace {

struct Yield {
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting) const { schedule(waiting); }
    void await_resume() const noexcept {}
};

Task<void> yield_times(std::vector<int>& journal, int name, int times) {
    for (int i = 0; i < times; ++i) {
        journal.push_back(name);
        co_await Yield();
    }
}

TEST(RunQueue, scheduled_handles_run_in_order_of_calls) {
    std::vector<int> journal;
    TaskScope scope;
    scope.spawn(yield_times(journal, 1, 1));
    scope.spawn(yield_times(journal, 2, 1));
    journal.clear();
    scope.spawn(yield_times(journal, 3, 1));
    EXPECT_EQ(run_scheduled(), 3U);
    EXPECT_EQ(scope.running(), 0U);
}

TEST(RunQueue, scheduled_meanwhile_waits_for_the_next_call) {
    std::vector<int> journal;
    TaskScope scope;
    scope.spawn(yield_times(journal, 1, 2));
    scope.spawn(yield_times(journal, 2, 2));
    EXPECT_EQ(run_scheduled(), 2U);
    EXPECT_EQ(journal, (std::vector<int>{1, 2, 1, 2}));
    EXPECT_TRUE(has_scheduled());
    EXPECT_EQ(run_scheduled(), 2U);
    EXPECT_FALSE(has_scheduled());
}

TEST(RunQueue, empty_queue_runs_nothing) {
    EXPECT_FALSE(has_scheduled());
    EXPECT_EQ(run_scheduled(), 0U);
}

}  // namespace
}  // namespace zbdkit
