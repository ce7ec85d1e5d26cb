// SPDX-License-Identifier: Apache-2.0
#include "node/filter/zone_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/assert.h"
#include "zone/zone_rules.h"

namespace zbdkit {
namespace {

using States = std::uint16_t;

constexpr States bit(ZoneState state) {
    return static_cast<States>(1U << static_cast<unsigned>(state));
}

constexpr States kEmpty = bit(ZoneState::empty);
constexpr States kExplicit = bit(ZoneState::explicit_open);
constexpr States kClosed = bit(ZoneState::closed);
constexpr States kFull = bit(ZoneState::full);
/// Implicitly open, or closed by the device to make room: nobody is told which.
constexpr States kPassive = bit(ZoneState::implicit_open) | kClosed;
constexpr States kWorking = kEmpty | kPassive | kExplicit | kFull;
constexpr States kOffline = bit(ZoneState::offline);
constexpr States kWorn = bit(ZoneState::read_only) | kOffline;
constexpr std::uint32_t kNoLimit = std::numeric_limits<std::uint32_t>::max();

States without(States states, States others) { return static_cast<States>(states & ~others); }

bool is_worn(States possible) { return (possible & kWorking) == 0; }

std::string text_of(States states) {
    std::string text;
    for (unsigned i = 0; i < 16; ++i) {
        const auto state = static_cast<ZoneState>(i);
        if ((states & (1U << i)) == 0) continue;
        text += fmt::format("{}{}", text.empty() ? "" : " or ", zone_state_name(state));
    }
    return text;
}

/// What a failed request cannot have changed: it was refused before anything was done.
bool is_refusal(Errc code) {
    switch (code) {
        case Errc::out_of_range:
        case Errc::misaligned:
        case Errc::zone_invalid:
        case Errc::zone_unaligned_wp:
        case Errc::zone_open_limit:
        case Errc::zone_active_limit: return true;
        case Errc::io:
        case Errc::no_space:
        case Errc::read_only:
        case Errc::not_supported:
        case Errc::corrupt:
        case Errc::shutting_down: return false;
    }
    return false;
}

ZoneAction action_of(Op op) {
    switch (op) {
        case Op::zone_open: return ZoneAction::open;
        case Op::zone_close: return ZoneAction::close;
        case Op::zone_finish: return ZoneAction::finish;
        case Op::zone_reset:
        case Op::zone_reset_all: return ZoneAction::reset;
        case Op::read:
        case Op::write:
        case Op::append:
        case Op::write_zeroes:
        case Op::discard:
        case Op::flush:
        case Op::report_zones: break;
    }
    std::unreachable();
}

/// A descriptor's state; some devices report a closed zone where nothing was written.
ZoneState seen_state(const ZoneDescriptor& seen) {
    const bool is_passive = (bit(seen.state) & kPassive) != 0;
    return is_passive && seen.write_pointer == seen.start ? ZoneState::empty : seen.state;
}

}  // namespace

ZoneWatch::ZoneWatch(const ZoneGeometry& geometry)
    : geometry_(geometry),
      zones_(geometry.zone_count()),
      most_open_(geometry.max_open_zones == 0 ? kNoLimit : geometry.max_open_zones),
      most_active_(geometry.max_active_zones == 0 ? kNoLimit : geometry.max_active_zones) {
    for (std::uint32_t i = 0; i < zones_.size(); ++i) forget(ZoneIndex(i));
}

bool ZoneWatch::is_tracked(ZoneIndex zone) const {
    return geometry_.type_of(zone) == ZoneType::sequential_required;
}

/// The one tracked zone that the request writes to.
std::optional<ZoneIndex> ZoneWatch::zone_written(const Request& request) const {
    const bool is_write = request.op == Op::write || request.op == Op::write_zeroes;
    if ((!is_write && request.op != Op::append) || request.range.length == 0) return std::nullopt;
    const ZoneIndex zone = geometry_.zone_of(request.range.offset);
    if (!is_tracked(zone)) return std::nullopt;
    const bool is_in_one = geometry_.zone_of(request.range.end() - 1) == zone;
    if (is_write && !is_in_one) return std::nullopt;
    return zone;
}

std::uint64_t ZoneWatch::ceiling(ZoneIndex index) const {
    const Zone& zone = zones_[to_number(index)];
    const std::uint64_t capacity = geometry_.capacity_of(index);
    const std::uint64_t room = capacity - zone.floor;
    const std::uint64_t flying = std::min(zone.flying, room);
    return zone.floor + flying + std::min(zone.doubt, room - flying);
}

/// Leaves out the states that the bounds of the pointer exclude.
void ZoneWatch::narrow(ZoneIndex index) {
    Zone& zone = at(index);
    if (is_worn(zone.possible)) return;
    const std::uint64_t capacity = geometry_.capacity_of(index);
    const std::uint64_t highest = ceiling(index);
    if (zone.floor == capacity) zone.possible = kFull;
    if (zone.floor > 0) zone.possible = without(zone.possible, kEmpty);
    if (highest == 0) zone.possible = without(zone.possible, kPassive);
    const bool is_active = (zone.possible & (kPassive | kExplicit)) != 0;
    if (is_active && highest == capacity) zone.possible |= kFull;
    if (zone.possible == 0) forget(index);
}

/// The zone may be anything from now on; only wear that is known does not go away.
void ZoneWatch::forget(ZoneIndex index) {
    Zone& zone = at(index);
    zone.floor = 0;
    zone.report_floor = 0;
    zone.doubt = geometry_.capacity_of(index);
    if (!is_worn(zone.possible) || zone.possible == 0) zone.possible = kWorking;
    extents_.erase(to_number(index));
}

void ZoneWatch::raise_floor(ZoneIndex index, std::uint64_t floor) {
    Zone& zone = at(index);
    if (floor <= zone.floor) return;
    zone.floor = floor;
    zone.raised = now_ + 1;  // later than every report in flight began
    if (reports_ == 0) zone.report_floor = floor;
}

/// The zone is what a report says: nothing changed it meanwhile.
void ZoneWatch::pin(ZoneIndex index, const ZoneDescriptor& seen) {
    Zone& zone = at(index);
    const ZoneState state = seen_state(seen);
    zone.possible = bit(state);
    if (state == ZoneState::implicit_open) zone.possible = kPassive;
    if (state == ZoneState::read_only) zone.possible = kWorn;
    zone.doubt = 0;
    const std::uint64_t capacity = geometry_.capacity_of(index);
    const bool is_past = state == ZoneState::full || is_worn_out(state);
    const std::uint64_t floor = is_past ? capacity : seen.write_pointer - seen.start;
    zone.floor = std::min(zone.floor, floor);
    zone.report_floor = std::min(zone.report_floor, floor);
    raise_floor(index, floor);
}

// --- Writes -------------------------------------------------------------------------------------

ZoneWatch::Ticket ZoneWatch::begin_write(ZoneIndex index, std::uint64_t length) {
    Zone& zone = at(index);
    const Ticket ticket = {.begun = ++now_,
                           .floor = zone.floor,
                           .is_worn_out = is_worn(zone.possible),
                           .is_alone = zone.writes == 0 && zone.actions == 0,
                           .is_without_action = zone.actions == 0};
    zone.writes += 1;
    zone.flying += length;
    zone.changed = ticket.begun;
    changed_ = ticket.begun;
    ++changing_;
    if ((zone.possible & (kEmpty | kPassive)) != 0) zone.possible |= kPassive;
    narrow(index);
    return ticket;
}

std::optional<ZoneWatch::Violation> ZoneWatch::end_write(ZoneIndex index, const Request& request,
                                                         const Ticket& ticket,
                                                         const Result<void>& result) {
    Zone& zone = at(index);
    const std::uint64_t length = request.range.length;
    const bool in_order =
        ticket.is_without_action && zone.actions == 0 && zone.acted <= ticket.begun;
    const bool is_alone = in_order && ticket.is_alone && zone.changed == ticket.begun;
    std::optional<std::string> problem;
    if (result) {
        const std::uint64_t offset =
            request.op == Op::append ? request.append_offset : request.range.offset;
        const ByteRange written = {offset - geometry_.start_of(index), length};
        problem = problem_of_place(index, request, offset);
        if (!problem && ticket.is_worn_out) problem = "a write to a worn-out zone was accepted";
        if (!problem && in_order) problem = problem_of_order(index, ticket, written);
        if (!problem && in_order) {
            keep_extent(index, written);
            raise_floor(index, written.end());
        }
    } else if (!is_refusal(result.error().code)) {
        zone.doubt = std::min(zone.doubt + length, geometry_.capacity_of(index));
    }
    zone.writes -= 1;
    zone.flying -= length;
    zone.changed = ++now_;
    changed_ = now_;
    --changing_;
    if (zone.writes == 0) extents_.erase(to_number(index));
    if (problem) {
        forget(index);
        return Violation{index, std::move(*problem)};
    }
    if (is_alone && result) zone.doubt = 0;  // now the pointer is where the data ends
    narrow(index);
    return std::nullopt;
}

/// What is wrong with the place of a successful write whatever the zone was.
std::optional<std::string> ZoneWatch::problem_of_place(ZoneIndex index, const Request& request,
                                                       std::uint64_t offset) const {
    const std::uint64_t start = geometry_.start_of(index);
    const std::uint64_t end = start + geometry_.capacity_of(index);
    const std::uint64_t length = request.range.length;
    if (offset < start || offset > end || length > end - offset) {
        return fmt::format("{} landed at {}+{}: expected it within the zone's capacity, {} to {}",
                           op_name(request.op), offset, length, start, end);
    }
    const std::uint64_t granularity = std::max<std::uint64_t>(geometry_.write_granularity, 1);
    if (!is_aligned(offset, granularity)) {
        return fmt::format("{} landed at {}: expected a multiple of the write granularity {}",
                           op_name(request.op), offset, granularity);
    }
    if (request.op == Op::append && length > geometry_.max_append_bytes) {
        return fmt::format("an append of {} bytes was accepted: expected at most {}", length,
                           geometry_.max_append_bytes);
    }
    return std::nullopt;
}

/// What is wrong with the place of a write that no action came across. Its own bytes still count
/// as in flight.
std::optional<std::string> ZoneWatch::problem_of_order(ZoneIndex index, const Ticket& ticket,
                                                       ByteRange written) const {
    const std::uint64_t start = geometry_.start_of(index);
    if (written.offset < ticket.floor) {
        return fmt::format(
            "a write landed at {}: expected it at or behind the write pointer, "
            "which had passed {}",
            start + written.offset, start + ticket.floor);
    }
    const std::uint64_t highest = ceiling(index);
    if (written.end() > highest) {
        return fmt::format(
            "a write landed at {}+{}: expected it at the write pointer, so to end "
            "at {} at most",
            start + written.offset, written.length, start + highest);
    }
    const auto found = extents_.find(to_number(index));
    if (found == extents_.end()) return std::nullopt;
    for (const ByteRange& extent : found->second) {
        if (written.offset >= extent.end() || extent.offset >= written.end()) continue;
        return fmt::format("a write landed at {}+{}, over another acknowledged at {}+{}",
                           start + written.offset, written.length, start + extent.offset,
                           extent.length);
    }
    return std::nullopt;
}

/// Remembers acknowledged data while other writes are in flight. Those that come later find the
/// floor, which lies behind it.
void ZoneWatch::keep_extent(ZoneIndex index, ByteRange written) {
    if (at(index).writes == 1) return;
    std::vector<ByteRange>& extents = extents_[to_number(index)];
    auto next = std::ranges::lower_bound(extents, written);
    if (next != extents.begin() && std::prev(next)->end() == written.offset) {
        --next;
        next->length += written.length;
    } else {
        next = extents.insert(next, written);
    }
    const auto after = std::next(next);
    if (after == extents.end() || next->end() != after->offset) return;
    next->length += after->length;
    extents.erase(after);
}

// --- Actions ------------------------------------------------------------------------------------

void ZoneWatch::begin_action(ZoneIndex index, std::uint64_t begun) {
    Zone& zone = at(index);
    // Later than its own beginning is what keeps a busy zone from looking untouched at the end.
    zone.changed = zone.writes == 0 && zone.actions == 0 ? begun : begun + 1;
    zone.acted = zone.changed;
    zone.actions += 1;
}

std::optional<ZoneWatch::Violation> ZoneWatch::end_action(ZoneIndex index, Op op,
                                                          std::uint64_t begun,
                                                          const Result<void>& result) {
    Zone& zone = at(index);
    const bool is_alone = zone.changed == begun;
    zone.actions -= 1;
    zone.changed = now_;
    zone.acted = now_;
    const bool is_whole_device = op == Op::zone_reset_all;
    if (is_alone && !result && is_refusal(result.error().code) && !is_whole_device) {
        return std::nullopt;
    }
    if (!is_alone || !result) {
        forget(index);
        return std::nullopt;
    }
    if (is_whole_device && is_worn(zone.possible)) return std::nullopt;
    return apply_action(index, action_of(op));
}

/// The action succeeded and nothing else came across.
std::optional<ZoneWatch::Violation> ZoneWatch::apply_action(ZoneIndex index, ZoneAction action) {
    Zone& zone = at(index);
    const States before = zone.possible;
    States after = 0;
    for (unsigned i = 0; i < 16; ++i) {
        if ((before & (1U << i)) == 0) continue;
        const ZoneRecord record = {.state = static_cast<ZoneState>(i), .data_end = zone.floor};
        const Result<ZoneRecord> changed =
            after_action(action, ZoneType::sequential_required, record);
        if (changed) after |= bit(changed->state);
    }
    if (after == 0) {
        forget(index);
        return Violation{index, fmt::format("an action that a zone refuses was accepted: the zone "
                                            "is {}",
                                            text_of(before))};
    }
    // A close with data that nobody acknowledged leaves a closed zone, one without an empty one.
    if (action == ZoneAction::close && ceiling(index) > 0) after |= kClosed;
    zone.possible = after;
    if (action == ZoneAction::finish || action == ZoneAction::reset) {
        zone.floor = action == ZoneAction::finish ? geometry_.capacity_of(index) : 0;
        zone.report_floor = 0;
        zone.doubt = 0;
    }
    narrow(index);
    return std::nullopt;
}

std::optional<ZoneWatch::Violation> ZoneWatch::end_reset_all(const Ticket& ticket,
                                                             const Result<void>& result) {
    std::optional<Violation> violation;
    for (std::uint32_t i = geometry_.conventional_zones; i < zones_.size(); ++i) {
        if (!is_tracked(ZoneIndex(i))) continue;
        std::optional<Violation> found =
            end_action(ZoneIndex(i), Op::zone_reset_all, ticket.begun, result);
        if (found && !violation) violation = std::move(found);
    }
    return violation;
}

// --- Reads and reports --------------------------------------------------------------------------

/// A read, or a write that is not within one sequential-write-required zone, has succeeded.
std::optional<ZoneWatch::Violation> ZoneWatch::end_transfer(const Request& request,
                                                            const Ticket& ticket) const {
    if (request.range.length == 0) return std::nullopt;
    const ZoneIndex first = geometry_.zone_of(request.range.offset);
    const ZoneIndex last = geometry_.zone_of(request.range.end() - 1);
    if (first != last && is_tracked(last)) {
        return Violation{
            last, fmt::format("a {} across the zone's border was accepted", op_name(request.op))};
    }
    if (!ticket.is_worn_out) return std::nullopt;
    return Violation{first, "a read of an offline zone was answered"};
}

std::optional<ZoneWatch::Violation> ZoneWatch::end_report(const Request& request,
                                                          const Ticket& ticket) {
    const ZoneIndex first = geometry_.zone_of(request.range.offset);
    if (request.zones_reported > request.zones.size()) {
        return Violation{first, fmt::format("{} zones were reported: there is room for {}",
                                            request.zones_reported, request.zones.size())};
    }
    if (request.zones_reported > zones_.size() - to_number(first)) {
        return Violation{first, "more zones were reported than the device has"};
    }
    const std::span<const ZoneDescriptor> zones = request.zones.first(request.zones_reported);
    std::optional<Violation> violation;
    for (std::uint32_t i = 0; i < zones.size(); ++i) {
        const ZoneIndex index{to_number(first) + i};
        std::optional<std::string> problem = problem_of_form(index, zones[i]);
        const bool is_well_formed = !problem;
        if (is_well_formed && is_tracked(index)) {
            problem = problem_of_state(index, zones[i], ticket.begun);
            const Zone& zone = at(index);
            if (zone.writes == 0 && zone.actions == 0 && zone.changed < ticket.begun) {
                pin(index, zones[i]);
            }
        }
        if (problem && !violation) violation = Violation{index, std::move(*problem)};
    }
    if (violation) return violation;
    return check_limits(zones, ticket);
}

/// What is wrong with a descriptor whatever happened before.
std::optional<std::string> ZoneWatch::problem_of_form(ZoneIndex index,
                                                      const ZoneDescriptor& seen) const {
    const ZoneType type = geometry_.type_of(index);
    if (seen.start != geometry_.start_of(index) || seen.length != geometry_.length_of(index) ||
        seen.capacity != geometry_.capacity_of(index) || seen.type != type) {
        return fmt::format("reported as {}+{} with capacity {}, {}: expected {}+{} with {}, {}",
                           seen.start, seen.length, seen.capacity, zone_type_name(seen.type),
                           geometry_.start_of(index), geometry_.length_of(index),
                           geometry_.capacity_of(index), zone_type_name(type));
    }
    if (type == ZoneType::conventional) {
        if (seen.state == ZoneState::not_write_pointer) return std::nullopt;
        return fmt::format("a conventional zone was reported as {}", zone_state_name(seen.state));
    }
    const States state = bit(seen.state);
    if ((state & (kWorking | kWorn)) == 0) {
        return fmt::format("a sequential zone was reported as {}", zone_state_name(seen.state));
    }
    if ((state & (kEmpty | kPassive | kExplicit)) == 0) return std::nullopt;
    const std::uint64_t end = seen.start + (state == kEmpty ? 0 : seen.capacity);
    if (seen.write_pointer < seen.start || seen.write_pointer > end) {
        return fmt::format("reported as {} with its write pointer at {}: expected {} to {}",
                           zone_state_name(seen.state), seen.write_pointer, seen.start, end);
    }
    return std::nullopt;
}

/// What is wrong with a well-formed descriptor after what is known of the zone.
std::optional<std::string> ZoneWatch::problem_of_state(ZoneIndex index, const ZoneDescriptor& seen,
                                                       std::uint64_t begun) const {
    const Zone& zone = zones_[to_number(index)];
    const bool is_unchanged = zone.changed < begun;
    const States state = bit(seen_state(seen));
    if (is_unchanged && is_worn(zone.possible) && (zone.possible & state) == 0) {
        return fmt::format("reported as {}: expected {}, as before", zone_state_name(seen.state),
                           text_of(zone.possible));
    }
    if ((state & kWorn) != 0 || is_worn(zone.possible)) return std::nullopt;
    const bool is_quiet = is_unchanged && zone.writes == 0 && zone.actions == 0;
    if (is_quiet && (zone.possible & state) == 0) {
        return fmt::format("reported as {}: expected {}", zone_state_name(seen.state),
                           text_of(zone.possible));
    }
    if (zone.actions != 0 || zone.acted >= begun || state == kFull) return std::nullopt;
    const std::uint64_t start = geometry_.start_of(index);
    const std::uint64_t lowest = zone.raised < begun ? zone.floor : zone.report_floor;
    const std::uint64_t highest = ceiling(index);
    const std::uint64_t pointer = seen.write_pointer - start;
    if (pointer >= lowest && pointer <= highest) return std::nullopt;
    return fmt::format("reported with its write pointer at {}: expected {} to {}",
                       seen.write_pointer, start + lowest, start + highest);
}

/// Open and active zones of one report. Only if nothing changed while it was made: a device may
/// look at one zone after the other.
std::optional<ZoneWatch::Violation> ZoneWatch::check_limits(std::span<const ZoneDescriptor> zones,
                                                            const Ticket& ticket) {
    if (changing_ != 0 || changed_ >= ticket.begun) return std::nullopt;
    std::uint32_t open = 0;
    std::uint32_t active = 0;
    std::optional<ZoneIndex> last;
    for (const ZoneDescriptor& zone : zones) {
        if (takes_open(zone.state)) ++open;
        if (!takes_active(zone.state)) continue;
        ++active;
        last = geometry_.zone_of(zone.start);
    }
    if (open > most_open_) {
        return Violation{*last,
                         fmt::format("{} zones are open: expected at most {}", open, most_open_)};
    }
    if (active > most_active_) {
        return Violation{
            *last, fmt::format("{} zones are active: expected at most {}", active, most_active_)};
    }
    if (zones.size() < zones_.size()) return std::nullopt;
    // What was over a limit at first, after a power loss, is not so again once it is less.
    if (geometry_.max_open_zones != 0) most_open_ = std::max(geometry_.max_open_zones, open);
    if (geometry_.max_active_zones != 0) {
        most_active_ = std::max(geometry_.max_active_zones, active);
    }
    return std::nullopt;
}

// --- What goes by -------------------------------------------------------------------------------

std::optional<ZoneWatch::Violation> ZoneWatch::load(std::span<const ZoneDescriptor> zones) {
    ZBDKIT_ASSERT(zones.size() == zones_.size());
    std::uint32_t open = 0;
    std::uint32_t active = 0;
    for (std::uint32_t i = 0; i < zones.size(); ++i) {
        std::optional<std::string> problem = problem_of_form(ZoneIndex(i), zones[i]);
        if (problem) return Violation{ZoneIndex(i), std::move(*problem)};
        pin(ZoneIndex(i), zones[i]);
        if (takes_open(zones[i].state)) ++open;
        if (takes_active(zones[i].state)) ++active;
    }
    most_open_ = std::max(most_open_, open);
    most_active_ = std::max(most_active_, active);
    return std::nullopt;
}

ZoneWatch::Ticket ZoneWatch::begin(const Request& request) {
    if (const std::optional<ZoneIndex> zone = zone_written(request)) {
        return begin_write(*zone, request.range.length);
    }
    Ticket ticket = {.begun = ++now_};
    const ZoneIndex zone = geometry_.zone_of(request.range.offset);
    switch (request.op) {
        case Op::report_zones: ++reports_; break;
        case Op::read:
            ticket.is_worn_out = request.range.length != 0 && at(zone).possible == kOffline;
            break;
        case Op::zone_open:
        case Op::zone_close:
        case Op::zone_finish:
        case Op::zone_reset:
            if (!is_tracked(zone)) break;
            ++changing_;
            begin_action(zone, ticket.begun);
            changed_ = ++now_;
            break;
        case Op::zone_reset_all:
            ++changing_;
            for (std::uint32_t i = geometry_.conventional_zones; i < zones_.size(); ++i) {
                if (is_tracked(ZoneIndex(i))) begin_action(ZoneIndex(i), ticket.begun);
            }
            changed_ = ++now_;
            break;
        case Op::write:
        case Op::append:
        case Op::write_zeroes:
        case Op::discard:
        case Op::flush: break;
    }
    return ticket;
}

std::optional<ZoneWatch::Violation> ZoneWatch::end(const Request& request, const Ticket& ticket,
                                                   const Result<void>& result) {
    if (const std::optional<ZoneIndex> zone = zone_written(request)) {
        return end_write(*zone, request, ticket, result);
    }
    const ZoneIndex zone = geometry_.zone_of(request.range.offset);
    switch (request.op) {
        case Op::report_zones:
            --reports_;
            return result ? end_report(request, ticket) : std::nullopt;
        case Op::read:
        case Op::write:
        case Op::write_zeroes: return result ? end_transfer(request, ticket) : std::nullopt;
        case Op::zone_open:
        case Op::zone_close:
        case Op::zone_finish:
        case Op::zone_reset:
            if (!is_tracked(zone)) break;
            --changing_;
            changed_ = ++now_;
            return end_action(zone, request.op, ticket.begun, result);
        case Op::zone_reset_all:
            --changing_;
            changed_ = ++now_;
            return end_reset_all(ticket, result);
        case Op::append:
        case Op::discard:
        case Op::flush: break;
    }
    return std::nullopt;
}

}  // namespace zbdkit
