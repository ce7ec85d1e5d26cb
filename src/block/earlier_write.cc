// SPDX-License-Identifier: Apache-2.0
#include "block/earlier_write.h"

#include <algorithm>

namespace zbdkit {
namespace {

/// Whether the data of `request` can be at `place`.
bool is_at_place(const Request& request, ByteRange place, const ZoneGeometry& zones) {
    if (!place.is_sane() || place.end() > zones.device_size) return false;
    if (request.op == Op::write) return request.range.offset == place.offset;
    if (request.op != Op::append) return false;
    const std::uint64_t start = request.range.offset;
    return place.offset >= start && place.end() <= start + zones.length_of(zones.zone_of(start));
}

/// Up to where a zone certainly has what was written to it.
std::uint64_t data_end(const ZoneDescriptor& zone) {
    switch (zone.state) {
        case ZoneState::implicit_open:
        case ZoneState::explicit_open:
        case ZoneState::closed: return zone.write_pointer;
        case ZoneState::full: return zone.start + zone.length;
        case ZoneState::empty:
        case ZoneState::not_write_pointer:
        case ZoneState::read_only:
        case ZoneState::offline: break;
    }
    return zone.start;
}

}  // namespace

EarlierWrite judge(const WriteSlot& recorded, const ZoneDescriptor& zone) {
    if (recorded.place == 0) return {};
    const std::uint64_t offset = recorded.place - 1;
    if (recorded.length == 0) return {.offset = offset, .landed = EarlierWrite::kAll};
    const std::uint64_t end = data_end(zone);
    if (end <= offset) return {};
    const std::uint64_t passed = end - offset;
    return {.offset = offset, .landed = passed < recorded.length ? passed : EarlierWrite::kAll};
}

std::uint64_t bytes_done(const EarlierWrite& earlier, const Request& request,
                         const ZoneGeometry& zones) {
    const ByteRange place{earlier.offset, request.range.length};
    if (earlier.landed == 0 || !zones.is_zoned() || !is_at_place(request, place, zones)) return 0;
    return std::min(earlier.landed, request.range.length);
}

}  // namespace zbdkit
