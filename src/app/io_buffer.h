// SPDX-License-Identifier: Apache-2.0
// Memory for the data of one command of `zbdkit io`, in one or several pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/iovec.h"

namespace zbdkit::app {

/// What is written where no pattern is given.
inline constexpr std::byte kIoPattern{0xcd};
/// What memory holds before it is read into.
inline constexpr std::byte kIoUnread{0xab};

class IoBuffer {
  public:
    /// Zeroes.
    /// @param lengths    bytes of each piece
    /// @param misaligned  at an address that O_DIRECT does not accept
    IoBuffer(std::span<const std::uint64_t> lengths, bool misaligned);
    IoBuffer(std::uint64_t length, bool misaligned)
        : IoBuffer(std::span<const std::uint64_t>(&length, 1), misaligned) {}
    // The pieces point into the memory, which moves along.
    IoBuffer(IoBuffer&&) = default;
    IoBuffer& operator=(IoBuffer&&) = default;

    [[nodiscard]] MutableBytes bytes() { return memory_.bytes().subspan(skipped_); }
    [[nodiscard]] IoSegments segments() const { return pieces_; }

    void fill(std::byte value);
    /// Fills it with `content`, over and over.
    /// @param content  not empty
    void fill_with(ConstBytes content);
    /// Whether all bytes of a part are `value`.
    /// @param part  within the buffer
    [[nodiscard]] bool holds(std::byte value, ByteRange part);

  private:
    std::size_t skipped_;
    AlignedBuffer memory_;
    std::vector<iovec> pieces_;
};

}  // namespace zbdkit::app
