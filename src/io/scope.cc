// SPDX-License-Identifier: Apache-2.0
#include "io/scope.h"

#include <cstdlib>
#include <utility>

namespace zbdkit {

/// A coroutine that nobody awaits: it destroys itself at its end.
struct TaskScope::Runner {
    struct promise_type {
        static void* operator new(std::size_t size) { return allocate_frame(size); }
        static void operator delete(void* frame, std::size_t size) noexcept {
            free_frame(frame, size);
        }
        Runner get_return_object() {
            return {std::coroutine_handle<promise_type>::from_promise(*this)};
        }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        std::suspend_never final_suspend() const noexcept { return {}; }
        void return_void() const noexcept {}
        [[noreturn]] void unhandled_exception() const noexcept { std::abort(); }
    };
    std::coroutine_handle<promise_type> handle;
};

TaskScope::Runner TaskScope::run(TaskScope& scope, Task<void> task) {
    co_await std::move(task);
    scope.task_ended();
}

void TaskScope::spawn(Task<void> task) {
    ++running_;
    run_chain(run(*this, std::move(task)).handle);
}

void TaskScope::task_ended() {
    --running_;
    // The joiner may destroy the scope, so it runs in a later turn, when no frame of this scope's
    // tasks is on the stack.
    if (running_ == 0 && joiner_) schedule(std::exchange(joiner_, {}));
}

}  // namespace zbdkit
