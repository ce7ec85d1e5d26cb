// SPDX-License-Identifier: Apache-2.0
#include "app/io_buffer.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/assert.h"

namespace zbdkit::app {
namespace {

/// As qemu-io -m does: aligned to nothing that O_DIRECT accepts.
constexpr std::size_t kMisalignment = 16;

}  // namespace

IoBuffer::IoBuffer(std::span<const std::uint64_t> lengths, bool misaligned)
    : skipped_(misaligned ? kMisalignment : 0),
      memory_(skipped_ + std::accumulate(lengths.begin(), lengths.end(), std::uint64_t{0})) {
    std::uint64_t offset = 0;
    for (const std::uint64_t length : lengths) {
        if (length != 0) pieces_.push_back(segment_of(bytes().subspan(offset, length)));
        offset += length;
    }
}

void IoBuffer::fill(std::byte value) { std::ranges::fill(bytes(), value); }

void IoBuffer::fill_with(ConstBytes content) {
    ZBDKIT_ASSERT(!content.empty());
    for (MutableBytes rest = bytes(); !rest.empty();) {
        const std::size_t length = std::min(rest.size(), content.size());
        std::memcpy(rest.data(), content.data(), length);
        rest = rest.subspan(length);
    }
}

bool IoBuffer::holds(std::byte value, ByteRange part) {
    const MutableBytes range = bytes().subspan(part.offset, part.length);
    return std::ranges::all_of(range, [value](std::byte byte) { return byte == value; });
}

}  // namespace zbdkit::app
