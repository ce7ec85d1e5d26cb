// SPDX-License-Identifier: Apache-2.0
#include "io/wake_signal.h"

#include <sys/eventfd.h>

#include <cerrno>

#include "base/assert.h"

namespace zbdkit {

// The accesses that decide are sequentially consistent: each side stores its own flag and then
// loads the other's, and both must not read the old value.

void WakeSignal::raise() {
    if (raised_.exchange(true)) return;  // whoever raised it first saw to the rest
    if (!waiting_.load()) return;        // the owner looks before it sleeps
    const int saved_errno = errno;       // a signal handler must not change it
    const int written = ::eventfd_write(event_.get(), 1);
    // The only failure is a full counter, and a full counter is readable.
    ZBDKIT_ASSERT(written == 0 || errno == EAGAIN);
    errno = saved_errno;
}

bool WakeSignal::begin_wait() {
    waiting_.store(true);
    return !raised_.load();
}

void WakeSignal::end_wait() {
    waiting_.store(false, std::memory_order_relaxed);  // seen late, it costs a spurious wake-up
    if (raised_.load()) raised_.exchange(false);
}

void WakeSignal::drain() {
    eventfd_t count = 0;
    const int drained = ::eventfd_read(event_.get(), &count);
    ZBDKIT_ASSERT(drained == 0 || errno == EAGAIN);
}

}  // namespace zbdkit
