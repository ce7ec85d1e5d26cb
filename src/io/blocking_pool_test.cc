// SPDX-License-Identifier: Apache-2.0
#include "io/blocking_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <thread>

#include "tests/support/io/uring_reactor.h"

namespace zbdkit {
namespace {

using test::UringReactor;

struct Where {
    std::thread::id work;
    std::thread::id after;
};

Task<Where> look_where(BlockingPool& pool, Reactor& reactor) {
    Where where;
    BlockingPool::Call call =
        pool.run(reactor, [&where] { where.work = std::this_thread::get_id(); });
    co_await call;
    where.after = std::this_thread::get_id();
    co_return where;
}

TEST(BlockingPool, work_runs_elsewhere_and_the_caller_continues_at_home) {
    UringReactor reactor;
    BlockingPool pool(1);
    const Where where = reactor.run_to_end(look_where(pool, reactor));
    EXPECT_NE(where.work, std::this_thread::get_id());
    EXPECT_EQ(where.after, std::this_thread::get_id());
}

Task<void> meet(BlockingPool& pool, Reactor& reactor, std::latch& latch) {
    BlockingPool::Call call = pool.run(reactor, [&latch] { latch.arrive_and_wait(); });
    co_await call;
}

Task<void> meet_all(BlockingPool& pool, Reactor& reactor, std::ptrdiff_t count) {
    std::latch latch(count);
    TaskScope scope;
    for (std::ptrdiff_t i = 0; i < count; ++i) scope.spawn(meet(pool, reactor, latch));
    co_await scope.join();
}

TEST(BlockingPool, as_many_calls_as_threads_run_side_by_side) {
    UringReactor reactor;
    BlockingPool pool(3);
    reactor.run_to_end(meet_all(pool, reactor, 3));
    SUCCEED();
}

Task<void> add_one(BlockingPool& pool, Reactor& reactor, std::atomic<int>& total) {
    BlockingPool::Call call = pool.run(reactor, [&total] { ++total; });
    co_await call;
}

Task<void> add_many(BlockingPool& pool, Reactor& reactor, std::atomic<int>& total, int count) {
    TaskScope scope;
    for (int i = 0; i < count; ++i) scope.spawn(add_one(pool, reactor, total));
    co_await scope.join();
}

TEST(BlockingPool, more_calls_than_threads_all_run) {
    UringReactor reactor;
    BlockingPool pool(2);
    std::atomic<int> total = 0;
    reactor.run_to_end(add_many(pool, reactor, total, 1000));
    EXPECT_EQ(total.load(), 1000);
}

TEST(BlockingPool, unused_pool_ends) {
    const BlockingPool pool(4);
    SUCCEED();
}

}  // namespace
}  // namespace zbdkit
