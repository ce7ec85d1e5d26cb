// SPDX-License-Identifier: Apache-2.0
// How other threads end an engine's wait. A wake-up before, during or after the decision to wait
// is never lost, and it costs a system call only if the owner sleeps: the waker raises a flag and
// then looks whether the owner waits; the owner announces that it waits and then looks at the
// flag. One of the two always sees the other.
#pragma once

#include <atomic>
#include <utility>

#include "base/unique_fd.h"

namespace zbdkit {

class WakeSignal {
  public:
    /// @param event  an eventfd, non-blocking, whose readability ends the owner's sleep
    explicit WakeSignal(UniqueFd event) : event_(std::move(event)) {}

    /// Thread: any, and signal handlers.   Waits: never.
    void raise();

    /// Announces a wait. After false the owner must not sleep: somebody raised the signal.
    /// Thread: owner.
    [[nodiscard]] bool begin_wait();
    /// Ends what begin_wait() announced, and takes the signal down. What its raisers did before
    /// is visible to the owner now. Thread: owner.
    void end_wait();

    /// Makes the eventfd unreadable again. Thread: owner.
    void drain();

    [[nodiscard]] int fd() const { return event_.get(); }

  private:
    UniqueFd event_;
    std::atomic<bool> raised_{false};
    std::atomic<bool> waiting_{false};
};

}  // namespace zbdkit
