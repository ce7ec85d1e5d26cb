// SPDX-License-Identifier: Apache-2.0
// The bytes of a fuzzer as a sequence of values, taken off the front. Used up, it goes on with
// zeroes, so that every input means something and a shorter one is a simpler one.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/bytes.h"

namespace zbdkit::test {

class FuzzInput {
  public:
    explicit FuzzInput(ConstBytes bytes) : left_(bytes) {}

    /// @return a little-endian number
    template <class T>
    T take() {
        std::array<std::byte, sizeof(T)> value{};
        std::ranges::copy(take_bytes(value.size()), value.begin());
        return load_le<T>(value.data());
    }
    std::uint8_t byte() { return take<std::uint8_t>(); }

    /// @return `length` bytes, or those that are left
    ConstBytes take_bytes(std::size_t length) {
        const ConstBytes taken = left_.first(std::min(length, left_.size()));
        left_ = left_.subspan(taken.size());
        return taken;
    }
    ConstBytes take_all() { return take_bytes(left_.size()); }

    [[nodiscard]] bool is_empty() const { return left_.empty(); }

  private:
    ConstBytes left_;
};

/// The characters that the bytes are.
[[nodiscard]] inline std::string_view text_of(ConstBytes bytes) {
    const void* const first = bytes.data();
    return {static_cast<const char*>(first), bytes.size()};
}

}  // namespace zbdkit::test
