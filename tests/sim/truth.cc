// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/truth.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/assert.h"

namespace zbdkit::sim {
namespace {

constexpr std::size_t kWords = kUnit / sizeof(std::uint64_t);
constexpr std::size_t kHistoryLength = 60;

std::array<std::uint64_t, kWords> words_of(Stamp stamp) {
    std::array<std::uint64_t, kWords> words{};
    const std::uint64_t first = std::uint64_t{stamp.write} << 32 | stamp.unit;
    words[0] = first;
    for (std::size_t i = 1; i < kWords; ++i) words[i] = first * 0x9e37'79b9'7f4a'7c15 + i;
    return words;
}

bool is_all_zero(ConstBytes bytes) {
    return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

std::string to_text(Stamp stamp) {
    return stamp.is_zero() ? "zeroes" : fmt::format("write {} unit {}", stamp.write, stamp.unit);
}

const char* status_name(BlkStatus status) {
    switch (status) {
        case BlkStatus::ok: return "ok";
        case BlkStatus::io_error: return "I/O error";
        case BlkStatus::unsupported: return "unsupported";
        case BlkStatus::zone_invalid_cmd: return "invalid command";
        case BlkStatus::zone_unaligned_wp: return "unaligned write pointer";
        case BlkStatus::zone_open_resource: return "open limit";
        case BlkStatus::zone_active_resource: return "active limit";
    }
    return "a status that does not exist";
}

const char* action_name(ZoneAction action) {
    switch (action) {
        case ZoneAction::open: return "open";
        case ZoneAction::close: return "close";
        case ZoneAction::finish: return "finish";
        case ZoneAction::reset: return "reset";
    }
    return "no action";
}

bool is_open_or_closed(ZoneState state) {
    return state == ZoneState::implicit_open || state == ZoneState::explicit_open ||
           state == ZoneState::closed;
}

}  // namespace

std::vector<std::byte> stamped(std::uint32_t write, std::uint64_t units) {
    std::vector<std::byte> bytes(units * kUnit);
    for (std::uint32_t unit = 0; unit < units; ++unit) {
        const auto words = words_of({write, unit});
        std::memcpy(bytes.data() + unit * kUnit, words.data(), kUnit);
    }
    return bytes;
}

Truth::Truth(const ZoneGeometry& geometry) : geometry_(geometry), zones_(geometry.zone_count()) {
    for (std::uint32_t i = 0; i < zones_.size(); ++i) {
        zones_[i].acked.resize(capacity_units(i));
        if (takes_writes_anywhere(i)) zones_[i].candidates.resize(capacity_units(i), {Candidate{}});
    }
}

// --- Looking ------------------------------------------------------------------------------------

std::uint64_t Truth::capacity_units(std::uint32_t zone) const {
    return geometry_.capacity_of(ZoneIndex(zone)) / kUnit;
}

bool Truth::is_conventional(std::uint32_t zone) const {
    return geometry_.type_of(ZoneIndex(zone)) == ZoneType::conventional;
}

bool Truth::takes_writes_anywhere(std::uint32_t zone) const {
    return geometry_.type_of(ZoneIndex(zone)) != ZoneType::sequential_required;
}

std::uint64_t Truth::likely_pointer(std::uint32_t zone) const {
    std::uint64_t pointer = zones_[zone].acked_end;
    for (const auto& [id, flying] : zones_[zone].writes) pointer += flying.units;
    return pointer;
}

bool Truth::is_quiet(std::uint32_t zone) const {
    return zones_[zone].writes.empty() && zones_[zone].actions == 0;
}

bool Truth::overlaps_flying(std::uint32_t zone, std::uint64_t at, std::uint64_t units) const {
    return std::ranges::any_of(zones_[zone].writes, [at, units](const auto& entry) {
        const Flying& flying = entry.second;
        return at < *flying.at + flying.units && *flying.at < at + units;
    });
}

bool Truth::is_full(std::uint32_t zone) const {
    return zones_[zone].finished || zones_[zone].acked_end == capacity_units(zone);
}

bool Truth::is_alone(const Zone& zone) const {
    return zone.writes.empty() && zone.actions == 0 && !zone.uncertain;
}

/// Zones other than one that may hold a resource.
std::uint32_t Truth::possibly_active(std::uint32_t except) const {
    std::uint32_t count = 0;
    for (std::uint32_t i = 0; i < zones_.size(); ++i) {
        if (i == except || is_conventional(i)) continue;
        const Zone& zone = zones_[i];
        const bool is_surely_idle = is_alone(zone) && zone.open_is_known && !zone.explicitly_open &&
                                    (zone.acked_end == 0 || is_full(i));
        if (!is_surely_idle) ++count;
    }
    return count;
}

/// Whether no limit can stand in the way of opening a zone.
bool Truth::has_room_for(std::uint32_t zone) const {
    const std::uint32_t others = possibly_active(zone);
    const bool open_fits = geometry_.max_open_zones == 0 || others < geometry_.max_open_zones;
    const bool active_fits = geometry_.max_active_zones == 0 || others < geometry_.max_active_zones;
    return open_fits && active_fits;
}

Snapshot Truth::snapshot() const {
    Snapshot snapshot{.zones = {}, .acks = acks_};
    for (const Zone& zone : zones_) {
        snapshot.zones.push_back({.acked_end = zone.acked_end,
                                  .changes = zone.changes,
                                  .resets = zone.resets,
                                  .is_stable = zone.resets_flying == 0 && !zone.uncertain});
    }
    return snapshot;
}

void Truth::note(std::uint32_t zone, std::string text) {
    std::deque<std::string>& history = zones_[zone].history;
    history.push_back(std::move(text));
    if (history.size() > kHistoryLength) history.pop_front();
}

void Truth::complain(std::uint32_t zone, const std::string& text) const {
    std::string report = fmt::format("zone {}: {}\n", zone, text);
    for (const std::string& line : zones_[zone].history) report += fmt::format("    {}\n", line);
    complaint_(complaint_context_, report);
    std::abort();
}

/// A refusal that nothing justifies.
void Truth::judge_refusal(std::uint32_t zone, BlkStatus status, bool must_succeed,
                          const std::string& what) const {
    const bool is_known = status <= BlkStatus::zone_active_resource;
    if (!is_known || status == BlkStatus::unsupported) {
        complain(zone, fmt::format("{} was answered with {}", what, status_name(status)));
    }
    if (status == BlkStatus::io_error) {
        if (io_errors_expected_) return;
        complain(zone, fmt::format("{} failed although the disk works", what));
    }
    if (must_succeed) {
        complain(zone, fmt::format("{} was refused with {} and had to succeed", what,
                                   status_name(status)));
    }
}

// --- Writes -------------------------------------------------------------------------------------

WriteTicket Truth::begin_write(std::uint32_t zone_index, std::optional<std::uint64_t> at,
                               std::uint64_t units) {
    Zone& zone = zones_[zone_index];
    WriteTicket ticket{.id = next_write_++,
                       .zone = zone_index,
                       .at = at,
                       .units = units,
                       .acked_end_before = zone.acked_end,
                       .was_alone = is_alone(zone)};
    ticket.changes_before = ++zone.changes;
    if (zone.resets_flying > 0) {
        zone.uncertain = true;
        zone.acked_holds = false;
    }
    zone.writes[ticket.id] = {at, units};
    note(zone_index, fmt::format("write {}: {} units {}", ticket.id, units,
                                 at ? fmt::format("at {}", *at) : "appended"));
    return ticket;
}

/// Whether nothing can have been in the way of a write.
bool Truth::write_must_succeed(const WriteTicket& ticket) const {
    const Zone& zone = zones_[ticket.zone];
    if (is_conventional(ticket.zone)) return true;
    if (takes_writes_anywhere(ticket.zone)) return has_room_for(ticket.zone);
    const bool is_alone = ticket.was_alone && zone.changes == ticket.changes_before;
    const std::uint64_t pointer = ticket.acked_end_before;
    return is_alone && !is_full(ticket.zone) && ticket.at.value_or(pointer) == pointer &&
           pointer + ticket.units <= capacity_units(ticket.zone) && has_room_for(ticket.zone);
}

void Truth::end_write(const WriteTicket& ticket, BlkStatus status, std::uint64_t placed,
                      bool durable) {
    ++answers_;
    Zone& zone = zones_[ticket.zone];
    const bool must_succeed = write_must_succeed(ticket);
    zone.writes.erase(ticket.id);
    ++zone.changes;
    note(ticket.zone, fmt::format("write {}: {}{}", ticket.id, status_name(status),
                                  status == BlkStatus::ok ? fmt::format(", at {}", placed) : ""));
    if (status != BlkStatus::ok) {
        judge_refusal(ticket.zone, status, must_succeed, fmt::format("write {}", ticket.id));
        if (status != BlkStatus::io_error) return;
        if (takes_writes_anywhere(ticket.zone)) {
            record_anywhere(ticket, true, false);
        } else {
            zone.uncertain = true;  // it may be there: its flush may be what failed
        }
        return;
    }
    if (takes_writes_anywhere(ticket.zone)) {
        record_anywhere(ticket, false, durable);
    } else {
        record_sequential(ticket, placed, durable);
    }
}

void Truth::record_sequential(const WriteTicket& ticket, std::uint64_t placed, bool durable) {
    Zone& zone = zones_[ticket.zone];
    const std::string what = fmt::format("write {}", ticket.id);
    if (placed + ticket.units > capacity_units(ticket.zone)) {
        complain(ticket.zone, what + " went beyond the capacity");
    }
    if (ticket.at && *ticket.at != placed) complain(ticket.zone, what + " went elsewhere");
    ++acks_;
    if (zone.uncertain && !zone.acked_holds) return;
    if (placed < ticket.acked_end_before) {
        complain(ticket.zone, what + " went below what was there before it");
    }
    for (std::uint32_t unit = 0; unit < ticket.units; ++unit) {
        Stamp& stamp = zone.acked[placed + unit];
        if (!stamp.is_zero()) {
            complain(ticket.zone, fmt::format("{} went over {}", what, to_text(stamp)));
        }
        stamp = {ticket.id, unit};
    }
    zone.shown_doubt = {};
    zone.acked_end = std::max(zone.acked_end, placed + ticket.units);
    if (durable) zone.durable_end = std::max(zone.durable_end, placed + ticket.units);
}

void Truth::record_anywhere(const WriteTicket& ticket, bool doubtful, bool durable) {
    Zone& zone = zones_[ticket.zone];
    ++acks_;
    for (std::uint32_t unit = 0; unit < ticket.units; ++unit) {
        std::vector<Candidate>& candidates = zone.candidates[*ticket.at + unit];
        const Candidate candidate = {
            .stamp = {ticket.id, unit}, .ack = acks_, .doubtful = doubtful};
        if (durable) candidates.clear();
        candidates.push_back(candidate);
    }
    if (doubtful || is_conventional(ticket.zone)) return;
    zone.acked_end = std::max(zone.acked_end, *ticket.at + ticket.units);
    if (durable) zone.durable_end = std::max(zone.durable_end, *ticket.at + ticket.units);
}

// --- Actions ------------------------------------------------------------------------------------

void Truth::begin_reset(Zone& zone) {
    ++zone.resets;
    ++zone.resets_flying;
    if (!zone.writes.empty() || zone.actions > 1) {
        zone.uncertain = true;
        zone.acked_holds = false;
    }
}

ActionTicket Truth::begin_action(ZoneAction action, std::uint32_t zone_index) {
    Zone& zone = zones_[zone_index];
    ActionTicket ticket{.action = action,
                        .zone = zone_index,
                        .acked_end_before = zone.acked_end,
                        .was_alone = is_alone(zone)};
    ticket.changes_before = ++zone.changes;
    ++zone.actions;
    if (zone.resets_flying > 0) {
        zone.uncertain = true;
        zone.acked_holds = false;
    }
    if (!ticket.was_alone) zone.open_is_known = false;
    if (action == ZoneAction::reset) begin_reset(zone);
    if (action == ZoneAction::finish) ++zone.finishes_flying;
    note(zone_index, action_name(action));
    return ticket;
}

bool Truth::action_must_succeed(const ActionTicket& ticket) const {
    const Zone& zone = zones_[ticket.zone];
    switch (ticket.action) {
        case ZoneAction::open: return !is_full(ticket.zone) && has_room_for(ticket.zone);
        case ZoneAction::close:
            return !is_full(ticket.zone) &&
                   (zone.acked_end > 0 || (zone.explicitly_open && zone.open_is_known));
        case ZoneAction::finish:
        case ZoneAction::reset: break;
    }
    return true;
}

void Truth::end_good_action(const ActionTicket& ticket, bool alone) {
    Zone& zone = zones_[ticket.zone];
    zone.shown_doubt = {};
    switch (ticket.action) {
        case ZoneAction::open:
            if (alone && is_full(ticket.zone)) complain(ticket.zone, "a full zone was opened");
            zone.explicitly_open = true;
            zone.open_is_known = alone;
            break;
        case ZoneAction::close:
            if (alone && is_full(ticket.zone)) complain(ticket.zone, "a full zone was closed");
            zone.explicitly_open = false;
            zone.open_is_known = alone;
            zone.durable_end = std::max(zone.durable_end, ticket.acked_end_before);
            break;
        case ZoneAction::finish:
            zone.finished = true;
            zone.explicitly_open = false;
            zone.open_is_known = true;
            zone.durable_end = std::max(zone.durable_end, ticket.acked_end_before);
            break;
        case ZoneAction::reset: break;  // has end_reset()
    }
}

void Truth::end_reset(Zone& zone, BlkStatus status) {
    --zone.resets_flying;
    if (status != BlkStatus::ok || !zone.acked_holds) return;
    std::ranges::fill(zone.acked, Stamp{});
    for (std::vector<Candidate>& candidates : zone.candidates) candidates = {Candidate{}};
    zone.uncertain = false;
    zone.shown_doubt = {};
    zone.acked_end = 0;
    zone.durable_end = 0;
    zone.finished = false;
    zone.explicitly_open = false;
    zone.open_is_known = true;
    zone.era = next_write_;
    zone.reset_doubt = {};
    zone.finish_doubt = {};
}

void Truth::end_action(const ActionTicket& ticket, BlkStatus status) {
    ++answers_;
    Zone& zone = zones_[ticket.zone];
    const bool alone = ticket.was_alone && zone.changes == ticket.changes_before;
    const std::string what = action_name(ticket.action);
    --zone.actions;
    if (ticket.action == ZoneAction::finish) --zone.finishes_flying;
    ++zone.changes;
    note(ticket.zone, fmt::format("{}: {}", what, status_name(status)));
    if (status != BlkStatus::ok) {
        judge_refusal(ticket.zone, status, alone && action_must_succeed(ticket), what);
    }
    const bool failed = status == BlkStatus::io_error;
    if (ticket.action == ZoneAction::reset) {
        end_reset(zone, status);
        if (failed) {
            zone.reset_failed = true;
            zone.reset_doubt = {.exists = true, .since = zone.changes};
        }
    } else if (status == BlkStatus::ok && (!zone.uncertain || zone.acked_holds)) {
        end_good_action(ticket, alone);
    }
    if (failed && ticket.action == ZoneAction::finish) {
        zone.finish_failed = true;
        zone.finish_doubt = {.exists = true, .since = zone.changes};
    }
    if (!failed) return;
    zone.uncertain = true;
    zone.open_is_known = false;
}

Snapshot Truth::begin_reset_all() {
    for (std::uint32_t i = 0; i < zones_.size(); ++i) {
        if (is_conventional(i)) continue;
        ++zones_[i].changes;
        ++zones_[i].actions;
        if (zones_[i].resets_flying > 0) {
            zones_[i].uncertain = true;
            zones_[i].acked_holds = false;
        }
        if (!is_quiet(i)) zones_[i].open_is_known = false;
        begin_reset(zones_[i]);
        note(i, "reset all");
    }
    return snapshot();
}

void Truth::end_reset_all(const Snapshot& /*before*/, BlkStatus status) {
    ++answers_;
    for (std::uint32_t i = 0; i < zones_.size(); ++i) {
        if (is_conventional(i)) continue;
        Zone& zone = zones_[i];
        --zone.actions;
        ++zone.changes;
        note(i, fmt::format("reset all: {}", status_name(status)));
        end_reset(zone, status);
        if (status == BlkStatus::ok) continue;
        judge_refusal(i, status, true, "reset all");
        zone.reset_failed = true;
        zone.reset_doubt = {.exists = true, .since = zone.changes};
        zone.uncertain = true;
        zone.acked_holds = false;  // it may have reached this zone before it failed
    }
}

// --- Flushes, reads, reports --------------------------------------------------------------------

void Truth::forget_candidates_before(std::uint32_t zone, std::uint64_t ack) {
    for (std::vector<Candidate>& candidates : zones_[zone].candidates) {
        const auto last =
            std::find_if(candidates.rbegin(), candidates.rend(), [ack](const Candidate& candidate) {
                return candidate.ack <= ack && !candidate.doubtful;
            });
        if (last != candidates.rend()) candidates.erase(candidates.begin(), std::prev(last.base()));
    }
}

void Truth::end_flush(const Snapshot& before, BlkStatus status) {
    ++answers_;
    if (status != BlkStatus::ok) {
        judge_refusal(0, status, true, "flush");
        return;
    }
    for (std::uint32_t i = 0; i < zones_.size(); ++i) {
        Zone& zone = zones_[i];
        const Snapshot::Zone& was = before.zones[i];
        if (takes_writes_anywhere(i)) forget_candidates_before(i, before.acks);
        if (was.resets == zone.resets && was.is_stable && zone.acked_holds) {
            zone.durable_end = std::max(zone.durable_end, was.acked_end);
        }
        if (was.changes >= zone.reset_doubt.since) zone.reset_doubt = {};
        if (was.changes >= zone.finish_doubt.since) zone.finish_doubt = {};
        if (was.changes >= zone.shown_doubt.since) zone.shown_doubt = {};
        note(i, fmt::format("flush: ok, up to {}", was.acked_end));
    }
}

std::vector<Stamp> Truth::decode(std::uint32_t zone, std::uint64_t first, ConstBytes data) {
    std::vector<Stamp> stamps;
    for (std::size_t at = 0; at < data.size(); at += kUnit) {
        ++units_;
        const ConstBytes unit = data.subspan(at, kUnit);
        std::uint64_t word = 0;
        std::memcpy(&word, unit.data(), sizeof word);
        const Stamp stamp = {static_cast<std::uint32_t>(word >> 32),
                             static_cast<std::uint32_t>(word)};
        const bool is_right = stamp.is_zero()
                                  ? is_all_zero(unit)
                                  : std::memcmp(words_of(stamp).data(), unit.data(), kUnit) == 0;
        if (!is_right) {
            complain(zone, fmt::format("unit {} holds what nobody wrote", first + at / kUnit));
        }
        stamps.push_back(stamp);
    }
    return stamps;
}

/// Whether an unacknowledged unit may hold this.
bool Truth::is_plausible(const Zone& zone, Stamp stamp) const {
    return stamp.is_zero() || (stamp.write >= zone.era && stamp.write < next_write_);
}

void Truth::end_read(const Snapshot& before, std::uint32_t zone_index, std::uint64_t first,
                     BlkStatus status, ConstBytes data) {
    ++answers_;
    if (status != BlkStatus::ok) {
        judge_refusal(zone_index, status, true, "read");
        return;
    }
    const Zone& zone = zones_[zone_index];
    const Snapshot::Zone& was = before.zones[zone_index];
    const std::vector<Stamp> found = decode(zone_index, first, data);
    if (takes_writes_anywhere(zone_index)) {
        if (was.changes != zone.changes || !zone.writes.empty()) return;
        for (std::size_t i = 0; i < found.size(); ++i) {
            if (first + i >= zone.candidates.size()) {
                if (!found[i].is_zero()) complain(zone_index, "bytes beyond the capacity");
                continue;
            }
            const std::vector<Candidate>& candidates = zone.candidates[first + i];
            const auto last_sure = std::ranges::find(candidates.rbegin(), candidates.rend(), false,
                                                     &Candidate::doubtful);
            const auto end = last_sure == candidates.rend() ? last_sure : std::next(last_sure);
            const bool is_there =
                std::ranges::find(candidates.rbegin(), end, found[i], &Candidate::stamp) != end;
            if (!is_there) {
                complain(zone_index,
                         fmt::format("unit {} holds {}, not {}", first + i, to_text(found[i]),
                                     to_text(candidates.back().stamp)));
            }
        }
        return;
    }
    if (!was.is_stable || was.resets != zone.resets || zone.uncertain) return;
    for (std::size_t i = 0; i < found.size(); ++i) {
        const std::uint64_t unit = first + i;
        if (unit >= zone.acked.size()) {
            if (!found[i].is_zero()) complain(zone_index, "bytes beyond the capacity");
            continue;
        }
        const Stamp owed = zone.acked[unit];
        const bool is_owed = unit < was.acked_end && !owed.is_zero();
        if (found[i] != owed && (is_owed || !is_plausible(zone, found[i]))) {
            complain(zone_index, fmt::format("unit {} reads as {}, not {}", unit, to_text(found[i]),
                                             to_text(owed)));
        }
    }
}

void Truth::check_report(const Snapshot& before, std::uint32_t zone_index,
                         const ZoneDescriptor& shown) {
    ++answers_;
    const Zone& zone = zones_[zone_index];
    const Snapshot::Zone& was = before.zones[zone_index];
    if (shown.type != geometry_.type_of(ZoneIndex(zone_index)) ||
        shown.capacity != capacity_units(zone_index) * kUnit ||
        shown.start != geometry_.start_of(ZoneIndex(zone_index))) {
        complain(zone_index, "the report shows another zone layout");
    }
    if (is_conventional(zone_index)) {
        if (shown.state != ZoneState::not_write_pointer) complain(zone_index, "has a pointer");
        return;
    }
    const bool is_stable = was.is_stable && was.resets == zone.resets && !zone.uncertain;
    if (!is_stable) return;
    const std::uint64_t pointer = (shown.write_pointer - shown.start) / kUnit;
    const bool unchanged = was.changes == zone.changes && is_alone(zone);
    if (shown.state == ZoneState::full) {
        if (unchanged && !is_full(zone_index)) complain(zone_index, "shows full and is not");
        return;
    }
    if (pointer < was.acked_end || pointer >= capacity_units(zone_index)) {
        complain(zone_index, fmt::format("shows its pointer at {}, with {} acknowledged", pointer,
                                         was.acked_end));
    }
    if (!unchanged) return;
    if (is_full(zone_index)) complain(zone_index, "is full and shows something else");
    if (pointer != zone.acked_end) {
        complain(zone_index,
                 fmt::format("shows its pointer at {}, not {}", pointer, zone.acked_end));
    }
    const bool is_explicit = shown.state == ZoneState::explicit_open;
    if (zone.open_is_known && is_explicit != zone.explicitly_open) {
        complain(zone_index, fmt::format("shows {}, explicit open is {}",
                                         zone_state_name(shown.state), zone.explicitly_open));
    }
    if (!is_explicit && is_open_or_closed(shown.state) != (pointer > 0)) {
        complain(zone_index, fmt::format("shows {} with its pointer at {}",
                                         zone_state_name(shown.state), pointer));
    }
}

void Truth::check_limits(std::span<const ZoneDescriptor> shown) {
    std::uint32_t open = 0;
    std::uint32_t active = 0;
    for (const ZoneDescriptor& zone : shown) {
        if (!is_open_or_closed(zone.state)) continue;
        ++active;
        if (zone.state != ZoneState::closed) ++open;
    }
    if (geometry_.max_open_zones != 0 && open > geometry_.max_open_zones) {
        complain(0, fmt::format("{} zones are open", open));
    }
    // After a power loss commit pages of different rounds may show more active zones than the
    // limit; the geometries here have one page, so they cannot.
    if (geometry_.max_active_zones != 0 && active > geometry_.max_active_zones) {
        complain(0, fmt::format("{} zones are active", active));
    }
}

// --- After a crash ------------------------------------------------------------------------------

/// Where the zeroes begin; nothing else may follow them.
std::uint64_t Truth::data_end_of(std::uint32_t zone, const std::vector<Stamp>& found) const {
    const auto end = std::ranges::find_if(found, &Stamp::is_zero);
    const auto stale =
        std::find_if(end, found.end(), [](const Stamp& stamp) { return !stamp.is_zero(); });
    if (stale != found.end()) {
        complain(zone, fmt::format("unit {} holds {} behind zeroes at unit {}",
                                   stale - found.begin(), to_text(*stale), end - found.begin()));
    }
    return static_cast<std::uint64_t>(end - found.begin());
}

/// [crash contract, 1 to 4]
void Truth::judge_content(std::uint32_t zone_index, const std::vector<Stamp>& found,
                          std::uint64_t data_end) const {
    const Zone& zone = zones_[zone_index];
    const bool must_hold = zone.acked_holds;
    for (std::uint64_t unit = 0; unit < data_end; ++unit) {
        const Stamp owed = zone.acked[unit];
        if (must_hold && !owed.is_zero()) {
            if (found[unit] != owed) {
                complain(zone_index, fmt::format("unit {} holds {}, not {}", unit,
                                                 to_text(found[unit]), to_text(owed)));
            }
            continue;
        }
        if (found[unit] != owed && !is_plausible(zone, found[unit])) {
            complain(zone_index, fmt::format("unit {} holds {} of an earlier life", unit,
                                             to_text(found[unit])));
        }
        const bool begins = found[unit].unit == 0;
        const bool goes_on = unit > 0 && found[unit - 1].write == found[unit].write &&
                             found[unit - 1].unit + 1 == found[unit].unit;
        if (!begins && !goes_on) {
            complain(zone_index, fmt::format("unit {} holds {} without what comes before it", unit,
                                             to_text(found[unit])));
        }
    }
    if (!must_hold) return;
    const std::uint64_t shown_end = zone.shown_doubt.exists ? zone.sure_end : zone.acked_end;
    const std::uint64_t owed_end = crash_ == Crash::power_loss ? zone.durable_end : shown_end;
    if (data_end < owed_end) {
        complain(zone_index, fmt::format("data ends at unit {}, owed are {}{}", data_end, owed_end,
                                         crash_ == Crash::power_loss ? " (flushed)" : ""));
    }
}

/// [crash contract, 2, 4 and 5]
void Truth::judge_state(std::uint32_t zone_index, const ZoneDescriptor& shown,
                        std::uint64_t data_end) const {
    const Zone& zone = zones_[zone_index];
    const std::uint64_t capacity = capacity_units(zone_index);
    const bool closes_zones = crash_ == Crash::power_loss && !may_be_clean_;
    const bool keeps_zones = crash_ != Crash::power_loss;
    if (shown.state == ZoneState::full) {
        const bool may_be_full = data_end == capacity || zone.finished ||
                                 zone.finishes_flying > 0 || !zone.acked_holds ||
                                 zone.finish_failed || zone.finish_doubt.exists;
        if (!may_be_full) complain(zone_index, "is full, and nobody finished it");
        return;
    }
    const std::uint64_t pointer = (shown.write_pointer - shown.start) / kUnit;
    if (pointer != data_end || data_end == capacity) {
        complain(zone_index, fmt::format("has its pointer at {} and data up to {} of {}", pointer,
                                         data_end, capacity));
    }
    if (zone.finished && zone.acked_holds) {
        complain(zone_index, fmt::format("was finished and is {}", zone_state_name(shown.state)));
    }
    bool allowed = false;
    switch (shown.state) {
        case ZoneState::empty: allowed = data_end == 0; break;
        case ZoneState::closed: allowed = data_end > 0; break;
        case ZoneState::implicit_open: allowed = data_end > 0 && !closes_zones; break;
        case ZoneState::explicit_open:
            allowed = !closes_zones && (zone.explicitly_open || !zone.open_is_known ||
                                        zone.actions > 0 || !zone.acked_holds);
            break;
        case ZoneState::not_write_pointer:
        case ZoneState::read_only:
        case ZoneState::full:
        case ZoneState::offline: break;
    }
    const bool stays_open = zone.explicitly_open && zone.open_is_known && zone.actions == 0 &&
                            zone.acked_holds && keeps_zones;
    if (!allowed || (stays_open && shown.state != ZoneState::explicit_open)) {
        complain(zone_index, fmt::format("is {} with data up to {}{}", zone_state_name(shown.state),
                                         data_end, stays_open ? ", was explicitly open" : ""));
    }
}

void Truth::judge_sequential(std::uint32_t zone_index, const ZoneDescriptor& shown,
                             const std::vector<Stamp>& found) {
    const Zone& zone = zones_[zone_index];
    const std::uint64_t data_end = data_end_of(zone_index, found);
    const bool may_be_reset = zone.resets_flying > 0 || zone.reset_failed ||
                              (zone.reset_doubt.exists && crash_ == Crash::power_loss);
    const bool was_reset =
        may_be_reset && data_end == 0 && shown.state == ZoneState::empty && zone.resets > 0;
    if (!was_reset) {
        judge_content(zone_index, found, data_end);
        judge_state(zone_index, shown, data_end);
    }
    adopt(zone_index, shown, found, data_end);
    if (was_reset) zones_[zone_index].durable_end = 0;
}

/// The states and the pointer of a sequential-write-preferred zone, and what it holds.
void Truth::judge_preferred(std::uint32_t zone_index, const ZoneDescriptor& shown,
                            const std::vector<Stamp>& found) {
    Zone& zone = zones_[zone_index];
    if (zone.resets_flying > 0 && shown.state == ZoneState::empty) {
        for (std::vector<Candidate>& candidates : zone.candidates) candidates = {Candidate{}};
        judge_anywhere(zone_index, found);
        adopt(zone_index, shown, found, 0);
        return;
    }
    std::uint64_t longest = zone.acked_end;
    for (const auto& [id, flying] : zone.writes) {
        longest = std::max(longest, *flying.at + flying.units);
    }
    const bool is_shown_full = shown.state == ZoneState::full;
    const std::uint64_t full_end = longest == capacity_units(zone_index) ? longest : zone.acked_end;
    const std::uint64_t data_end =
        is_shown_full ? full_end : (shown.write_pointer - shown.start) / kUnit;
    const std::uint64_t owed = crash_ == Crash::power_loss ? zone.durable_end : zone.acked_end;
    if (data_end < owed || data_end > longest) {
        complain(zone_index,
                 fmt::format("has its pointer at {}, owed are {} to {}", data_end, owed, longest));
    }
    judge_state(zone_index, shown, data_end);
    judge_anywhere(zone_index, found);
    adopt(zone_index, shown, found, data_end);
}

void Truth::judge_anywhere(std::uint32_t zone_index, const std::vector<Stamp>& found) {
    Zone& zone = zones_[zone_index];
    for (std::uint32_t unit = 0; unit < found.size(); ++unit) {
        std::vector<Candidate>& candidates = zone.candidates[unit];
        const auto last_sure = std::find_if(candidates.rbegin(), candidates.rend(),
                                            [](const Candidate& c) { return !c.doubtful; });
        // The daemon's death loses nothing that was completed; power loss what was not flushed.
        const auto first = crash_ == Crash::power_loss || last_sure == candidates.rend()
                               ? candidates.begin()
                               : std::prev(last_sure.base());
        const bool is_candidate =
            std::find_if(first, candidates.end(), [&](const Candidate& candidate) {
                return candidate.stamp == found[unit];
            }) != candidates.end();
        const bool is_flying = std::ranges::any_of(zone.writes, [&](const auto& entry) {
            const auto& [id, flying] = entry;
            return found[unit].write == id && *flying.at + found[unit].unit == unit;
        });
        if (!is_candidate && !is_flying) {
            complain(zone_index, fmt::format("unit {} holds {}, not {}", unit, to_text(found[unit]),
                                             to_text(candidates.back().stamp)));
        }
        if (crash_ == Crash::daemon_death) {
            candidates.push_back({.stamp = found[unit], .ack = acks_, .doubtful = false});
        } else {
            candidates = {{.stamp = found[unit], .ack = acks_, .doubtful = false}};
        }
    }
    zone.writes.clear();
    zone.actions = 0;
}

void Truth::judge_after_restart(std::uint32_t zone, const ZoneDescriptor& shown, ConstBytes data) {
    const std::vector<Stamp> found = decode(zone, 0, data);
    note(zone,
         fmt::format("after {}: {}, pointer {}",
                     crash_ == Crash::power_loss     ? "power loss"
                     : crash_ == Crash::daemon_death ? "the daemon's death"
                                                     : "a clean stop",
                     zone_state_name(shown.state), (shown.write_pointer - shown.start) / kUnit));
    if (is_conventional(zone)) {
        judge_anywhere(zone, found);
    } else if (takes_writes_anywhere(zone)) {
        judge_preferred(zone, shown, found);
    } else {
        judge_sequential(zone, shown, found);
    }
}

void Truth::judge_uncertain(std::uint32_t zone, const ZoneDescriptor& shown, ConstBytes data) {
    ZBDKIT_ASSERT(is_quiet(zone) && !is_conventional(zone));
    const Crash kept = std::exchange(crash_, Crash::daemon_death);
    zones_[zone].open_is_known = false;
    note(zone, fmt::format("looked at: {}, pointer {}", zone_state_name(shown.state),
                           (shown.write_pointer - shown.start) / kUnit));
    const Doubt reset_doubt = zones_[zone].reset_doubt;
    const Doubt finish_doubt = zones_[zone].finish_doubt;
    const bool had_doubt = std::exchange(zones_[zone].shown_doubt, Doubt{}).exists;
    const std::uint64_t sure_end = had_doubt ? zones_[zone].sure_end : zones_[zone].acked_end;
    judge_sequential(zone, shown, decode(zone, 0, data));
    if (failed_writes_may_go_ && zones_[zone].acked_end > sure_end) {
        zones_[zone].shown_doubt = {.exists = true, .since = zones_[zone].changes};
        zones_[zone].sure_end = sure_end;
    }
    zones_[zone].reset_doubt = reset_doubt;
    zones_[zone].finish_doubt = finish_doubt;
    crash_ = kept;
}

void Truth::adopt(std::uint32_t zone_index, const ZoneDescriptor& shown,
                  const std::vector<Stamp>& found, std::uint64_t data_end) {
    Zone& zone = zones_[zone_index];
    const bool knew = zone.acked_holds;
    zone.acked = found;
    zone.acked_end = data_end;
    // What was found after a power loss or a clean stop is on the medium.
    if (crash_ != Crash::daemon_death) {
        zone.durable_end = data_end;
    } else {
        zone.durable_end = knew ? std::min(zone.durable_end, data_end) : 0;
    }
    zone.finished = shown.state == ZoneState::full && data_end < zone.acked.size();
    zone.explicitly_open = shown.state == ZoneState::explicit_open;
    zone.open_is_known = true;
    zone.writes.clear();
    zone.actions = 0;
    zone.resets_flying = 0;
    zone.finishes_flying = 0;
    zone.era = next_write_;
    zone.uncertain = false;
    zone.acked_holds = true;
    zone.reset_failed = false;
    zone.finish_failed = false;
    zone.reset_doubt = {};
    zone.finish_doubt = {};
    zone.shown_doubt = {};
    ++zone.changes;
}

}  // namespace zbdkit::sim
