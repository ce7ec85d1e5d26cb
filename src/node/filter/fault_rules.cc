// SPDX-License-Identifier: Apache-2.0
#include "node/filter/fault_rules.h"

#include <fmt/format.h>
#include <string.h>  // strerrorname_np

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "base/text.h"
#include "node/filter/option_list.h"

namespace zbdkit {
namespace {

using OpBits = std::bitset<kOpCount>;

constexpr std::uint64_t kMaxNumber = std::numeric_limits<std::uint64_t>::max();
constexpr int kMaxErrno = 133;  // EHWPOISON, the last that Linux has
constexpr const char* kInjected = "injected fault";

std::size_t number_of(Op op) { return static_cast<std::size_t>(op); }

OpBits bits_of(std::initializer_list<Op> ops) {
    OpBits bits;
    for (const Op op : ops) bits.set(number_of(op));
    return bits;
}

/// A name for some operations.
struct OpWord {
    std::string_view name;
    OpBits ops;
};

/// QEMU's events that exist here, and its word for any. Every operation's name is an event too.
std::vector<OpWord> event_words() {
    std::vector<OpWord> words = {
        {"none", OpBits().set()},
        {"read_aio", bits_of({Op::read})},
        {"write_aio", bits_of({Op::write, Op::append})},
        {"flush_to_disk", bits_of({Op::flush})},
    };
    for (std::size_t i = 0; i < kOpCount; ++i) {
        words.push_back({op_name(static_cast<Op>(i)), OpBits().set(i)});
    }
    return words;
}

std::vector<OpWord> iotype_words() {
    return {{"read", bits_of({Op::read})},
            {"write", bits_of({Op::write, Op::append})},
            {"write-zeroes", bits_of({Op::write_zeroes})},
            {"discard", bits_of({Op::discard})},
            {"flush", bits_of({Op::flush})}};
}

/// The operations that the option names; all if it is not given.
Outcome<OpBits> parse_ops(const OptionValues& options, std::string_view key,
                          const std::vector<OpWord>& words) {
    if (!options.has(key)) return OpBits().set();
    const std::string given = options.text(key);
    if (given == "block-status") {
        return bad_option(options, key, "'block-status' is no request here: nothing could fail");
    }
    std::vector<std::string_view> names;
    for (const OpWord& word : words) {
        if (word.name == given) return word.ops;
        names.push_back(word.name);
    }
    return bad_option(options, key,
                      fmt::format("unknown {} '{}'{}: known are {}", key, given,
                                  did_you_mean(given, names), fmt::join(names, ", ")));
}

Outcome<std::optional<ByteRange>> parse_range(const OptionValues& options) {
    if (options.has("sector")) {
        if (options.has("offset") || options.has("length")) {
            return bad_option(options, "sector", "expected alone, or offset and length instead");
        }
        const Outcome<std::uint64_t> sector =
            options.number("sector", 0, kMaxOffset / kSectorSize - 1);
        if (!sector) return std::unexpected(sector.error());
        return ByteRange{*sector * kSectorSize, kSectorSize};
    }
    if (!options.has("offset")) {
        if (options.has("length"))
            return bad_option(options, "length", "expected an offset with it");
        return std::nullopt;
    }
    const Outcome<std::uint64_t> offset = options.size("offset", 0);
    if (!offset) return std::unexpected(offset.error());
    const Outcome<std::uint64_t> length = options.size("length", 1);
    if (!length) return std::unexpected(length.error());
    const ByteRange range = {*offset, *length};
    if (range.length == 0) return bad_option(options, "length", "expected at least 1 byte");
    if (!range.is_sane()) return bad_option(options, "offset", "the range ends beyond 2^63 bytes");
    return range;
}

Outcome<double> parse_probability(const OptionValues& options) {
    if (!options.has("probability")) return 1.0;
    const std::string given = options.text("probability");
    const bool is_percent = given.ends_with('%');
    const char* end = given.data() + given.size() - (is_percent ? 1 : 0);
    double value = 0;
    const auto [parsed, error] = std::from_chars(given.data(), end, value);
    if (is_percent) value /= 100;
    if (error != std::errc() || parsed != end || !(value >= 0 && value <= 1)) {
        return bad_option(
            options, "probability",
            fmt::format("'{}' is neither a number from 0 to 1 nor from 0% to 100%", given));
    }
    return value;
}

Outcome<Error> parse_error_of(const OptionValues& options) {
    if (!options.has("errno")) return error_from_errno(EIO, kInjected);
    Outcome<Error> error = parse_injected_error(options.text("errno"));
    if (!error) return bad_option(options, "errno", error.error().message);
    return error;
}

/// The bytes that a request is about: whole zones for what does not say which bytes.
std::optional<ByteRange> extent_of(const Request& request, const ZoneGeometry& zones) {
    switch (request.op) {
        case Op::read:
        case Op::write:
        case Op::write_zeroes:
        case Op::discard: return request.range;
        case Op::append:
        case Op::zone_open:
        case Op::zone_close:
        case Op::zone_finish:
        case Op::zone_reset: {
            const ZoneIndex zone = zones.zone_of(request.range.offset);
            return ByteRange{zones.start_of(zone), zones.length_of(zone)};
        }
        case Op::report_zones:
        case Op::flush:
        case Op::zone_reset_all: break;
    }
    return std::nullopt;
}

bool overlap(const ByteRange& a, const ByteRange& b) {
    return a.offset < b.end() && b.offset < a.end();
}

}  // namespace

Outcome<Error> parse_injected_error(std::string_view text) {
    int number = 0;
    const char* end = text.data() + text.size();
    const auto [parsed, error] = std::from_chars(text.data(), end, number);
    if (error == std::errc() && parsed == end && number >= 1 && number <= kMaxErrno) {
        return error_from_errno(number, kInjected);
    }
    for (int candidate = 1; candidate <= kMaxErrno; ++candidate) {
        const char* name = ::strerrorname_np(candidate);
        if (name != nullptr && text == name) return error_from_errno(candidate, kInjected);
    }
    for (const Errc code :
         {Errc::io, Errc::no_space, Errc::read_only, Errc::not_supported, Errc::zone_invalid,
          Errc::zone_unaligned_wp, Errc::zone_open_limit, Errc::zone_active_limit, Errc::corrupt}) {
        if (text == errc_name(code)) return Error{code, 0, kInjected};
    }
    return failure(fmt::format("'{}' is no error: expected a number from 1 to {}, a name like EIO, "
                               "ENOSPC or ETOOMANYREFS, or one like zone_unaligned_wp",
                               text, kMaxErrno),
                   Errc::not_supported);
}

Outcome<FaultRules::ErrorRule> FaultRules::parse_error(const OptionValues& options) {
    ErrorRule rule;
    const Outcome<OpBits> events = parse_ops(options, "event", event_words());
    if (!events) return std::unexpected(events.error());
    const Outcome<OpBits> iotypes = parse_ops(options, "iotype", iotype_words());
    if (!iotypes) return std::unexpected(iotypes.error());
    rule.ops = *events & *iotypes;
    if (rule.ops.none()) {
        return bad_option(options, "iotype",
                          fmt::format("no request is '{}' on event '{}'", options.text("iotype"),
                                      options.text("event")));
    }
    const Outcome<std::optional<ByteRange>> range = parse_range(options);
    if (!range) return std::unexpected(range.error());
    rule.range = *range;
    const Outcome<std::uint64_t> state = options.number("state", kAnyState, kMaxNumber);
    if (!state) return std::unexpected(state.error());
    rule.state = *state;
    const Outcome<std::uint64_t> after = options.number("after", 0, kMaxNumber);
    if (!after) return std::unexpected(after.error());
    rule.after = *after;
    const Outcome<bool> once = options.flag("once", false);
    if (!once) return std::unexpected(once.error());
    const Outcome<std::uint64_t> count = options.number("count", *once ? 1 : 0, kMaxNumber);
    if (!count) return std::unexpected(count.error());
    if (*once && *count != 1) return bad_option(options, "count", "with once=on it can only be 1");
    rule.count = *count;
    const Outcome<double> probability = parse_probability(options);
    if (!probability) return std::unexpected(probability.error());
    rule.probability = *probability;
    const Outcome<Error> error = parse_error_of(options);
    if (!error) return std::unexpected(error.error());
    rule.error = *error;
    return rule;
}

Outcome<FaultRules::StateChange> FaultRules::parse_change(const OptionValues& options) {
    StateChange change;
    const Outcome<OpBits> events = parse_ops(options, "event", event_words());
    if (!events) return std::unexpected(events.error());
    change.ops = *events;
    const Outcome<std::uint64_t> from = options.number("state", kAnyState, kMaxNumber);
    if (!from) return std::unexpected(from.error());
    change.from = *from;
    if (!options.has("new_state")) return bad_option(options, "new_state", "it is missing");
    const Outcome<std::uint64_t> to = options.number("new_state", 1, kMaxNumber);
    if (!to) return std::unexpected(to.error());
    if (*to == kAnyState) return bad_option(options, "new_state", "0 stands for any state");
    change.to = *to;
    return change;
}

Outcome<FaultRules> FaultRules::parse(const OptionValues& options, std::uint64_t seed,
                                      const ZoneGeometry& zones) {
    FaultRules rules;
    rules.zones_ = zones;
    const Outcome<std::uint64_t> given = options.number("seed", seed, kMaxNumber);
    if (!given) return std::unexpected(given.error());
    rules.random_.seed(*given);
    for (const OptionValues& element : list_elements(options, "inject-error")) {
        Outcome<ErrorRule> rule = parse_error(element);
        if (!rule) return std::unexpected(std::move(rule.error()));
        rules.errors_.push_back(std::move(*rule));
    }
    for (const OptionValues& element : list_elements(options, "set-state")) {
        Outcome<StateChange> change = parse_change(element);
        if (!change) return std::unexpected(std::move(change.error()));
        rules.changes_.push_back(*change);
    }
    return rules;
}

std::optional<Error> FaultRules::decide(const Request& request) {
    const auto rule = std::ranges::find_if(
        errors_, [&](ErrorRule& candidate) { return fires(candidate, request); });
    // The event meets the state that it found: changes come after errors, and all at once.
    const std::uint64_t found = state_;
    for (const StateChange& change : changes_) {
        if (!change.ops.test(number_of(request.op))) continue;
        if (change.from == kAnyState || change.from == found) state_ = change.to;
    }
    if (rule == errors_.end()) return std::nullopt;
    return rule->error;
}

bool FaultRules::fires(ErrorRule& rule, const Request& request) {
    if (!rule.ops.test(number_of(request.op))) return false;
    if (rule.state != kAnyState && rule.state != state_) return false;
    if (rule.range) {
        const std::optional<ByteRange> extent = extent_of(request, zones_);
        if (!extent || !overlap(*extent, *rule.range)) return false;
    }
    if (rule.passed < rule.after) {
        ++rule.passed;
        return false;
    }
    if (rule.count != 0 && rule.failed == rule.count) return false;
    if (!draw(rule.probability)) return false;
    ++rule.failed;
    return true;
}

/// Made of the engine's bits directly: the standard's distributions differ between libraries.
bool FaultRules::draw(double probability) {
    if (probability >= 1) return true;
    constexpr int kBits = 53;  // what a double holds exactly
    const std::uint64_t bits = random_() >> (64 - kBits);
    return std::ldexp(static_cast<double>(bits), -kBits) < probability;
}

bool FaultRules::uses_chance() const {
    return std::ranges::any_of(errors_, [](const ErrorRule& r) { return r.probability < 1; });
}

}  // namespace zbdkit
