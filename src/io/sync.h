// SPDX-License-Identifier: Apache-2.0
// Waiting between coroutines of one thread: a one-shot event, a mutex, and a queue of waiters that
// the other two are made of. All are fair (first come, first served) and resume waiters in a
// later turn, never inline, so that a notifier's own state is at rest when they run.
#pragma once

#include <boost/intrusive/list.hpp>
#include <coroutine>
#include <utility>

#include "base/assert.h"
#include "io/run_queue.h"

namespace zbdkit {

/// Coroutines that wait for a condition. Check the condition again after waking.
class WaitQueue {
  public:
    struct Waiter : boost::intrusive::list_base_hook<> {
        WaitQueue& queue;
        std::coroutine_handle<> handle;

        explicit Waiter(WaitQueue& owner) : queue(owner) {}
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> waiting) {
            handle = waiting;
            queue.waiters_.push_back(*this);
        }
        void await_resume() const noexcept {}
    };

    WaitQueue() = default;
    WaitQueue(const WaitQueue&) = delete;
    WaitQueue& operator=(const WaitQueue&) = delete;
    ~WaitQueue() { ZBDKIT_ASSERT(waiters_.empty()); }

    [[nodiscard]] Waiter wait() { return Waiter(*this); }
    void wake_one() {
        if (waiters_.empty()) return;
        Waiter& waiter = waiters_.front();
        waiters_.pop_front();
        schedule(waiter.handle);
    }
    void wake_all() {
        while (!waiters_.empty()) wake_one();
    }
    [[nodiscard]] bool empty() const { return waiters_.empty(); }

  private:
    boost::intrusive::list<Waiter> waiters_;
};

/// Something that happens once. Waiting after it happened does not suspend.
class AsyncEvent {
  public:
    void set() {
        is_set_ = true;
        waiters_.wake_all();
    }
    [[nodiscard]] bool is_set() const { return is_set_; }

    [[nodiscard]] auto wait() { return Waiter{*this, WaitQueue::Waiter(waiters_)}; }

  private:
    struct Waiter {
        AsyncEvent& event;
        WaitQueue::Waiter inner;
        bool await_ready() const noexcept { return event.is_set_; }
        void await_suspend(std::coroutine_handle<> waiting) { inner.await_suspend(waiting); }
        void await_resume() const noexcept {}
    };

    bool is_set_ = false;
    WaitQueue waiters_;
};

/// Mutual exclusion across suspensions. `const AsyncMutex::Guard guard = co_await mutex.lock();`
class AsyncMutex {
  public:
    class [[nodiscard]] Guard {
      public:
        explicit Guard(AsyncMutex& mutex) : mutex_(&mutex) {}
        Guard(Guard&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
        Guard(const Guard&) = delete;
        Guard& operator=(const Guard&) = delete;
        Guard& operator=(Guard&&) = delete;
        ~Guard() {
            if (mutex_ != nullptr) mutex_->unlock();
        }

      private:
        AsyncMutex* mutex_;
    };

    AsyncMutex() = default;
    AsyncMutex(const AsyncMutex&) = delete;
    AsyncMutex& operator=(const AsyncMutex&) = delete;
    ~AsyncMutex() { ZBDKIT_ASSERT(!locked_); }

    [[nodiscard]] auto lock() { return Locker{*this, WaitQueue::Waiter(waiters_)}; }
    [[nodiscard]] bool is_locked() const { return locked_; }

  private:
    struct Locker {
        AsyncMutex& mutex;
        WaitQueue::Waiter inner;
        bool await_ready() const noexcept {
            if (mutex.locked_) return false;
            mutex.locked_ = true;
            return true;
        }
        void await_suspend(std::coroutine_handle<> waiting) { inner.await_suspend(waiting); }
        Guard await_resume() const { return Guard(mutex); }
    };

    void unlock() {
        // Handed over locked: nobody can slip in between the wake-up and the waiter's turn.
        if (waiters_.empty()) {
            locked_ = false;
        } else {
            waiters_.wake_one();
        }
    }

    bool locked_ = false;
    WaitQueue waiters_;
};

}  // namespace zbdkit
