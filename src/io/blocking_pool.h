// SPDX-License-Identifier: Apache-2.0
// Threads for calls that block and have no io_uring form (ioctls, opens on slow storage), so that
// a reactor never waits in one.
#pragma once

#include <condition_variable>
#include <coroutine>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "io/reactor.h"

namespace zbdkit {

class BlockingPool {
  public:
    /// @param thread_count  1 to 64
    explicit BlockingPool(unsigned thread_count);
    BlockingPool(const BlockingPool&) = delete;
    BlockingPool& operator=(const BlockingPool&) = delete;
    /// Waits for the calls in progress. Nothing may be queued by then. The reactors it resumes
    /// callers on must outlive it.
    ~BlockingPool();

    struct Call {
        BlockingPool& pool;
        Reactor& reactor;
        std::move_only_function<void()> work;

        Call(BlockingPool& owner, Reactor& home, std::move_only_function<void()> function)
            : pool(owner), reactor(home), work(std::move(function)) {}
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> waiting);
        void await_resume() const noexcept {}
    };

    /// Runs `work` on a thread of the pool and resumes the caller on `reactor`.
    /// The awaited call must be a named object (see the coroutine rules):
    /// `BlockingPool::Call call = pool.run(reactor, work); co_await call;`
    [[nodiscard]] Call run(Reactor& reactor, std::move_only_function<void()> work) {
        return Call(*this, reactor, std::move(work));
    }

  private:
    void thread_main();

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::move_only_function<void()>> queue_;  // guarded by mutex_
    bool closing_ = false;                               // guarded by mutex_
    std::vector<std::thread> threads_;
};

}  // namespace zbdkit
