// SPDX-License-Identifier: Apache-2.0
// The eventfds that a front end hands over: checked once, then read and written without ever
// blocking, whatever the front end does with its end.
#pragma once

#include "base/error.h"
#include "base/unique_fd.h"

namespace zbdkit::vhost_user {

/// Takes a descriptor that must be an eventfd, and makes it non-blocking (for all who share it; a
/// blocking one would let a front end that fills its counter stop the reactor).
/// Errors: it is something else.
[[nodiscard]] Outcome<UniqueFd> take_event_fd(UniqueFd fd);

/// Adds one to the counter. Does nothing if there is no descriptor or the counter is full: then a
/// signal is pending anyway.
void signal_event(const UniqueFd& fd);

/// Sets the counter to zero. @return false if it was zero: nobody signalled. EAGAIN is nothing
/// but that; QEMU 11's export once gave up a ring over it.
bool clear_event(const UniqueFd& fd);

}  // namespace zbdkit::vhost_user
