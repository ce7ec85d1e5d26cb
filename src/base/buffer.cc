// SPDX-License-Identifier: Apache-2.0
#include "base/buffer.h"

#include <cstring>

#include "base/assert.h"
#include "base/units.h"

namespace zbdkit {

AlignedBuffer::AlignedBuffer(std::size_t size) : size_(size) {
    const std::size_t rounded = round_up(size == 0 ? 1 : size, kDirectAlignment);
    memory_.reset(byte_pointer(std::aligned_alloc(kDirectAlignment, rounded)));
    ZBDKIT_ASSERT(memory_ != nullptr);
    std::memset(memory_.get(), 0, rounded);
}

}  // namespace zbdkit
