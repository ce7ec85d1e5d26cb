// SPDX-License-Identifier: Apache-2.0
#include "zone/zone_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/assert.h"
#include "base/text.h"

namespace zbdkit {
namespace {

Result<ZoneRecord> after_open(const ZoneRecord& zone) {
    switch (zone.state) {
        case ZoneState::empty:
        case ZoneState::implicit_open:
        case ZoneState::explicit_open:
        case ZoneState::closed: return ZoneRecord{ZoneState::explicit_open, zone.data_end};
        case ZoneState::full: return fail(Errc::zone_invalid, "open of a full zone");
        case ZoneState::read_only: return fail(Errc::zone_invalid, "open of a read-only zone");
        case ZoneState::offline: return fail(Errc::zone_invalid, "open of an offline zone");
        case ZoneState::not_write_pointer: break;
    }
    return fail(Errc::zone_invalid, "open of a conventional zone");
}

Result<ZoneRecord> after_close(const ZoneRecord& zone) {
    switch (zone.state) {
        case ZoneState::implicit_open:
        case ZoneState::explicit_open:
            // Nothing to keep resources for: a zone without data is empty, not closed.
            if (zone.data_end == 0) return ZoneRecord{ZoneState::empty, 0};
            return ZoneRecord{ZoneState::closed, zone.data_end};
        case ZoneState::closed: return zone;
        case ZoneState::empty: return fail(Errc::zone_invalid, "close of an empty zone");
        case ZoneState::full: return fail(Errc::zone_invalid, "close of a full zone");
        case ZoneState::read_only: return fail(Errc::zone_invalid, "close of a read-only zone");
        case ZoneState::offline: return fail(Errc::zone_invalid, "close of an offline zone");
        case ZoneState::not_write_pointer: break;
    }
    return fail(Errc::zone_invalid, "close of a conventional zone");
}

Result<ZoneRecord> after_finish(const ZoneRecord& zone) {
    switch (zone.state) {
        case ZoneState::empty:
        case ZoneState::implicit_open:
        case ZoneState::explicit_open:
        case ZoneState::closed:
        // The data's end stays known: what lies behind it was never written.
        case ZoneState::full: return ZoneRecord{ZoneState::full, zone.data_end};
        case ZoneState::read_only: return fail(Errc::zone_invalid, "finish of a read-only zone");
        case ZoneState::offline: return fail(Errc::zone_invalid, "finish of an offline zone");
        case ZoneState::not_write_pointer: break;
    }
    return fail(Errc::zone_invalid, "finish of a conventional zone");
}

Result<ZoneRecord> after_reset(const ZoneRecord& zone) {
    switch (zone.state) {
        case ZoneState::empty:
        case ZoneState::implicit_open:
        case ZoneState::explicit_open:
        case ZoneState::closed:
        case ZoneState::full: return ZoneRecord{ZoneState::empty, 0};
        case ZoneState::read_only: return fail(Errc::zone_invalid, "reset of a read-only zone");
        case ZoneState::offline: return fail(Errc::zone_invalid, "reset of an offline zone");
        case ZoneState::not_write_pointer: break;
    }
    return fail(Errc::zone_invalid, "reset of a conventional zone");
}

Result<void> check_append(const ZoneWriteTarget& zone, std::uint64_t length) {
    if (zone.type != ZoneType::sequential_required) {
        return fail(Errc::zone_invalid, "append to a zone that is not sequential-write-required");
    }
    if (zone.max_append == 0) return fail(Errc::not_supported, "append is not supported");
    if (length > zone.max_append) {
        return fail(Errc::zone_invalid, "append is longer than max_append_bytes");
    }
    return {};
}

}  // namespace

bool takes_open(ZoneState state) {
    return state == ZoneState::implicit_open || state == ZoneState::explicit_open;
}

bool takes_active(ZoneState state) { return takes_open(state) || state == ZoneState::closed; }

bool is_worn_out(ZoneState state) {
    return state == ZoneState::read_only || state == ZoneState::offline;
}

Result<ZoneRecord> after_action(ZoneAction action, ZoneType type, const ZoneRecord& zone) {
    ZBDKIT_ASSERT((type == ZoneType::conventional) == (zone.state == ZoneState::not_write_pointer));
    switch (action) {
        case ZoneAction::open: return after_open(zone);
        case ZoneAction::close: return after_close(zone);
        case ZoneAction::finish: return after_finish(zone);
        case ZoneAction::reset: return after_reset(zone);
    }
    std::unreachable();
}

Result<std::uint64_t> place_write(const ZoneWriteTarget& zone, const ZoneWrite& write) {
    ZBDKIT_ASSERT(write.length != 0);
    if (zone.state == ZoneState::read_only) {
        return fail(Errc::zone_invalid, "write to a read-only zone");
    }
    if (zone.state == ZoneState::offline) {
        return fail(Errc::zone_invalid, "write to an offline zone");
    }
    // An append names the zone's start, so its form is that of a write there.
    const std::uint64_t named = write.at.value_or(0);
    if (named > zone.length || write.length > zone.length - named) {
        return fail(Errc::zone_invalid, "write crosses the border of its zone");
    }
    const bool is_append = !write.at.has_value();
    if (is_append) {
        if (const Result<void> allowed = check_append(zone, write.length); !allowed) {
            return std::unexpected(allowed.error());
        }
    }
    if (zone.type == ZoneType::conventional) return named;

    const bool is_ordered = zone.type == ZoneType::sequential_required;
    if (is_ordered && (zone.state == ZoneState::full || zone.pointer >= zone.capacity)) {
        return fail(Errc::zone_invalid, "write to a full zone");
    }
    const std::uint64_t place = is_append ? zone.pointer : named;
    if (place > zone.capacity || write.length > zone.capacity - place) {
        return fail(Errc::zone_invalid, "write passes the capacity of its zone");
    }
    if (is_ordered && place != zone.pointer) {
        return fail(Errc::zone_unaligned_wp, "write does not start at the write pointer");
    }
    const std::uint64_t granularity = std::max<std::uint64_t>(zone.granularity, 1);
    if (!is_aligned(place, granularity) || !is_aligned(write.length, granularity)) {
        return fail(Errc::zone_unaligned_wp, "write is off the write granularity");
    }
    return place;
}

ZoneRecord after_write(const ZoneRecord& zone, std::uint64_t data_end, std::uint64_t capacity) {
    ZoneRecord after{zone.state, std::max(zone.data_end, data_end)};
    if (takes_active(zone.state) && after.data_end >= capacity) after.state = ZoneState::full;
    return after;
}

Result<void> check_resources(const ZoneGeometry& limits, const ZoneResources& in_use,
                             ZoneState from, ZoneState to) {
    if (!takes_active(from) && takes_active(to) && limits.max_active_zones != 0 &&
        in_use.active >= limits.max_active_zones) {
        return fail(Errc::zone_active_limit, "max_active_zones are active");
    }
    if (!takes_open(from) && takes_open(to) && limits.max_open_zones != 0 &&
        in_use.open >= limits.max_open_zones && !in_use.has_closable) {
        return fail(Errc::zone_open_limit, "max_open_zones are explicitly open");
    }
    return {};
}

Result<void> check_record(ZoneType type, const ZoneRecord& record, std::uint64_t capacity) {
    if (record.data_end > capacity) {
        return fail(Errc::corrupt, "zone data ends beyond its capacity");
    }
    if (type == ZoneType::conventional) {
        if (record != ZoneRecord{ZoneState::not_write_pointer, 0}) {
            return fail(Errc::corrupt, "conventional zone with a write pointer");
        }
        return {};
    }
    switch (record.state) {
        case ZoneState::empty:
            if (record.data_end != 0) return fail(Errc::corrupt, "empty zone with data");
            return {};
        case ZoneState::implicit_open:
        case ZoneState::explicit_open:
        case ZoneState::closed:
            if (record.data_end == capacity) {
                return fail(Errc::corrupt, "open or closed zone without room");
            }
            return {};
        case ZoneState::read_only:
        case ZoneState::full:
        case ZoneState::offline: return {};
        case ZoneState::not_write_pointer:
            return fail(Errc::corrupt, "sequential zone without a write pointer");
    }
    return fail(Errc::corrupt, "unknown zone state");
}

Outcome<void> check_geometry(const ZoneGeometry& geometry) {
    if (geometry.model == ZoneModel::none) return {};
    if (geometry.zone_size == 0) return failure("zone size is 0");
    if (geometry.device_size == 0) return failure("device size is 0");
    if (geometry.device_size > kMaxOffset) {
        return failure("device size is over 8 EiB less one byte", Errc::out_of_range);
    }
    const std::uint64_t count = (geometry.device_size - 1) / geometry.zone_size + 1;
    if (count > std::numeric_limits<std::uint32_t>::max()) {
        return failure(fmt::format("{} zones of {}: expected fewer than 2^32", count,
                                   format_size(geometry.zone_size)),
                       Errc::out_of_range);
    }
    if (geometry.zone_capacity == 0 || geometry.zone_capacity > geometry.zone_size) {
        return failure(
            fmt::format("zone capacity {}: expected more than 0 and at most the zone "
                        "size {}",
                        format_size(geometry.zone_capacity), format_size(geometry.zone_size)));
    }
    if (geometry.conventional_zones > count) {
        return failure(fmt::format("{} conventional zones: the device has {} zones",
                                   geometry.conventional_zones, count));
    }
    if (geometry.max_active_zones != 0 && geometry.max_open_zones > geometry.max_active_zones) {
        return failure(fmt::format("max open zones {}: expected at most max active zones {}",
                                   geometry.max_open_zones, geometry.max_active_zones));
    }
    const std::uint64_t granularity = geometry.write_granularity;
    if (!is_power_of_two(granularity) || !is_aligned(geometry.device_size, granularity) ||
        !is_aligned(geometry.zone_size, granularity) ||
        !is_aligned(geometry.zone_capacity, granularity)) {
        return failure(
            fmt::format("write granularity {}: expected a power of two that divides "
                        "device size, zone size and zone capacity",
                        granularity));
    }
    if (!is_aligned(geometry.max_append_bytes, granularity)) {
        return failure(
            fmt::format("max append bytes {}: expected a multiple of the write "
                        "granularity {}",
                        geometry.max_append_bytes, granularity));
    }
    return {};
}

}  // namespace zbdkit
