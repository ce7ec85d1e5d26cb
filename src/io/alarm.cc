// SPDX-License-Identifier: Apache-2.0
#include "io/alarm.h"

#include "base/assert.h"
#include "io/run_queue.h"

namespace zbdkit {

Alarm::~Alarm() { ZBDKIT_ASSERT(!sleeper_); }

void Alarm::Awaiter::await_suspend(std::coroutine_handle<> waiting) const {
    ZBDKIT_ASSERT(!alarm.sleeper_);
    alarm.sleeper_ = waiting;
    alarm.reactor_.add_timer(due_ns, waiting);
}

void Alarm::cut() {
    if (!sleeper_ || was_cut_) return;
    reactor_.remove_timer(sleeper_);
    was_cut_ = true;
    schedule(sleeper_);
}

}  // namespace zbdkit
