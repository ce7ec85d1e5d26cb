// SPDX-License-Identifier: Apache-2.0
#include "zone/zone_table.h"

#include <utility>

#include "base/assert.h"

namespace zbdkit {
namespace {

/// What the outside sees: a zone that holds resources for a first write still in flight is empty.
ZoneRecord visible(ZoneState state, std::uint64_t data_end) {
    const bool is_first_write =
        data_end == 0 && (state == ZoneState::implicit_open || state == ZoneState::closed);
    return {is_first_write ? ZoneState::empty : state, data_end};
}

bool has_write_pointer(ZoneState state) { return takes_active(state) || state == ZoneState::empty; }

}  // namespace

ZoneTable::ZoneTable(const ZoneGeometry& geometry)
    : geometry_(geometry), zones_(geometry.zone_count()) {
    const std::uint32_t conventional = geometry.conventional_zones;
    ZBDKIT_ASSERT(conventional <= zones_.size());
    for (std::uint32_t i = 0; i < conventional; ++i) {
        zones_[i].state = ZoneState::not_write_pointer;
    }
}

ZoneTable::Zone& ZoneTable::at(ZoneIndex zone) {
    ZBDKIT_ASSERT(to_number(zone) < zones_.size());
    return zones_[to_number(zone)];
}

const ZoneTable::Zone& ZoneTable::at(ZoneIndex zone) const {
    ZBDKIT_ASSERT(to_number(zone) < zones_.size());
    return zones_[to_number(zone)];
}

// --- Transitions and resources ---------------------------------------------------------------

ZoneResources ZoneTable::in_use() const {
    return {open_count_, active_count_, oldest_closable_ != kNone};
}

/// The one place where a zone changes: counts, the list of closable zones and the observer follow.
void ZoneTable::change(ZoneIndex index, const ZoneRecord& to) {
    Zone& zone = at(index);
    const ZoneRecord before = visible(zone.state, zone.data_end);
    if (takes_open(zone.state)) --open_count_;
    if (takes_active(zone.state)) --active_count_;
    zone.state = to.state;
    zone.data_end = to.data_end;
    if (takes_open(zone.state)) ++open_count_;
    if (takes_active(zone.state)) ++active_count_;
    update_closable(index);
    const ZoneRecord after = visible(zone.state, zone.data_end);
    if (on_change_ != nullptr && after != before) on_change_(observer_context_, index, after);
}

/// Closes the implicitly open zone that was reserved longest ago, if the transition of another
/// zone needs an open resource and none is free. check_resources() must have said yes.
void ZoneTable::make_room(ZoneState from, ZoneState to) {
    if (takes_open(from) || !takes_open(to)) return;
    if (geometry_.max_open_zones == 0 || open_count_ < geometry_.max_open_zones) return;
    ZBDKIT_ASSERT(oldest_closable_ != kNone);
    // Its writes in flight, if any, count as before the close.
    const Zone& victim = zones_[oldest_closable_];
    change(ZoneIndex(oldest_closable_), {ZoneState::closed, victim.data_end});
}

void ZoneTable::update_closable(ZoneIndex index) {
    Zone& zone = at(index);
    const bool should = zone.state == ZoneState::implicit_open;
    if (should && !zone.is_closable) make_newest(index);
    if (!should && zone.is_closable) unlink_closable(zone);
}

void ZoneTable::make_newest(ZoneIndex index) {
    Zone& zone = at(index);
    if (zone.is_closable) unlink_closable(zone);
    zone.older = newest_closable_;
    zone.newer = kNone;
    zone.is_closable = true;
    if (newest_closable_ != kNone) {
        zones_[newest_closable_].newer = to_number(index);
    } else {
        oldest_closable_ = to_number(index);
    }
    newest_closable_ = to_number(index);
}

void ZoneTable::unlink_closable(Zone& zone) {
    if (zone.older != kNone) {
        zones_[zone.older].newer = zone.newer;
    } else {
        oldest_closable_ = zone.newer;
    }
    if (zone.newer != kNone) {
        zones_[zone.newer].older = zone.older;
    } else {
        newest_closable_ = zone.older;
    }
    zone.is_closable = false;
}

// --- Writing -----------------------------------------------------------------------------------

bool ZoneTable::is_busy(ZoneIndex zone) const { return at(zone).flight != kNone; }

bool ZoneTable::is_recovering(ZoneIndex zone) const {
    const std::uint32_t flight = at(zone).flight;
    return flight != kNone && flights_[flight]->is_recovering;
}

std::uint64_t ZoneTable::reserved_pointer(ZoneIndex index) const {
    const Zone& zone = at(index);
    const std::uint64_t relative =
        zone.flight == kNone ? zone.data_end : flights_[zone.flight]->reserved;
    return geometry_.start_of(index) + relative;
}

/// The zone's writes in flight; a fresh set if there are none.
ZoneTable::Flight& ZoneTable::flight_of(ZoneIndex index) {
    Zone& zone = at(index);
    if (zone.flight != kNone) return *flights_[zone.flight];
    if (free_flights_.empty()) {
        free_flights_.push_back(static_cast<std::uint32_t>(flights_.size()));
        flights_.push_back(std::make_unique<Flight>());
    }
    zone.flight = free_flights_.back();
    free_flights_.pop_back();
    Flight& flight = *flights_[zone.flight];
    flight.is_recovering = false;
    return flight;
}

Result<void> ZoneTable::reserve(ZoneReservation& reservation, ZoneIndex index,
                                std::optional<std::uint64_t> position, std::uint64_t length) {
    ZBDKIT_ASSERT(reservation.phase == ZoneReservation::Phase::idle);
    ZBDKIT_ASSERT(!is_recovering(index));
    const Zone& zone = at(index);
    const ZoneType type = geometry_.type_of(index);
    ZBDKIT_ASSERT(type != ZoneType::conventional || !position.has_value());
    const std::uint64_t start = geometry_.start_of(index);
    ZBDKIT_ASSERT(!position.has_value() || *position >= start);
    const std::uint64_t pointer =
        zone.flight == kNone ? zone.data_end : flights_[zone.flight]->reserved;

    const ZoneWriteTarget target{.type = type,
                                 .state = zone.state,
                                 .pointer = pointer,
                                 .length = geometry_.length_of(index),
                                 .capacity = geometry_.capacity_of(index),
                                 .max_append = geometry_.max_append_bytes,
                                 .granularity = geometry_.write_granularity};
    ZoneWrite write{.length = length};
    if (position.has_value()) write.at = *position - start;
    const Result<std::uint64_t> place = place_write(target, write);
    if (!place) return std::unexpected(place.error());

    if (zone.state == ZoneState::empty || zone.state == ZoneState::closed) {
        const ZoneState opened = ZoneState::implicit_open;
        const Result<void> resources = check_resources(geometry_, in_use(), zone.state, opened);
        if (!resources) return std::unexpected(resources.error());
        make_room(zone.state, opened);
        change(index, {opened, zone.data_end});
    }
    if (zone.is_closable) make_newest(index);

    Flight& flight = flight_of(index);
    flight.reserved = *place + length;
    ++flight.writing;
    reservation.zone = index;
    reservation.range = {start + *place, length};
    reservation.phase = ZoneReservation::Phase::writing;
    reservation.displaced_in_flight = false;
    flight.waiting.push_back(reservation);
    return {};
}

ZoneTable::Ended ZoneTable::landed(ZoneReservation& reservation) {
    ZBDKIT_ASSERT(reservation.phase == ZoneReservation::Phase::writing);
    Ended ended;
    Flight& flight = flight_of(reservation.zone);
    if (reservation.displaced_in_flight) {
        reservation.phase = ZoneReservation::Phase::displaced;
    } else {
        reservation.phase = ZoneReservation::Phase::landed;
        if (geometry_.type_of(reservation.zone) == ZoneType::sequential_preferred) {
            // No order to keep: it moves to the front, where it is published alone.
            flight.waiting.erase(flight.waiting.iterator_to(reservation));
            flight.waiting.push_front(reservation);
        }
        publish(flight, reservation, ended.resolved);
    }
    end_write(reservation.zone, flight, ended);
    return ended;
}

/// Moves the committed pointer over the landed front, in one step.
/// @param ended  the write that landed just now
void ZoneTable::publish(Flight& flight, const ZoneReservation& ended,
                        ZoneReservationList& resolved) {
    std::uint64_t end = 0;
    while (!flight.waiting.empty() &&
           flight.waiting.front().phase == ZoneReservation::Phase::landed) {
        ZoneReservation& front = flight.waiting.front();
        flight.waiting.pop_front();
        front.phase = ZoneReservation::Phase::published;
        end = front.range.end();
        if (&front != &ended) resolved.push_back(front);
    }
    if (end == 0) return;
    const ZoneIndex index = ended.zone;
    const Zone& zone = at(index);
    change(index, after_write({zone.state, zone.data_end}, end - geometry_.start_of(index),
                              geometry_.capacity_of(index)));
}

ZoneTable::Ended ZoneTable::failed(ZoneReservation& reservation) {
    ZBDKIT_ASSERT(reservation.phase == ZoneReservation::Phase::writing);
    Ended ended;
    const ZoneIndex index = reservation.zone;
    Flight& flight = flight_of(index);
    if (reservation.displaced_in_flight) {
        reservation.phase = ZoneReservation::Phase::displaced;
    } else {
        reservation.phase = ZoneReservation::Phase::failed;
        const auto later = flight.waiting.erase(flight.waiting.iterator_to(reservation));
        if (geometry_.type_of(index) == ZoneType::sequential_required) {
            flight.reserved = reservation.range.offset - geometry_.start_of(index);
            flight.is_recovering = true;
            displace_from(later, flight, ended.resolved);
        }
    }
    end_write(index, flight, ended);
    return ended;
}

void ZoneTable::displace_from(ZoneReservationList::iterator first, Flight& flight,
                              ZoneReservationList& resolved) {
    while (first != flight.waiting.end()) {
        ZoneReservation& displaced = *first;
        first = flight.waiting.erase(first);
        if (displaced.phase == ZoneReservation::Phase::landed) {
            displaced.phase = ZoneReservation::Phase::displaced;
            resolved.push_back(displaced);
        } else {
            displaced.displaced_in_flight = true;
        }
    }
}

/// One write of the zone is no longer in flight.
void ZoneTable::end_write(ZoneIndex index, Flight& flight, Ended& ended) {
    Zone& zone = at(index);
    --flight.writing;
    if (!flight.waiting.empty()) return;
    // Everything was rolled back to the start: the implicit open is undone as well.
    const bool is_undone = zone.data_end == 0 && (zone.state == ZoneState::implicit_open ||
                                                  zone.state == ZoneState::closed);
    if (is_undone) change(index, {ZoneState::empty, 0});
    if (flight.writing != 0) return;
    ended.recovered = flight.is_recovering;
    free_flights_.push_back(zone.flight);
    zone.flight = kNone;
}

// --- Actions -----------------------------------------------------------------------------------

Result<std::optional<ZoneRecord>> ZoneTable::check(ZoneAction action, ZoneIndex index) const {
    ZBDKIT_ASSERT(!is_busy(index));
    const Zone& zone = at(index);
    const ZoneRecord now{zone.state, zone.data_end};
    const Result<ZoneRecord> next = after_action(action, geometry_.type_of(index), now);
    if (!next) return std::unexpected(next.error());
    if (*next == now) return std::nullopt;
    const Result<void> resources = check_resources(geometry_, in_use(), zone.state, next->state);
    if (!resources) return std::unexpected(resources.error());
    return *next;
}

void ZoneTable::record(ZoneIndex index, const ZoneRecord& record) {
    ZBDKIT_ASSERT(!is_busy(index));
    Zone& zone = at(index);
    if (is_worn_out(zone.state)) {
        change(index, {zone.state, record.data_end});
        return;
    }
    ZBDKIT_ASSERT(check_resources(geometry_, in_use(), zone.state, record.state).has_value());
    make_room(zone.state, record.state);
    change(index, record);
}

std::vector<ZoneIndex> ZoneTable::zones_to_reset() const {
    std::vector<ZoneIndex> found;
    for (std::uint32_t i = geometry_.conventional_zones; i < zones_.size(); ++i) {
        const ZoneState now = state(ZoneIndex(i));
        if (takes_active(now) || now == ZoneState::full) found.push_back(ZoneIndex{i});
    }
    return found;
}

void ZoneTable::degrade(ZoneIndex index, ZoneState state) {
    ZBDKIT_ASSERT(is_worn_out(state));
    Zone& zone = at(index);
    ZBDKIT_ASSERT(zone.state != ZoneState::not_write_pointer);
    if (zone.state == ZoneState::offline) return;
    change(index, {state, zone.data_end});
}

// --- Looking -----------------------------------------------------------------------------------

ZoneRecord ZoneTable::record_of(ZoneIndex zone) const {
    return visible(at(zone).state, at(zone).data_end);
}

ZoneState ZoneTable::state(ZoneIndex zone) const { return record_of(zone).state; }

ZoneDescriptor ZoneTable::describe(ZoneIndex zone) const {
    const ZoneRecord record = record_of(zone);
    ZoneDescriptor descriptor{.start = geometry_.start_of(zone),
                              .length = geometry_.length_of(zone),
                              .capacity = geometry_.capacity_of(zone),
                              .type = geometry_.type_of(zone),
                              .state = record.state};
    descriptor.write_pointer =
        descriptor.start + (has_write_pointer(record.state) ? record.data_end : descriptor.length);
    return descriptor;
}

Result<void> ZoneTable::check_read(ByteRange range) const {
    ZBDKIT_ASSERT(range.length != 0 && range.is_sane() && range.end() <= geometry_.device_size);
    const std::uint32_t first = to_number(geometry_.zone_of(range.offset));
    const std::uint32_t last = to_number(geometry_.zone_of(range.end() - 1));
    // Sequential zones come after the conventional ones: if any is touched, the last one is.
    if (first != last && geometry_.type_of(ZoneIndex(last)) == ZoneType::sequential_required) {
        return fail(Errc::zone_invalid, "read crosses the border of a sequential zone");
    }
    for (std::uint32_t zone = first; zone <= last; ++zone) {
        if (zones_[zone].state == ZoneState::offline) {
            return fail(Errc::zone_invalid, "read of an offline zone");
        }
    }
    return {};
}

std::uint64_t ZoneTable::readable_end(ZoneIndex zone) const {
    const std::uint64_t start = geometry_.start_of(zone);
    if (geometry_.type_of(zone) == ZoneType::conventional) {
        return start + geometry_.length_of(zone);
    }
    return start + at(zone).data_end;
}

void ZoneTable::set_observer(void (*on_change)(void* context, ZoneIndex zone,
                                               const ZoneRecord& record),
                             void* context) {
    on_change_ = on_change;
    observer_context_ = context;
}

// --- Loading -----------------------------------------------------------------------------------

Result<void> ZoneTable::load(ZoneIndex index, const ZoneRecord& record, OverLimits over_limits) {
    ZBDKIT_ASSERT(!is_busy(index));
    Zone& zone = at(index);
    const Result<void> sound =
        check_record(geometry_.type_of(index), record, geometry_.capacity_of(index));
    if (!sound) return std::unexpected(sound.error());

    const ZoneRecord loaded = visible(record.state, record.data_end);
    // Limits that a running table makes room for are broken limits here.
    ZoneResources used = in_use();
    used.has_closable = false;
    if (over_limits == OverLimits::refused &&
        !check_resources(geometry_, used, zone.state, loaded.state)) {
        return fail(Errc::corrupt, "more zones are open or active than the limits allow");
    }
    const auto observer = std::exchange(on_change_, nullptr);
    change(index, loaded);
    on_change_ = observer;
    return {};
}

void ZoneTable::close_excess() {
    if (geometry_.max_open_zones == 0) return;
    while (open_count_ > geometry_.max_open_zones && oldest_closable_ != kNone) {
        const Zone& excess = zones_[oldest_closable_];
        change(ZoneIndex(oldest_closable_), {ZoneState::closed, excess.data_end});
    }
}

}  // namespace zbdkit
