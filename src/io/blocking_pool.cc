// SPDX-License-Identifier: Apache-2.0
#include "io/blocking_pool.h"

#include <utility>

#include "base/assert.h"
#include "io/run_queue.h"

namespace zbdkit {
namespace {

constexpr unsigned kMaxThreads = 64;

}  // namespace

BlockingPool::BlockingPool(unsigned thread_count) {
    ZBDKIT_ASSERT(thread_count >= 1 && thread_count <= kMaxThreads);
    threads_.reserve(thread_count);
    for (unsigned i = 0; i < thread_count; ++i) threads_.emplace_back([this] { thread_main(); });
}

BlockingPool::~BlockingPool() {
    {
        const std::lock_guard lock(mutex_);
        ZBDKIT_ASSERT(queue_.empty());
        closing_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void BlockingPool::Call::await_suspend(std::coroutine_handle<> waiting) {
    {
        const std::lock_guard lock(pool.mutex_);
        pool.queue_.emplace_back([this, waiting] {
            work();
            // From here on the caller may run, and this call with its frame be gone.
            reactor.post([waiting] { run_chain(waiting); });
        });
    }
    pool.changed_.notify_one();
}

void BlockingPool::thread_main() {
    std::unique_lock lock(mutex_);
    while (true) {
        changed_.wait(lock, [this] { return closing_ || !queue_.empty(); });
        if (queue_.empty()) return;
        std::move_only_function<void()> job = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        job();
        job = nullptr;
        lock.lock();
    }
}

}  // namespace zbdkit
