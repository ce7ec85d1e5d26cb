// SPDX-License-Identifier: Apache-2.0
// TaskScope: the owner of coroutines that run side by side. Nothing in zbdkit is detached: what is
// spawned belongs to a scope, and the scope is joined before it dies. One thread.
#pragma once

#include <coroutine>
#include <cstddef>

#include "base/assert.h"
#include "io/task.h"

namespace zbdkit {

class TaskScope {
  public:
    TaskScope() = default;
    TaskScope(const TaskScope&) = delete;
    TaskScope& operator=(const TaskScope&) = delete;
    ~TaskScope() { ZBDKIT_ASSERT(running_ == 0); }

    /// Starts the task now, before this call returns, up to its first suspension.
    void spawn(Task<void> task);

    /// Waits until every task spawned so far and meanwhile has ended. One joiner at a time.
    [[nodiscard]] auto join() { return Joiner{*this}; }

    [[nodiscard]] std::size_t running() const { return running_; }

  private:
    struct Joiner {
        TaskScope& scope;
        bool await_ready() const noexcept { return scope.running_ == 0; }
        void await_suspend(std::coroutine_handle<> waiting) const noexcept {
            ZBDKIT_ASSERT(!scope.joiner_);
            scope.joiner_ = waiting;
        }
        void await_resume() const noexcept {}
    };
    struct Runner;
    static Runner wait_for_rest(TaskScope& scope, Task<void> task);
    void task_ended();

    std::size_t running_ = 0;
    std::coroutine_handle<> joiner_;
};

}  // namespace zbdkit
