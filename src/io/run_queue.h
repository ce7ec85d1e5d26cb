// SPDX-License-Identifier: Apache-2.0
// How coroutines that waited are resumed. A coroutine never resumes the one that awaits it: it
// leaves the handle with the trampoline (runs next, before control returns to the event loop) or in
// the thread's run queue (runs at the next turn). So the stack never grows with the number of
// awaits, with any compiler and at any optimisation level. One queue per thread; not for use across
// threads.
#pragma once

#include <coroutine>
#include <cstddef>

namespace zbdkit {

/// Resumes `handle` and then whatever it leaves as next, until nothing is left.
void run_chain(std::coroutine_handle<> handle);

/// Makes `handle` the next one that the running chain resumes. To be called only as the last act
/// of await_suspend on the running chain; at most one per suspension.
void set_next(std::coroutine_handle<> handle);

/// Resumes `handle` in a later turn of this thread's loop, in order of calls.
void schedule(std::coroutine_handle<> handle);

/// Runs what was scheduled before this call; what is scheduled meanwhile waits for the next call.
/// @return how many handles were resumed
std::size_t run_scheduled();

[[nodiscard]] bool has_scheduled();

}  // namespace zbdkit
