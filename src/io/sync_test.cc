// SPDX-License-Identifier: Apache-2.0
#include "io/sync.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "io/reactor.h"
#include "tests/support/io/manual_engine.h"

namespace zbdkit {
namespace {

using Order = std::vector<int>;

struct Turns : Reactor {
    Turns() : Reactor(std::make_unique<test::ManualEngine>()) {}
};

Task<void> wait_in_queue(WaitQueue& queue, Order& order, int name) {
    co_await queue.wait();
    order.push_back(name);
}

TEST(WaitQueue, wake_one_resumes_the_longest_waiter_in_a_later_turn) {
    Turns reactor;
    WaitQueue queue;
    Order order;
    TaskScope scope;
    scope.spawn(wait_in_queue(queue, order, 1));
    scope.spawn(wait_in_queue(queue, order, 2));
    queue.wake_one();
    EXPECT_TRUE(order.empty());
    reactor.turn(false);
    EXPECT_EQ(order, (Order{1}));
    queue.wake_one();
    reactor.turn(false);
    EXPECT_EQ(order, (Order{1, 2}));
}

TEST(WaitQueue, wake_all_resumes_all_in_order) {
    Turns reactor;
    WaitQueue queue;
    Order order;
    TaskScope scope;
    scope.spawn(wait_in_queue(queue, order, 1));
    scope.spawn(wait_in_queue(queue, order, 2));
    scope.spawn(wait_in_queue(queue, order, 3));
    queue.wake_all();
    EXPECT_TRUE(queue.empty());
    reactor.turn(false);
    EXPECT_EQ(order, (Order{1, 2, 3}));
}

TEST(WaitQueue, wake_without_waiters_does_nothing) {
    WaitQueue queue;
    queue.wake_one();
    queue.wake_all();
    EXPECT_TRUE(queue.empty());
    EXPECT_FALSE(has_scheduled());
}

Task<void> wait_for_event(AsyncEvent& event, Order& order, int name) {
    co_await event.wait();
    order.push_back(name);
}

TEST(AsyncEvent, set_resumes_every_waiter) {
    Turns reactor;
    AsyncEvent event;
    Order order;
    TaskScope scope;
    scope.spawn(wait_for_event(event, order, 1));
    scope.spawn(wait_for_event(event, order, 2));
    EXPECT_TRUE(order.empty());
    event.set();
    reactor.turn(false);
    EXPECT_EQ(order, (Order{1, 2}));
}

TEST(AsyncEvent, wait_after_set_does_not_suspend) {
    AsyncEvent event;
    event.set();
    Order order;
    TaskScope scope;
    scope.spawn(wait_for_event(event, order, 1));
    EXPECT_EQ(order, (Order{1}));
    EXPECT_TRUE(event.is_set());
}

Task<void> hold(Reactor& reactor, AsyncMutex& mutex, Order& order, int name) {
    const AsyncMutex::Guard guard = co_await mutex.lock();
    order.push_back(name);
    co_await reactor.sleep_ns(10);
    order.push_back(-name);
}

Task<void> contend(Reactor& reactor, Order& order) {
    AsyncMutex mutex;
    TaskScope scope;
    scope.spawn(hold(reactor, mutex, order, 1));
    scope.spawn(hold(reactor, mutex, order, 2));
    scope.spawn(hold(reactor, mutex, order, 3));
    co_await scope.join();
}

TEST(AsyncMutex, holders_exclude_each_other_and_follow_in_order) {
    Turns reactor;
    Order order;
    reactor.run_to_end(contend(reactor, order));
    EXPECT_EQ(order, (Order{1, -1, 2, -2, 3, -3}));
}

/// Unlocks and at once asks again, while another one waits.
Task<void> hold_twice(Reactor& reactor, AsyncMutex& mutex, Order& order) {
    {
        const AsyncMutex::Guard guard = co_await mutex.lock();
        order.push_back(1);
        co_await reactor.sleep_ns(10);
    }
    const AsyncMutex::Guard guard = co_await mutex.lock();
    order.push_back(3);
}

Task<void> contend_with_greedy(Reactor& reactor, Order& order) {
    AsyncMutex mutex;
    TaskScope scope;
    scope.spawn(hold_twice(reactor, mutex, order));
    scope.spawn(hold(reactor, mutex, order, 2));
    co_await scope.join();
}

TEST(AsyncMutex, waiter_goes_before_a_holder_that_asks_again) {
    Turns reactor;
    Order order;
    reactor.run_to_end(contend_with_greedy(reactor, order));
    EXPECT_EQ(order, (Order{1, 2, -2, 3}));
}

Task<bool> lock_and_release(AsyncMutex& mutex) {
    {
        const AsyncMutex::Guard guard = co_await mutex.lock();
    }
    co_return mutex.is_locked();
}

TEST(AsyncMutex, guard_releases_at_its_end) {
    Turns reactor;
    AsyncMutex mutex;
    EXPECT_FALSE(reactor.run_to_end(lock_and_release(mutex)));
}

}  // namespace
}  // namespace zbdkit
