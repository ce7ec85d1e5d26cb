// SPDX-License-Identifier: Apache-2.0
#include "virtio/blk_report.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/units.h"

namespace zbdkit {
namespace {

/// Writes bytes one after another into scattered segments.
class SegmentWriter {
  public:
    explicit SegmentWriter(IoSegments segments) : segments_(segments) {}

    /// @param bytes  what is left must have room for them
    void write(ConstBytes bytes) {
        while (!bytes.empty()) {
            ZBDKIT_ASSERT(!segments_.empty());
            const iovec& segment = segments_.front();
            const std::size_t count = std::min(segment.iov_len - position_, bytes.size());
            if (count != 0) {
                std::memcpy(byte_pointer(segment.iov_base) + position_, bytes.data(), count);
            }
            bytes = bytes.subspan(count);
            position_ += count;
            if (position_ == segment.iov_len) {
                segments_ = segments_.subspan(1);
                position_ = 0;
            }
        }
    }

  private:
    IoSegments segments_;       // from the one that is being filled on
    std::size_t position_ = 0;  // in the first of them
};

}  // namespace

BlkZoneDescriptor to_wire(const ZoneDescriptor& zone) {
    BlkZoneDescriptor wire{};
    wire.capacity = zone.capacity / kSectorSize;
    wire.start = zone.start / kSectorSize;
    wire.write_pointer = reported_write_pointer(zone) / kSectorSize;
    wire.type = static_cast<std::uint8_t>(zone.type);
    wire.state = static_cast<std::uint8_t>(zone.state);
    return wire;
}

Task<Result<void>> write_zone_report(BlockBackend& backend, std::uint64_t offset,
                                     IoSegments segments) {
    const std::uint64_t fitting =
        (total_length(segments) - sizeof(BlkReportHeader)) / sizeof(BlkZoneDescriptor);
    std::uint64_t left = std::min<std::uint64_t>(fitting, kMaxReportedZones);
    BlkReportHeader header{};
    SegmentWriter writer(segments);
    writer.write(bytes_of(header));

    std::array<ZoneDescriptor, kReportBatch> batch;
    std::uint64_t count = 0;
    while (left != 0 && offset < backend.info().size) {
        const std::size_t wanted = std::min<std::uint64_t>(left, batch.size());
        Request request = report_request(offset, std::span(batch).first(wanted));
        co_await ok(backend.submit(request));
        ZBDKIT_ASSERT(request.zones_reported <= wanted);
        const auto zones = std::span<const ZoneDescriptor>(batch).first(request.zones_reported);
        if (zones.empty()) break;
        for (const ZoneDescriptor& zone : zones) writer.write(bytes_of(to_wire(zone)));
        ZBDKIT_ASSERT(zones.back().start + zones.back().length > offset);
        offset = zones.back().start + zones.back().length;
        left -= zones.size();
        count += zones.size();
    }
    // Only now is known how many there are.
    header.zone_count = count;
    copy_to(segments, 0, bytes_of(header));
    co_return Result<void>{};
}

}  // namespace zbdkit
