// SPDX-License-Identifier: Apache-2.0
#include "io/scope.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "io/reactor.h"
#include "tests/support/io/manual_engine.h"

namespace zbdkit {
namespace {

struct Turns : Reactor {
    Turns() : Reactor(std::make_unique<test::ManualEngine>()) {}
};

Task<void> sleep_then_count(Reactor& reactor, std::uint64_t duration_ns, int& count) {
    co_await reactor.sleep_ns(duration_ns);
    ++count;
}

TEST(TaskScope, spawned_task_starts_before_spawn_returns) {
    Turns reactor;
    TaskScope scope;
    int count = 0;
    constexpr auto increment = [](int& target) -> Task<void> {
        ++target;
        co_return;
    };
    scope.spawn(increment(count));
    EXPECT_EQ(count, 1);
    EXPECT_EQ(scope.running(), 0U);
}

TEST(TaskScope, frame_of_a_task_is_gone_when_the_task_is_counted_as_ended) {
    Turns reactor;
    struct Guard {
        const TaskScope& scope;
        std::size_t& running_then;
        ~Guard() { running_then = scope.running(); }
    };
    constexpr auto guarded = [](Reactor& turns, std::uint64_t duration_ns, const TaskScope& scope,
                                std::size_t& running_then) -> Task<void> {
        const Guard guard{scope, running_then};
        if (duration_ns != 0) co_await turns.sleep_ns(duration_ns);
    };
    constexpr auto run_both = [](Reactor& turns, auto run) -> Task<std::array<std::size_t, 2>> {
        TaskScope scope;
        std::array<std::size_t, 2> running_then = {9, 9};
        scope.spawn(run(turns, 0, scope, running_then[0]));
        scope.spawn(run(turns, 10, scope, running_then[1]));
        co_await scope.join();
        co_return running_then;
    };
    EXPECT_EQ(reactor.run_to_end(run_both(reactor, guarded)), (std::array<std::size_t, 2>{1, 1}));
}

Task<int> join_three(Reactor& reactor) {
    TaskScope scope;
    int count = 0;
    scope.spawn(sleep_then_count(reactor, 30, count));
    scope.spawn(sleep_then_count(reactor, 10, count));
    scope.spawn(sleep_then_count(reactor, 20, count));
    co_await scope.join();
    co_return count;
}

TEST(TaskScope, join_waits_for_all) {
    Turns reactor;
    EXPECT_EQ(reactor.run_to_end(join_three(reactor)), 3);
}

Task<int> join_none() {
    TaskScope scope;
    co_await scope.join();
    co_return 5;
}

TEST(TaskScope, join_of_nothing_does_not_suspend) {
    Turns reactor;
    EXPECT_EQ(reactor.run_to_end(join_none()), 5);
}

Task<void> spawn_more(Reactor& reactor, TaskScope& scope, int& count) {
    co_await reactor.sleep_ns(10);
    scope.spawn(sleep_then_count(reactor, 50, count));
}

Task<int> join_growing(Reactor& reactor) {
    TaskScope scope;
    int count = 0;
    scope.spawn(spawn_more(reactor, scope, count));
    co_await scope.join();
    co_return count;
}

TEST(TaskScope, join_waits_for_what_is_spawned_meanwhile) {
    Turns reactor;
    EXPECT_EQ(reactor.run_to_end(join_growing(reactor)), 1);
}

Task<int> join_twice(Reactor& reactor) {
    TaskScope scope;
    int count = 0;
    scope.spawn(sleep_then_count(reactor, 10, count));
    co_await scope.join();
    scope.spawn(sleep_then_count(reactor, 10, count));
    co_await scope.join();
    co_return count;
}

TEST(TaskScope, joined_scope_can_be_used_again) {
    Turns reactor;
    EXPECT_EQ(reactor.run_to_end(join_twice(reactor)), 2);
}

TEST(TaskScopeDeathTest, destroyed_while_tasks_run_aborts) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(
        {
            Turns reactor;
            int count = 0;
            TaskScope scope;
            scope.spawn(sleep_then_count(reactor, 10, count));
        },
        "running_ == 0");
}

}  // namespace
}  // namespace zbdkit
