// SPDX-License-Identifier: Apache-2.0
#include "app/zone_source.h"

#include "graph/graph.h"

namespace zbdkit::app {
namespace {

void count(ZoneSummary& summary, const ZoneDescriptor& zone) {
    if (zone.type == ZoneType::conventional) {
        ++summary.conventional;
        return;
    }
    summary.sequential_capacity += zone.capacity;
    switch (zone.state) {
        case ZoneState::not_write_pointer: break;
        case ZoneState::empty: ++summary.empty; break;
        case ZoneState::implicit_open: ++summary.implicit_open; break;
        case ZoneState::explicit_open: ++summary.explicit_open; break;
        case ZoneState::closed: ++summary.closed; break;
        case ZoneState::full:
            ++summary.full;
            summary.sequential_bytes += zone.capacity;
            return;
        case ZoneState::read_only: ++summary.read_only; return;
        case ZoneState::offline: ++summary.offline; return;
    }
    summary.sequential_bytes += zone.write_pointer - zone.start;
}

}  // namespace

Result<std::vector<ZoneDescriptor>> ZoneSource::report(std::uint64_t offset) {
    std::vector<ZoneDescriptor> zones(kMostAtOnce);
    Request request = report_request(offset, zones);
    const Result<void> reported = workshop_.run(node_->submit(request));
    if (!reported) return std::unexpected(reported.error());
    zones.resize(request.zones_reported);
    return zones;
}

ZoneSource::~ZoneSource() { workshop_.run(close_left_behind(std::move(node_))); }

Outcome<void> ZoneSource::close() {
    const std::unique_ptr<BlockNode> node = std::move(node_);
    return workshop_.run(node->close());
}

Result<ZoneSummary> summarize(ZoneSource& source) {
    ZoneSummary summary;
    std::uint64_t offset = 0;
    while (offset < source.geometry().device_size) {
        const Result<std::vector<ZoneDescriptor>> zones = source.report(offset);
        if (!zones) return std::unexpected(zones.error());
        if (zones->empty()) break;
        for (const ZoneDescriptor& zone : *zones) count(summary, zone);
        const std::uint64_t next = zones->back().start + zones->back().length;
        if (next <= offset) return fail(Errc::corrupt, "a zone report does not advance");
        offset = next;
    }
    return summary;
}

}  // namespace zbdkit::app
