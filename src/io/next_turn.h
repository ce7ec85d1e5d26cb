// SPDX-License-Identifier: Apache-2.0
// `co_await NextTurn();` lets the rest of the reactor have its turn.
#pragma once

#include <coroutine>

#include "io/run_queue.h"

namespace zbdkit {

struct NextTurn {
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting) const { schedule(waiting); }
    void await_resume() const noexcept {}
};

}  // namespace zbdkit
