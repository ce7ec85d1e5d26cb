// SPDX-License-Identifier: Apache-2.0
// Memory for coroutine frames: per-thread free lists by size, so that a request in steady state
// allocates nothing. A frame must be freed on the thread that allocated it.
#pragma once

#include <cstddef>

namespace zbdkit {

[[nodiscard]] void* allocate_frame(std::size_t size);
void free_frame(void* frame, std::size_t size) noexcept;

}  // namespace zbdkit
