// SPDX-License-Identifier: Apache-2.0
// Zeroed memory with an alignment that O_DIRECT accepts.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

#include "base/bytes.h"

namespace zbdkit {

inline constexpr std::size_t kDirectAlignment = 4096;

class AlignedBuffer {
  public:
    AlignedBuffer() = default;
    /// @param size  bytes; rounded up to kDirectAlignment for the allocation only
    explicit AlignedBuffer(std::size_t size);

    [[nodiscard]] MutableBytes bytes() { return {memory_.get(), size_}; }
    [[nodiscard]] ConstBytes bytes() const { return {memory_.get(), size_}; }
    [[nodiscard]] std::byte* data() { return memory_.get(); }
    [[nodiscard]] std::size_t size() const { return size_; }

  private:
    struct Free {
        void operator()(std::byte* memory) const { std::free(memory); }
    };
    std::unique_ptr<std::byte, Free> memory_;
    std::size_t size_ = 0;
};

}  // namespace zbdkit
