// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/transfer.h"

#include <algorithm>
#include <bit>
#include <cstdint>

#include "base/buffer.h"
#include "io/file_io.h"

namespace zbdkit {
namespace {

/// O_DIRECT wants aligned memory and segment lengths; a guest's are what they are.
bool is_aligned_for(const NodeInfo& node, IoSegments segments) {
    const std::uint32_t alignment = node.memory_alignment;
    return alignment <= 1 || std::ranges::all_of(segments, [&](const iovec& segment) {
               const auto address = std::bit_cast<std::uintptr_t>(segment.iov_base);
               return is_aligned(address, alignment) &&
                      is_aligned(segment.iov_len, node.block_size);
           });
}

Task<Result<void>> transfer_segments(Reactor& reactor, int fd, const Request& request,
                                     IoSegments segments, AtOnce* at_once) {
    if (request.op == Op::read) {
        return read_exactly(reactor, fd, request.range.offset, segments, at_once);
    }
    return write_exactly(reactor, fd, request.range.offset, segments, at_once);
}

Task<Result<void>> transfer_bounced(Reactor& reactor, int fd, const Request& request) {
    AlignedBuffer buffer(request.range.length);
    const iovec segment = segment_of(buffer.bytes());
    const IoSegments segments(&segment, 1);
    if (request.op == Op::write) copy_from(request.segments, 0, buffer.bytes());
    co_await ok(transfer_segments(reactor, fd, request, segments, nullptr));
    if (request.op == Op::read) copy_to(request.segments, 0, buffer.bytes());
    co_return Result<void>{};
}

}  // namespace

Task<Result<void>> transfer(Reactor& reactor, int fd, const NodeInfo& node, const Request& request,
                            AtOnce* at_once) {
    return is_aligned_for(node, request.segments)
               ? transfer_segments(reactor, fd, request, request.segments, at_once)
               : transfer_bounced(reactor, fd, request);
}

}  // namespace zbdkit
