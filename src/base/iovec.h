// SPDX-License-Identifier: Apache-2.0
// Lists of memory segments: what a request's data lives in. Segments are views; whoever made the
// request keeps the memory alive until it completes.
#pragma once

#include <sys/uio.h>

#include <boost/container/small_vector.hpp>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "base/units.h"

namespace zbdkit {

using IoSegments = std::span<const iovec>;

/// A list of segments that a request owns; short lists need no allocation.
class IoVector : public boost::container::small_vector<iovec, 8> {
  public:
    using small_vector::small_vector;
    operator IoSegments() const { return {data(), size()}; }  // NOLINT: a list is its segments
};

[[nodiscard]] std::uint64_t total_length(IoSegments segments);

/// Copies from memory into the segments, from byte `skip` of the list on.
/// @return bytes copied: less than `from.size()` if the list ends first
std::size_t copy_to(IoSegments segments, std::uint64_t skip, ConstBytes from);

/// Copies out of the segments into memory, from byte `skip` of the list on.
/// @return bytes copied: less than `to.size()` if the list ends first
std::size_t copy_from(IoSegments segments, std::uint64_t skip, MutableBytes to);

/// Fills `range` of the list (byte positions within it) with one value.
void fill(IoSegments segments, ByteRange range, std::byte value);

/// The part of the list that `range` covers, as a list of its own.
/// @param range  must lie within the list
[[nodiscard]] IoVector slice(IoSegments segments, ByteRange range);

[[nodiscard]] inline iovec segment_of(MutableBytes bytes) { return {bytes.data(), bytes.size()}; }
/// For a write: iovec has no const form, and nobody writes through this one.
[[nodiscard]] inline iovec segment_of(ConstBytes bytes) {
    return {const_cast<std::byte*>(bytes.data()), bytes.size()};
}

}  // namespace zbdkit
