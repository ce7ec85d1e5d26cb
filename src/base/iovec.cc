// SPDX-License-Identifier: Apache-2.0
#include "base/iovec.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"

namespace zbdkit {
namespace {

/// Calls visit(bytes) for each piece of `range` in order.
template <class Visit>
void for_each_piece(IoSegments segments, ByteRange range, Visit visit) {
    std::uint64_t skip = range.offset;
    std::uint64_t left = range.length;
    for (const iovec& segment : segments) {
        if (left == 0) return;
        if (skip >= segment.iov_len) {
            skip -= segment.iov_len;
            continue;
        }
        const std::uint64_t length = std::min<std::uint64_t>(segment.iov_len - skip, left);
        visit(MutableBytes(byte_pointer(segment.iov_base) + skip, length));
        skip = 0;
        left -= length;
    }
}

}  // namespace

std::uint64_t total_length(IoSegments segments) {
    std::uint64_t total = 0;
    for (const iovec& segment : segments) total += segment.iov_len;
    return total;
}

std::size_t copy_to(IoSegments segments, std::uint64_t skip, ConstBytes from) {
    std::size_t copied = 0;
    for_each_piece(segments, {skip, from.size()}, [&](MutableBytes piece) {
        std::memcpy(piece.data(), from.data() + copied, piece.size());
        copied += piece.size();
    });
    return copied;
}

std::size_t copy_from(IoSegments segments, std::uint64_t skip, MutableBytes to) {
    std::size_t copied = 0;
    for_each_piece(segments, {skip, to.size()}, [&](MutableBytes piece) {
        std::memcpy(to.data() + copied, piece.data(), piece.size());
        copied += piece.size();
    });
    return copied;
}

void fill(IoSegments segments, ByteRange range, std::byte value) {
    for_each_piece(segments, range, [&](MutableBytes piece) {
        std::memset(piece.data(), std::to_integer<int>(value), piece.size());
    });
}

IoVector slice(IoSegments segments, ByteRange range) {
    IoVector part;
    for_each_piece(segments, range, [&](MutableBytes piece) { part.push_back(segment_of(piece)); });
    ZBDKIT_ASSERT(total_length(part) == range.length);
    return part;
}

}  // namespace zbdkit
