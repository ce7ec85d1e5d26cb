// SPDX-License-Identifier: Apache-2.0
#include "node/filter/fault_zones.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "base/text.h"
#include "node/filter/fault_rules.h"
#include "node/filter/option_list.h"

namespace zbdkit {
namespace {

constexpr std::array<std::string_view, 4> kWhenNames = {"start", "writes", "resets", "open"};

/// The zones that "3" or "3-7" names, first and last.
Outcome<std::pair<std::uint32_t, std::uint32_t>> parse_zones(const OptionValues& options,
                                                             std::string_view text,
                                                             const ZoneGeometry& geometry) {
    const std::size_t dash = std::min(text.find('-'), text.size());
    const std::string_view from = text.substr(0, dash);
    const std::string_view to = dash == text.size() ? from : text.substr(dash + 1);
    std::uint32_t first = 0;
    std::uint32_t last = 0;
    const auto first_parsed = std::from_chars(from.data(), from.data() + from.size(), first);
    const auto last_parsed = std::from_chars(to.data(), to.data() + to.size(), last);
    const bool is_number = first_parsed.ec == std::errc() && last_parsed.ec == std::errc() &&
                           first_parsed.ptr == from.data() + from.size() &&
                           last_parsed.ptr == to.data() + to.size();
    if (!is_number || first > last) {
        return bad_option(
            options, "zone",
            fmt::format("'{}' is neither a zone's number nor a range like 3-7", text));
    }
    if (last >= geometry.zone_count()) {
        return bad_option(
            options, "zone",
            fmt::format("'{}': the device has zones 0 to {}", text, geometry.zone_count() - 1));
    }
    if (first < geometry.conventional_zones) {
        return bad_option(
            options, "zone",
            fmt::format("'{}': zone {} is conventional, and only sequential zones wear "
                        "out",
                        text, first));
    }
    return std::pair(first, last);
}

Outcome<std::optional<ZoneState>> parse_state(const OptionValues& options) {
    if (!options.has("state")) return std::nullopt;
    const std::string given = options.text("state");
    if (given == "read-only") return ZoneState::read_only;
    if (given == "offline") return ZoneState::offline;
    return bad_option(options, "state",
                      fmt::format("'{}' is neither read-only nor offline", given));
}

bool is_write(Op op) { return op == Op::write || op == Op::append || op == Op::write_zeroes; }

}  // namespace

Outcome<ZoneFaults::Fault> ZoneFaults::parse_fault(const OptionValues& options,
                                                   const ZoneGeometry& geometry) {
    Fault fault;
    const std::vector<std::string> texts = word_list(options, "zone");
    if (texts.empty()) return bad_option(options, "zone", "it is missing");
    for (const std::string& text : texts) {
        const auto range = parse_zones(options, text, geometry);
        if (!range) return std::unexpected(range.error());
        for (std::uint32_t zone = range->first; zone <= range->second; ++zone) {
            fault.zones.push_back(zone);
        }
    }
    const std::string when = options.text("when", kWhenNames.front());
    const auto found = std::ranges::find(kWhenNames, when);
    if (found == kWhenNames.end()) {
        return bad_option(options, "when",
                          fmt::format("unknown time '{}'{}: known are {}", when,
                                      did_you_mean(when, kWhenNames), fmt::join(kWhenNames, ", ")));
    }
    fault.armed.when = static_cast<When>(found - kWhenNames.begin());
    const Outcome<std::optional<ZoneState>> state = parse_state(options);
    if (!state) return std::unexpected(state.error());
    fault.armed.state = *state;
    const bool is_open = fault.armed.when == When::open;
    if (!is_open && !*state) return bad_option(options, "state", "it is missing");
    if (!is_open && options.has("errno")) {
        return bad_option(options, "errno", "only an open fails, with when=open");
    }
    const std::string error_text = options.text("errno", "EIO");
    const Outcome<Error> error = parse_injected_error(error_text);
    if (!error) return bad_option(options, "errno", error.error().message);
    fault.armed.error = *error;
    const Outcome<std::uint64_t> after =
        options.number("after", is_open ? 0 : 1, std::numeric_limits<std::uint64_t>::max());
    if (!after) return std::unexpected(after.error());
    if (fault.armed.when == When::start && options.has("after")) {
        return bad_option(options, "after", "at the start there is nothing to count");
    }
    if (!is_open && *after == 0) return bad_option(options, "after", "expected at least 1");
    fault.armed.left = *after;
    return fault;
}

Outcome<ZoneFaults> ZoneFaults::parse(const OptionValues& options, const ZoneGeometry& geometry) {
    ZoneFaults faults;
    faults.geometry_ = geometry;
    for (const OptionValues& element : list_elements(options, "zone-fault")) {
        if (!geometry.is_zoned()) {
            return failure(fmt::format("{}: the node below has no zones", element.subject()),
                           Errc::not_supported);
        }
        const Outcome<Fault> fault = parse_fault(element, geometry);
        if (!fault) return std::unexpected(fault.error());
        for (const std::uint32_t zone : fault->zones) {
            if (fault->armed.when == When::start) {
                faults.wear_out(zone, *fault->armed.state);
            } else {
                faults.armed_[zone].push_back(fault->armed);
            }
        }
    }
    return faults;
}

/// Offline is for ever.
void ZoneFaults::wear_out(std::uint32_t zone, ZoneState state) {
    const auto [worn, is_new] = worn_.try_emplace(zone, state);
    if (!is_new && worn->second == ZoneState::offline) return;
    worn->second = state;
    armed_.erase(zone);
}

/// Happens at most twice to a zone, so the message needs no limit.
void ZoneFaults::wear_out_in_use(std::uint32_t zone, ZoneState state) {
    wear_out(zone, state);
    spdlog::info("fault: zone {} is {} from now on", zone, zone_state_name(state));
}

std::optional<ZoneState> ZoneFaults::worn_state(ZoneIndex zone) const {
    const auto found = worn_.find(to_number(zone));
    return found == worn_.end() ? std::nullopt : std::optional(found->second);
}

bool ZoneFaults::has_worn(ByteRange range, bool offline_only) const {
    if (worn_.empty() || range.length == 0) return false;
    const std::uint32_t last = to_number(geometry_.zone_of(range.end() - 1));
    auto worn = worn_.lower_bound(to_number(geometry_.zone_of(range.offset)));
    for (; worn != worn_.end() && worn->first <= last; ++worn) {
        if (!offline_only || worn->second == ZoneState::offline) return true;
    }
    return false;
}

Result<void> ZoneFaults::check(const Request& request) const {
    bool is_refused = false;
    switch (request.op) {
        case Op::read: is_refused = has_worn(request.range, true); break;
        case Op::write:
        case Op::write_zeroes:
        case Op::discard: is_refused = has_worn(request.range, false); break;
        case Op::append:
        case Op::zone_open:
        case Op::zone_close:
        case Op::zone_finish:
        case Op::zone_reset: is_refused = has_worn({request.range.offset, 1}, false); break;
        case Op::flush:
        case Op::report_zones:
        case Op::zone_reset_all: break;
    }
    if (is_refused) return fail(Errc::zone_invalid, "the zone is read-only or offline by a fault");
    return {};
}

bool ZoneFaults::watches_open(const Request& request) const {
    if (request.op != Op::zone_open && !is_write(request.op)) return false;
    const auto found = armed_.find(to_number(geometry_.zone_of(request.range.offset)));
    if (found == armed_.end()) return false;
    return std::ranges::any_of(found->second, [](const Armed& a) { return a.when == When::open; });
}

Result<void> ZoneFaults::opening(ZoneIndex zone) {
    const auto found = armed_.find(to_number(zone));
    if (found == armed_.end()) return {};
    std::vector<Armed>& faults = found->second;
    for (auto armed = faults.begin(); armed != faults.end(); ++armed) {
        if (armed->when != When::open) continue;
        if (armed->left > 0) {
            --armed->left;
            continue;
        }
        const Armed fault = *armed;
        faults.erase(armed);
        if (faults.empty()) armed_.erase(found);
        if (fault.state) wear_out_in_use(to_number(zone), *fault.state);
        return std::unexpected(fault.error);
    }
    return {};
}

void ZoneFaults::completed(const Request& request) {
    if (armed_.empty()) return;
    const bool is_reset = request.op == Op::zone_reset;
    if (!is_reset && !is_write(request.op)) return;
    count(to_number(geometry_.zone_of(request.range.offset)),
          is_reset ? When::resets : When::writes);
}

void ZoneFaults::count(std::uint32_t zone, When what) {
    const auto found = armed_.find(zone);
    if (found == armed_.end()) return;
    std::optional<ZoneState> state;
    for (Armed& armed : found->second) {
        if (armed.when != what || armed.left == 0) continue;
        if (--armed.left == 0) state = armed.state;
    }
    if (state) wear_out_in_use(zone, *state);
}

void ZoneFaults::show(std::span<ZoneDescriptor> zones) const {
    for (ZoneDescriptor& zone : zones) {
        const std::optional<ZoneState> worn = worn_state(geometry_.zone_of(zone.start));
        // A zone that is offline below stays so.
        if (!worn || zone.state == ZoneState::offline) continue;
        zone.state = *worn;
        zone.write_pointer = zone.start + zone.length;
    }
}

}  // namespace zbdkit
