// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/direct_user.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "base/iovec.h"
#include "virtio/blk_status.h"

namespace zbdkit::sim {
namespace {

Request to_request(const GuestRequest& asked, IoSegments segments, bool fua) {
    const ByteRange range = {asked.offset, total_length(segments)};
    if (asked.type == BlkRequestType::in) return read_request(range, segments);
    if (asked.type == BlkRequestType::out) return write_request(range, segments, fua);
    ZBDKIT_ASSERT(asked.type == BlkRequestType::zone_append);
    return append_request(asked.offset, segments, fua);
}

}  // namespace

Task<GuestAnswer> DirectUser::submit(const GuestRequest& asked, bool fua) {
    GuestAnswer answer;
    answer.reply.resize(asked.reply_length);
    std::vector<std::byte> data = asked.data;
    const bool is_read = asked.type == BlkRequestType::in;
    const iovec segment = segment_of(MutableBytes(is_read ? answer.reply : data));
    Request request = to_request(asked, IoSegments(&segment, 1), fua);
    const Result<void> done = co_await backend_.submit(request);
    answer.status = done ? BlkStatus::ok : blk_status_of(done.error().code, true);
    if (done && asked.type == BlkRequestType::zone_append) {
        const std::uint64_t sector = request.append_offset / kSectorSize;
        std::memcpy(answer.reply.data(), &sector, sizeof sector);
    }
    co_return answer;
}

}  // namespace zbdkit::sim
