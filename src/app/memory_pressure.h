// SPDX-License-Identifier: Apache-2.0
// What keeps a server of a local disk from waiting for itself: when the kernel is short of memory
// it writes dirty pages to that disk, and the server must then get by without new memory that
// would have to be freed first. docs/ublk.md says how the parts play together.
#pragma once

#include "base/error.h"

namespace zbdkit::app {

/// Locks the process's memory, and tells the kernel that all threads from now on serve storage
/// (PR_SET_IO_FLUSHER: their allocations start no I/O, and they are not throttled for what they
/// write). To be called before other threads are started.
/// Errors: what is not permitted; what could be done has been done.
[[nodiscard]] Outcome<void> prepare_for_memory_pressure();

}  // namespace zbdkit::app
