// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/host_zone_mirror.h"

#include "base/assert.h"

namespace zbdkit {

HostZoneMirror::HostZoneMirror(const ZoneGeometry& geometry)
    : geometry_(geometry), zones_(geometry.zone_count()) {}

const HostZoneMirror::Zone& HostZoneMirror::at(ZoneIndex zone) const {
    ZBDKIT_ASSERT(to_number(zone) < zones_.size());
    return zones_[to_number(zone)];
}

Result<ZoneIndex> HostZoneMirror::index_of(const ZoneDescriptor& zone) const {
    if (zone.start >= geometry_.device_size) {
        return fail(Errc::corrupt, "a reported zone lies beyond the end of the device");
    }
    const ZoneIndex index = geometry_.zone_of(zone.start);
    if (zone.start == geometry_.start_of(index) && zone.length == geometry_.length_of(index)) {
        return index;
    }
    return fail(Errc::corrupt, "a reported zone is not where the zone size has one");
}

Result<void> HostZoneMirror::load(const ZoneDescriptor& zone) {
    const Result<ZoneIndex> index = index_of(zone);
    if (!index) return std::unexpected(index.error());
    zones_[to_number(*index)] = {.pointer = zone.write_pointer - zone.start,
                                 .capacity = zone.capacity,
                                 .changed = ++changes_,
                                 .type = zone.type,
                                 .state = zone.state};
    return {};
}

bool HostZoneMirror::is_unchanged_since(ZoneIndex zone, Moment moment) const {
    return at(zone).changed <= static_cast<std::uint64_t>(moment);
}

void HostZoneMirror::wrote(ZoneIndex index, std::uint64_t end) {
    ZBDKIT_ASSERT(to_number(index) < zones_.size());
    Zone& zone = zones_[to_number(index)];
    zone.pointer = end;
    zone.changed = ++changes_;
    if (end >= zone.capacity) {
        zone.state = ZoneState::full;
    } else if (zone.state != ZoneState::explicit_open) {
        zone.state = ZoneState::implicit_open;
    }
}

ZoneType HostZoneMirror::type(ZoneIndex zone) const { return at(zone).type; }

ZoneWriteTarget HostZoneMirror::target(ZoneIndex index) const {
    const Zone& zone = at(index);
    return {.type = zone.type,
            .state = zone.state,
            .pointer = zone.pointer,
            .length = geometry_.length_of(index),
            .capacity = zone.capacity,
            .max_append = geometry_.max_append_bytes,
            .granularity = geometry_.write_granularity};
}

ZoneRecord HostZoneMirror::record(ZoneIndex zone) const {
    return {.state = at(zone).state, .data_end = at(zone).pointer};
}

Result<void> HostZoneMirror::check_borders(ByteRange range) const {
    ZBDKIT_ASSERT(range.length != 0);
    const std::uint32_t first = to_number(geometry_.zone_of(range.offset));
    const std::uint32_t last = to_number(geometry_.zone_of(range.end() - 1));
    if (first == last) return {};
    for (std::uint32_t zone = first; zone <= last; ++zone) {
        if (type(ZoneIndex(zone)) == ZoneType::sequential_required) {
            return fail(Errc::zone_invalid, "the range crosses the border of a sequential zone");
        }
    }
    return {};
}

}  // namespace zbdkit
