// SPDX-License-Identifier: Apache-2.0
#include "io/run_queue.h"

#include <utility>
#include <vector>

#include "base/assert.h"

namespace zbdkit {
namespace {

thread_local std::coroutine_handle<> next_handle;
thread_local std::vector<std::coroutine_handle<>> ready;
thread_local std::vector<std::coroutine_handle<>> turn;

}  // namespace

void run_chain(std::coroutine_handle<> handle) {
    // A chain may be started from inside another one (a test that drives a scope from a
    // coroutine); the outer chain's next handle is kept for it.
    const std::coroutine_handle<> outer = std::exchange(next_handle, {});
    while (handle) {
        handle.resume();
        handle = std::exchange(next_handle, {});
    }
    next_handle = outer;
}

void set_next(std::coroutine_handle<> handle) {
    ZBDKIT_ASSERT(!next_handle);
    next_handle = handle;
}

void schedule(std::coroutine_handle<> handle) { ready.push_back(handle); }

std::size_t run_scheduled() {
    if (ready.empty()) return 0;
    // Nested calls would resume handles of the outer turn twice.
    ZBDKIT_ASSERT(turn.empty());
    turn.swap(ready);
    for (const std::coroutine_handle<> handle : turn) run_chain(handle);
    const std::size_t count = turn.size();
    turn.clear();
    return count;
}

bool has_scheduled() { return !ready.empty(); }

}  // namespace zbdkit
