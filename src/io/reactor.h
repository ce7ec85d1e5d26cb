// SPDX-License-Identifier: Apache-2.0
// The event loop of one thread: runs coroutines, hands their I/O to the engine and their timers to
// the clock. Each graph of nodes belongs to one reactor. Other threads reach it through post().
#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "io/engine.h"
#include "io/scope.h"
#include "io/task.h"

namespace zbdkit {

class Alarm;

class Reactor {
  public:
    explicit Reactor(std::unique_ptr<IoEngine> engine);
    Reactor(const Reactor&) = delete;
    Reactor& operator=(const Reactor&) = delete;
    ~Reactor();

    /// Runs turns until stop(). Thread: the owner.
    void run();
    /// Makes run() return after its present turn, or a later run() return at once.
    /// Thread: any, and signal handlers.
    void stop();

    /// Runs turns until the task has ended. For tools and tests, never from a coroutine.
    template <class T>
    T run_to_end(Task<T> task);

    /// Runs `work` on the reactor's thread in a later turn, in the order of posts. The reactor
    /// must outlive the call, not only the work. Thread: any.
    void post(std::move_only_function<void()> work);

    [[nodiscard]] std::uint64_t now_ns() const { return engine_->now_ns(); }
    [[nodiscard]] IoEngine& engine() { return *engine_; }

    struct Sleep;
    /// Suspends for at least `duration_ns` of the engine's clock.
    [[nodiscard]] Sleep sleep_ns(std::uint64_t duration_ns);

    /// One turn: submissions and completions, posted work, ready coroutines, due timers.
    /// @param may_wait  whether the turn may wait for something to happen, if nothing is ready
    void turn(bool may_wait);

  private:
    struct Timer {
        std::uint64_t due_ns;
        std::uint64_t order;  // equal times fire in the order they were set
        std::coroutine_handle<> handle;
        bool operator>(const Timer& other) const {
            return std::pair(due_ns, order) > std::pair(other.due_ns, other.order);
        }
    };
    friend class Alarm;
    void add_timer(std::uint64_t due_ns, std::coroutine_handle<> handle);
    /// @param handle  that of a timer that is set
    void remove_timer(std::coroutine_handle<> handle);
    void run_posted();
    void run_due_timers();
    [[nodiscard]] std::uint64_t poll_deadline(bool may_wait) const;

    std::unique_ptr<IoEngine> engine_;
    std::vector<Timer> timers_;  // a heap, earliest first
    std::uint64_t timer_order_ = 0;
    std::atomic<bool> stop_{false};
    std::mutex posted_mutex_;
    std::vector<std::move_only_function<void()>> posted_;  // guarded by posted_mutex_
    std::atomic<bool> has_posted_{false};
};

struct Reactor::Sleep {
    Reactor& reactor;
    std::uint64_t due_ns;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting) const {
        reactor.add_timer(due_ns, waiting);
    }
    void await_resume() const noexcept {}
};

template <class T>
T Reactor::run_to_end(Task<T> task) {
    if constexpr (std::is_void_v<T>) {
        bool ended = false;
        TaskScope scope;
        constexpr auto drive = [](Task<void> inner, bool* flag) -> Task<void> {
            co_await std::move(inner);
            *flag = true;
        };
        scope.spawn(drive(std::move(task), &ended));
        while (!ended || scope.running() != 0) turn(true);
    } else {
        std::optional<T> result;
        TaskScope scope;
        constexpr auto drive = [](Task<T> inner, std::optional<T>* slot) -> Task<void> {
            T value = co_await std::move(inner);
            slot->emplace(std::move(value));
        };
        scope.spawn(drive(std::move(task), &result));
        while (!result || scope.running() != 0) turn(true);
        return std::move(*result);
    }
}

}  // namespace zbdkit
