// SPDX-License-Identifier: Apache-2.0
#include "tests/model/zone/zone_oracle.h"

#include <algorithm>
#include <array>

namespace zbdkit::model {
namespace {

using enum ZoneState;

struct Transition {
    ZoneState from;
    ZoneAction action;
    ZoneState to;
};

// Every transition the specification lists; what is not here is an invalid command. Finishing an
// empty or closed zone follows from the rule that a finish tries to make the zone full.
constexpr std::array kTransitions = {
    Transition{empty, ZoneAction::open, explicit_open},
    Transition{empty, ZoneAction::reset, empty},
    Transition{empty, ZoneAction::finish, full},
    Transition{implicit_open, ZoneAction::open, explicit_open},
    Transition{implicit_open, ZoneAction::close, closed},
    Transition{implicit_open, ZoneAction::reset, empty},
    Transition{implicit_open, ZoneAction::finish, full},
    Transition{explicit_open, ZoneAction::open, explicit_open},
    Transition{explicit_open, ZoneAction::close, closed},
    Transition{explicit_open, ZoneAction::reset, empty},
    Transition{explicit_open, ZoneAction::finish, full},
    Transition{closed, ZoneAction::open, explicit_open},
    Transition{closed, ZoneAction::close, closed},
    Transition{closed, ZoneAction::reset, empty},
    Transition{closed, ZoneAction::finish, full},
    Transition{full, ZoneAction::reset, empty},
    Transition{full, ZoneAction::finish, full},
};

bool is_open(ZoneState state) { return state == implicit_open || state == explicit_open; }
bool is_active(ZoneState state) { return is_open(state) || state == closed; }

}  // namespace

ZoneOracle::ZoneOracle(const ZoneGeometry& geometry) : geometry_(geometry) {
    for (std::uint64_t start = 0; start < geometry.device_size; start += geometry.zone_size) {
        OracleZone zone;
        zone.length = std::min(geometry.zone_size, geometry.device_size - start);
        if (zones_.size() < geometry.conventional_zones) {
            zone.capacity = zone.length;
        } else {
            zone.type = geometry.model == ZoneModel::host_aware ? ZoneType::sequential_preferred
                                                                : ZoneType::sequential_required;
            zone.state = empty;
            zone.capacity = std::min(geometry.zone_capacity, zone.length);
        }
        zones_.push_back(zone);
    }
}

void ZoneOracle::set(std::size_t index, ZoneState state, std::uint64_t data_end) {
    zones_[index].state = state;
    zones_[index].data_end = data_end;
    zones_[index].last_use = ++time_;
}

std::uint32_t ZoneOracle::open_count() const {
    return static_cast<std::uint32_t>(
        std::ranges::count_if(zones_, [](const OracleZone& z) { return is_open(z.state); }));
}

std::uint32_t ZoneOracle::active_count() const {
    return static_cast<std::uint32_t>(
        std::ranges::count_if(zones_, [](const OracleZone& z) { return is_active(z.state); }));
}

Refusal ZoneOracle::take_resources(std::size_t index, ZoneState to) {
    const ZoneState from = zones_[index].state;
    if (is_active(to) && !is_active(from) && geometry_.max_active_zones > 0 &&
        active_count() == geometry_.max_active_zones) {
        return Errc::zone_active_limit;
    }
    if (is_open(to) && !is_open(from) && geometry_.max_open_zones > 0 &&
        open_count() == geometry_.max_open_zones) {
        OracleZone* victim = nullptr;
        for (OracleZone& zone : zones_) {
            if (zone.state != implicit_open) continue;
            if (victim == nullptr || zone.last_use < victim->last_use) victim = &zone;
        }
        if (victim == nullptr) return Errc::zone_open_limit;
        victim->state = closed;
    }
    zones_[index].state = to;
    return {};
}

Refusal ZoneOracle::act(ZoneAction action, std::size_t index) {
    OracleZone& zone = zones_[index];
    for (const Transition& row : kTransitions) {
        if (row.from != zone.state || row.action != action) continue;
        if (action == ZoneAction::open) return take_resources(index, row.to);
        zone.state = row.to;
        if (row.to == closed && zone.data_end == 0) zone.state = empty;
        if (row.to == empty) zone.data_end = 0;
        return {};
    }
    return Errc::zone_invalid;
}

std::vector<std::size_t> ZoneOracle::reset_all() {
    std::vector<std::size_t> changed;
    for (std::size_t i = 0; i < zones_.size(); ++i) {
        if (!is_active(zones_[i].state) && zones_[i].state != full) continue;
        zones_[i].state = empty;
        zones_[i].data_end = 0;
        changed.push_back(i);
    }
    return changed;
}

Refusal ZoneOracle::check_write(std::size_t index, std::optional<std::uint64_t> at,
                                std::uint64_t length, std::uint64_t pointer) const {
    const OracleZone& zone = zones_[index];
    const bool is_append = !at.has_value();
    const bool is_required = zone.type == ZoneType::sequential_required;
    // Any request to an offline zone, and writes to a read-only zone, are invalid.
    if (zone.state == offline || zone.state == read_only) return Errc::zone_invalid;
    // A range that touches more than one zone. An append names the zone's first byte.
    if (at.value_or(0) + length > zone.length) return Errc::zone_invalid;
    // Append is for sequential-write-required zones; unsupported with a maximum of 0.
    if (is_append && !is_required) return Errc::zone_invalid;
    if (is_append && geometry_.max_append_bytes == 0) return Errc::not_supported;
    if (is_append && length > geometry_.max_append_bytes) return Errc::zone_invalid;
    if (zone.type == ZoneType::conventional) return {};
    // Beyond the remaining writable capacity; a full zone has none.
    const std::uint64_t place = at.value_or(pointer);
    if (place + length > zone.capacity) return Errc::zone_invalid;
    if (is_required && (zone.state == full || pointer == zone.capacity)) {
        return Errc::zone_invalid;
    }
    // Not at the write pointer, or not in units of the granularity.
    if (is_required && place != pointer) return Errc::zone_unaligned_wp;
    if (place % geometry_.write_granularity != 0) return Errc::zone_unaligned_wp;
    if ((place + length) % geometry_.write_granularity != 0) return Errc::zone_unaligned_wp;
    return {};
}

Refusal ZoneOracle::admit(std::size_t index) {
    OracleZone& zone = zones_[index];
    if (zone.state == empty || zone.state == closed) {
        const Refusal refusal = take_resources(index, implicit_open);
        if (refusal) return refusal;
    }
    zone.last_use = ++time_;
    return {};
}

void ZoneOracle::apply(std::size_t index, std::uint64_t data_end) {
    OracleZone& zone = zones_[index];
    zone.data_end = std::max(zone.data_end, data_end);
    if (zone.data_end == zone.capacity && is_active(zone.state)) zone.state = full;
}

void ZoneOracle::abandon(std::size_t index) {
    OracleZone& zone = zones_[index];
    if (zone.data_end != 0) return;
    if (zone.state == implicit_open || zone.state == closed) zone.state = empty;
}

void ZoneOracle::degrade(std::size_t index, ZoneState state) {
    if (zones_[index].state != offline) zones_[index].state = state;
}

Refusal ZoneOracle::write(std::size_t index, std::optional<std::uint64_t> at,
                          std::uint64_t length) {
    const std::uint64_t pointer = zones_[index].data_end;
    Refusal refusal = check_write(index, at, length, pointer);
    if (refusal || zones_[index].type == ZoneType::conventional) return refusal;
    refusal = admit(index);
    if (!refusal) apply(index, at.value_or(pointer) + length);
    return refusal;
}

Refusal ZoneOracle::read(ByteRange range) const {
    std::size_t touched = 0;
    bool touches_required = false;
    for (std::size_t i = 0; i < zones_.size(); ++i) {
        const std::uint64_t start = i * geometry_.zone_size;
        const bool is_touched =
            range.offset < start + zones_[i].length && range.offset + range.length > start;
        if (!is_touched) continue;
        ++touched;
        if (zones_[i].state == offline) return Errc::zone_invalid;
        if (zones_[i].type == ZoneType::sequential_required) touches_required = true;
    }
    if (touches_required && touched > 1) return Errc::zone_invalid;
    return {};
}

ZoneState ZoneOracle::shown_state(std::size_t index) const {
    const OracleZone& zone = zones_[index];
    // An implicitly open zone has a pointer above its start: until then it is seen as empty.
    const bool is_unseen = zone.state == implicit_open || zone.state == closed;
    return is_unseen && zone.data_end == 0 ? empty : zone.state;
}

ZoneDescriptor ZoneOracle::describe(std::size_t index) const {
    const OracleZone& zone = zones_[index];
    ZoneDescriptor shown;
    shown.start = index * geometry_.zone_size;
    shown.length = zone.length;
    shown.capacity = zone.capacity;
    shown.type = zone.type;
    shown.state = shown_state(index);
    const bool has_pointer = shown.state == empty || is_active(shown.state);
    shown.write_pointer = shown.start + (has_pointer ? zone.data_end : zone.length);
    return shown;
}

}  // namespace zbdkit::model
