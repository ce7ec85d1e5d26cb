// SPDX-License-Identifier: Apache-2.0
// Alarm: a sleep that can be cut short, for waits that have a limit: of what it watches the end
// comes first nearly always, and nobody sits out the rest. One coroutine sleeps at a time. One
// reactor.
#pragma once

#include <coroutine>
#include <cstdint>
#include <utility>

#include "io/reactor.h"

namespace zbdkit {

class Alarm {
  public:
    explicit Alarm(Reactor& reactor) : reactor_(reactor) {}
    Alarm(const Alarm&) = delete;
    Alarm& operator=(const Alarm&) = delete;
    ~Alarm();

    struct Awaiter {
        Alarm& alarm;
        std::uint64_t due_ns;
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> waiting) const;
        /// @return true if the time has come, false if the sleep was cut short
        bool await_resume() const noexcept {
            alarm.sleeper_ = {};
            return !std::exchange(alarm.was_cut_, false);
        }
    };
    /// Sleeps until `due_ns` of the engine's clock, or until cut().
    [[nodiscard]] Awaiter until(std::uint64_t due_ns) { return Awaiter{*this, due_ns}; }
    /// Ends a present sleep. Whoever slept goes on in a later turn. Does nothing if nobody sleeps.
    void cut();

  private:
    Reactor& reactor_;
    std::coroutine_handle<> sleeper_;
    bool was_cut_ = false;
};

}  // namespace zbdkit
