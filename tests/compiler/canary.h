// SPDX-License-Identifier: Apache-2.0
// What the compiler canaries share. A canary is a coroutine of a form that some compiler translated
// wrongly once (docs/style.md, "Compilers"): H canaries are forms that the rules forbid, R canaries
// the forms that the rules prescribe instead. A compiler that fails one is not fit to build zbdkit.
#pragma once

#include <coroutine>
#include <optional>
#include <utility>

#include "io/run_queue.h"
#include "io/scope.h"
#include "io/task.h"

namespace zbdkit::canary {

/// Counts its instances: above 0 at the end is a leak, below 0 a second destruction.
class Tracked {
  public:
    explicit Tracked(int value) : value_(value) { ++alive; }
    Tracked(const Tracked& other) : value_(other.value_) { ++alive; }
    Tracked(Tracked&& other) noexcept : value_(std::exchange(other.value_, 0)) { ++alive; }
    Tracked& operator=(const Tracked&) = default;
    Tracked& operator=(Tracked&&) = default;
    ~Tracked() {
        value_ = -1;
        --alive;
    }
    [[nodiscard]] int value() const { return value_; }

    static inline int alive = 0;

  private:
    int value_;
};

/// Suspends for a turn, so that a coroutine comes back on another stack.
struct Later {
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting) const { schedule(waiting); }
    void await_resume() const noexcept {}
};

inline Task<bool> truth(bool value) {
    co_await Later();
    co_return value;
}
inline Task<int> number(int value) {
    co_await Later();
    co_return value;
}
inline Task<Tracked> tracked(int value) {
    co_await Later();
    co_return Tracked(value);
}

/// Runs a task to its end without a reactor.
template <class T>
T run(Task<T> task) {
    constexpr auto keep = [](Task<T> inner, std::optional<T>* slot) -> Task<void> {
        T value = co_await std::move(inner);
        slot->emplace(std::move(value));
    };
    std::optional<T> result;
    TaskScope scope;
    scope.spawn(keep(std::move(task), &result));
    while (scope.running() != 0) run_scheduled();
    return std::move(*result);
}

}  // namespace zbdkit::canary
