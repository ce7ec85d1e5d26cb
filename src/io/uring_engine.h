// SPDX-License-Identifier: Apache-2.0
// The IoEngine of production: one io_uring. It may be made on any thread; the thread of the first
// poll() owns it from then on and is the only one that may submit, cancel and poll. It never has
// more operations in the kernel than the completion queue can hold, so no completion is ever lost
// or delayed by an overflow; what is over that waits in submission order.
#pragma once

#include <memory>

#include "base/error.h"
#include "io/engine.h"

namespace zbdkit {

/// Makes an engine over a new io_uring.
/// @param queue_depth  operations handed to the kernel in one system call, 1 to 4096; eight
///                     times as many can be in flight. 2 at least for commands that clear a word
/// Errors: the host has no io_uring, forbids it, or lacks memory; the message says which.
/// Thread: any.
[[nodiscard]] Outcome<std::unique_ptr<IoEngine>> make_uring_engine(unsigned queue_depth = 256);

}  // namespace zbdkit
