// SPDX-License-Identifier: Apache-2.0
#include "io/scope.h"

#include <cstdlib>
#include <utility>

namespace zbdkit {

/// A coroutine that nobody awaits: it starts at once and destroys itself at its end.
struct TaskScope::Runner {
    struct promise_type {
        static void* operator new(std::size_t size) { return allocate_frame(size); }
        static void operator delete(void* frame, std::size_t size) noexcept {
            free_frame(frame, size);
        }
        Runner get_return_object() const noexcept { return {}; }
        std::suspend_never initial_suspend() const noexcept { return {}; }
        std::suspend_never final_suspend() const noexcept { return {}; }
        void return_void() const noexcept {}
        [[noreturn]] void unhandled_exception() const noexcept { std::abort(); }
    };
};

TaskScope::Runner TaskScope::wait_for_rest(TaskScope& scope, Task<void> task) {
    co_await std::move(task).rest();
    scope.task_ended();
}

void TaskScope::spawn(Task<void> task) {
    ++running_;
    if (!task.start()) {
        wait_for_rest(*this, std::move(task));
        return;
    }
    task = {};  // its frame goes before anybody hears that it has ended
    task_ended();
}

void TaskScope::task_ended() {
    --running_;
    // The joiner may destroy the scope, so it runs in a later turn, when no frame of this scope's
    // tasks is on the stack.
    if (running_ == 0 && joiner_) schedule(std::exchange(joiner_, {}));
}

}  // namespace zbdkit
