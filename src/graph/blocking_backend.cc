// SPDX-License-Identifier: Apache-2.0
#include "graph/blocking_backend.h"

#include <algorithm>

#include "base/iovec.h"
#include "graph/zone_range.h"

namespace zbdkit {

Result<void> BlockingBackend::read(std::uint64_t offset, MutableBytes bytes) {
    const iovec segment = segment_of(bytes);
    Request request = read_request({offset, bytes.size()}, IoSegments(&segment, 1));
    return submit(request);
}

Result<void> BlockingBackend::write(std::uint64_t offset, ConstBytes bytes, bool fua) {
    const iovec segment = segment_of(bytes);
    Request request = write_request({offset, bytes.size()}, IoSegments(&segment, 1), fua);
    return submit(request);
}

Result<std::uint64_t> BlockingBackend::append(std::uint64_t zone_start, ConstBytes bytes,
                                              bool fua) {
    const iovec segment = segment_of(bytes);
    Request request = append_request(zone_start, IoSegments(&segment, 1), fua);
    const Result<void> appended = submit(request);
    if (!appended) return std::unexpected(appended.error());
    return request.append_offset;
}

Result<void> BlockingBackend::write_zeroes(ByteRange range) {
    Request request = range_request(Op::write_zeroes, range);
    return submit(request);
}

Result<void> BlockingBackend::discard(ByteRange range) {
    Request request = range_request(Op::discard, range);
    return submit(request);
}

Result<void> BlockingBackend::flush() {
    Request request = flush_request();
    return submit(request);
}

Result<std::vector<ZoneDescriptor>> BlockingBackend::report(std::uint64_t offset,
                                                            std::size_t most) {
    std::vector<ZoneDescriptor> zones(std::min<std::size_t>(most, info().zones.zone_count()));
    Request request = report_request(offset, zones);
    const Result<void> reported = submit(request);
    if (!reported) return std::unexpected(reported.error());
    zones.resize(request.zones_reported);
    return zones;
}

Result<void> BlockingBackend::act(Op action, ByteRange zones) {
    return reactor_.run_to_end(act_on_zones(backend_, action, zones));
}

}  // namespace zbdkit
