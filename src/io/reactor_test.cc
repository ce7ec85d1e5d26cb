// SPDX-License-Identifier: Apache-2.0
#include "io/reactor.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "tests/support/io/manual_engine.h"
#include "tests/support/io/uring_reactor.h"

namespace zbdkit {
namespace {

using test::ManualEngine;
using test::UringReactor;
using Order = std::vector<int>;

constexpr std::uint64_t kMillisecond = 1'000'000;

/// A reactor over an engine whose clock the test moves; it starts at 1000.
struct ManualReactor : Reactor {
    ManualReactor() : Reactor(std::make_unique<ManualEngine>()) {}
    ManualEngine& manual() { return static_cast<ManualEngine&>(engine()); }
};

Task<void> sleep_then_note(Reactor& reactor, std::uint64_t duration_ns, Order& order, int name) {
    co_await reactor.sleep_ns(duration_ns);
    order.push_back(name);
}

Task<void> sleep_in_disorder(Reactor& reactor, Order& order) {
    TaskScope scope;
    scope.spawn(sleep_then_note(reactor, 30, order, 3));
    scope.spawn(sleep_then_note(reactor, 10, order, 1));
    scope.spawn(sleep_then_note(reactor, 20, order, 2));
    co_await scope.join();
}

TEST(Reactor, timers_fire_in_order_of_time) {
    ManualReactor reactor;
    Order order;
    reactor.run_to_end(sleep_in_disorder(reactor, order));
    EXPECT_EQ(order, (Order{1, 2, 3}));
    EXPECT_EQ(reactor.now_ns(), 1030U);
}

Task<void> sleep_alike(Reactor& reactor, Order& order) {
    TaskScope scope;
    for (int i = 0; i < 5; ++i) scope.spawn(sleep_then_note(reactor, 10, order, i));
    co_await scope.join();
}

TEST(Reactor, equal_timers_fire_in_the_order_they_were_set) {
    ManualReactor reactor;
    Order order;
    reactor.run_to_end(sleep_alike(reactor, order));
    EXPECT_EQ(order, (Order{0, 1, 2, 3, 4}));
}

Task<void> sleep_zero_often(Reactor& reactor, int times) {
    for (int i = 0; i < times; ++i) co_await reactor.sleep_ns(0);
}

TEST(Reactor, timer_of_zero_waits_for_the_next_turn) {
    ManualReactor reactor;
    TaskScope scope;
    scope.spawn(sleep_zero_often(reactor, 3));
    reactor.turn(false);
    EXPECT_EQ(scope.running(), 1U);
    reactor.turn(false);
    EXPECT_EQ(scope.running(), 1U);
    reactor.turn(false);
    EXPECT_EQ(scope.running(), 0U);
}

TEST(Reactor, longest_sleep_does_not_wrap_around) {
    ManualReactor reactor;
    const Reactor::Sleep sleep = reactor.sleep_ns(~std::uint64_t{0});
    EXPECT_EQ(sleep.due_ns, IoEngine::kForever - 1);
}

TEST(Reactor, turn_waits_for_the_nearest_timer) {
    ManualReactor reactor;
    Order order;
    TaskScope scope;
    scope.spawn(sleep_then_note(reactor, 70, order, 2));
    scope.spawn(sleep_then_note(reactor, 50, order, 1));
    reactor.turn(true);
    EXPECT_EQ(reactor.manual().deadlines.back(), 1050U);
    reactor.turn(true);
    EXPECT_EQ(reactor.manual().deadlines.back(), 1070U);
    EXPECT_EQ(order, (Order{1, 2}));
}

TEST(Reactor, idle_turn_waits_without_limit) {
    ManualReactor reactor;
    reactor.turn(true);
    EXPECT_EQ(reactor.manual().deadlines.back(), IoEngine::kForever);
}

TEST(Reactor, turn_that_may_not_wait_does_not) {
    ManualReactor reactor;
    Order order;
    TaskScope scope;
    scope.spawn(sleep_then_note(reactor, 50, order, 1));
    reactor.turn(false);
    EXPECT_EQ(reactor.manual().deadlines.back(), 0U);
    reactor.turn(true);
}

TEST(Reactor, turn_with_ready_work_does_not_wait) {
    ManualReactor reactor;
    reactor.post([] {});
    reactor.turn(true);
    EXPECT_EQ(reactor.manual().deadlines.back(), 0U);
}

TEST(Reactor, posted_work_runs_in_order_in_the_next_turn) {
    ManualReactor reactor;
    Order order;
    reactor.post([&] { order.push_back(1); });
    reactor.post([&] { order.push_back(2); });
    EXPECT_TRUE(order.empty());
    reactor.turn(true);
    EXPECT_EQ(order, (Order{1, 2}));
}

TEST(Reactor, work_posted_by_work_runs_in_the_turn_after) {
    ManualReactor reactor;
    Order order;
    reactor.post([&] {
        order.push_back(1);
        reactor.post([&] { order.push_back(2); });
    });
    reactor.turn(true);
    EXPECT_EQ(order, (Order{1}));
    reactor.turn(true);
    EXPECT_EQ(order, (Order{1, 2}));
}

TEST(Reactor, real_sleep_takes_its_time) {
    UringReactor reactor;
    Order order;
    const std::uint64_t start = reactor.now_ns();
    reactor.run_to_end(sleep_then_note(reactor, 20 * kMillisecond, order, 1));
    EXPECT_GE(reactor.now_ns() - start, 20 * kMillisecond);
}

TEST(Reactor, stop_from_another_thread_ends_run) {
    UringReactor reactor;
    const std::jthread stopper([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        reactor.stop();
    });
    reactor.run();
    SUCCEED();
}

TEST(Reactor, stop_before_run_is_not_lost) {
    UringReactor reactor;
    reactor.stop();
    reactor.run();
    SUCCEED();
}

TEST(Reactor, stopped_reactor_runs_again) {
    UringReactor reactor;
    reactor.stop();
    reactor.run();
    bool ran = false;
    reactor.post([&] {
        ran = true;
        reactor.stop();
    });
    reactor.run();
    EXPECT_TRUE(ran);
}

TEST(Reactor, posts_from_many_threads_all_run) {
    constexpr int kThreads = 4;
    constexpr int kPosts = 10'000;
    UringReactor reactor;
    int count = 0;  // no atomic: all posted work runs on this thread
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&] {
            for (int i = 0; i < kPosts; ++i) {
                reactor.post([&] {
                    ++count;
                    if (count == kThreads * kPosts) reactor.stop();
                });
            }
        });
    }
    reactor.run();
    EXPECT_EQ(count, kThreads * kPosts);
}

/// The poster waits for each answer, so that nearly every post meets a sleeping reactor.
TEST(Reactor, every_post_wakes_a_sleeping_reactor) {
    constexpr int kRounds = 10'000;
    UringReactor reactor;
    const std::jthread poster([&] {
        for (int i = 0; i < kRounds; ++i) {
            std::atomic<bool> ran = false;
            reactor.post([&] {
                ran.store(true);
                ran.notify_one();
            });
            ran.wait(false);
        }
        reactor.stop();
    });
    reactor.run();
    SUCCEED();
}

TEST(ReactorDeathTest, destroyed_with_a_sleeping_coroutine_aborts) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    Order order;
    EXPECT_DEATH(
        {
            TaskScope scope;
            ManualReactor reactor;
            scope.spawn(sleep_then_note(reactor, 10, order, 1));
        },
        "timers_.empty");
}

}  // namespace
}  // namespace zbdkit
