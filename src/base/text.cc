// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

#include "base/units.h"

namespace zbdkit {
namespace {

constexpr std::string_view kSizeForms = "expected a size such as 4096, 0x1000, 64k, 8G or 1.5 TiB";

/// The shift a suffix stands for; "" is bytes.
std::optional<unsigned> suffix_shift(std::string_view suffix) {
    std::string lower(suffix);
    for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (lower.empty() || lower == "b" || lower == "byte" || lower == "bytes") return 0;
    constexpr std::string_view kLetters = "kmgtpe";
    const std::size_t letter = kLetters.find(lower[0]);
    if (letter == std::string_view::npos) return std::nullopt;
    const std::string rest = lower.substr(1);
    if (!rest.empty() && rest != "b" && rest != "ib" && rest != "i") return std::nullopt;
    return static_cast<unsigned>(10 * (letter + 1));
}

std::unexpected<Failure> bad_size(std::string_view text) {
    return failure(fmt::format("'{}' is not a size: {}", text, kSizeForms), Errc::not_supported);
}

/// value * 2^shift with a fraction given as digits behind the point.
std::optional<std::uint64_t> scale(std::uint64_t whole, std::string_view fraction, unsigned shift) {
    if (shift > 0 && whole > (kMaxOffset >> shift)) return std::nullopt;
    std::uint64_t bytes = whole << shift;
    if (bytes > kMaxOffset) return std::nullopt;
    if (fraction.empty()) return bytes;
    long double part = 0;
    long double weight = 0.1L;
    for (const char digit : fraction) {
        part += weight * static_cast<long double>(digit - '0');
        weight /= 10;
    }
    bytes += static_cast<std::uint64_t>(
        std::llroundl(part * static_cast<long double>(std::uint64_t{1} << shift)));
    if (bytes > kMaxOffset) return std::nullopt;
    return bytes;
}

}  // namespace

Outcome<std::uint64_t> parse_size(std::string_view text) {
    std::string_view rest = text;
    unsigned base = 10;
    if (rest.starts_with("0x") || rest.starts_with("0X")) {
        base = 16;
        rest.remove_prefix(2);
    }
    const auto is_digit = [base](char c) {
        const auto u = static_cast<unsigned char>(c);
        return base == 16 ? std::isxdigit(u) != 0 : std::isdigit(u) != 0;
    };
    const auto whole_end = std::ranges::find_if_not(rest, is_digit);
    const std::string whole(rest.begin(), whole_end);
    const std::size_t most_digits = base == 16 ? 16 : 19;  // what 64 bits can hold
    if (whole.empty() || whole.size() > most_digits) return bad_size(text);
    rest.remove_prefix(whole.size());
    std::string fraction;
    if (base == 10 && rest.starts_with('.')) {
        rest.remove_prefix(1);
        fraction.assign(rest.begin(), std::ranges::find_if_not(rest, is_digit));
        if (fraction.empty()) return bad_size(text);
        rest.remove_prefix(fraction.size());
    }
    while (rest.starts_with(' ')) rest.remove_prefix(1);
    const std::optional<unsigned> shift = suffix_shift(rest);
    if (!shift || (*shift == 0 && !fraction.empty())) return bad_size(text);
    const std::uint64_t number = std::stoull(whole, nullptr, static_cast<int>(base));
    const std::optional<std::uint64_t> bytes = scale(number, fraction, *shift);
    if (!bytes) {
        return failure(
            fmt::format("'{}' is too large: the largest size is 8 EiB less one byte", text),
            Errc::out_of_range);
    }
    return *bytes;
}

namespace {

struct TimeUnit {
    std::string_view name;
    std::uint64_t nanoseconds;
};
/// The first of those of one length is the one that is written.
constexpr std::array kTimeUnits = {
    TimeUnit{"ns", 1},
    TimeUnit{"us", 1'000},
    TimeUnit{"\u00b5s", 1'000},  // micro sign
    TimeUnit{"\u03bcs", 1'000},  // Greek mu
    TimeUnit{"ms", 1'000'000},
    TimeUnit{"s", 1'000'000'000},
    TimeUnit{"sec", 1'000'000'000},
    TimeUnit{"min", 60'000'000'000},
    TimeUnit{"h", 3'600'000'000'000},
};
constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::size_t kMostFractionDigits = 9;  // of an hour that is less than 4 us

/// @return how many leading characters are digits
std::size_t digits_in_front(std::string_view text) {
    const auto end = std::ranges::find_if_not(
        text, [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; });
    return static_cast<std::size_t>(end - text.begin());
}

std::optional<std::uint64_t> time_unit(std::string_view name) {
    if (name.empty()) return kSecond;
    const auto* const found = std::ranges::find(kTimeUnits, name, &TimeUnit::name);
    if (found == kTimeUnits.end()) return std::nullopt;
    return found->nanoseconds;
}

/// The part of a unit that digits behind a point stand for.
std::uint64_t fraction_of(std::uint64_t unit, std::string_view digits) {
    std::uint64_t numerator = 0;
    std::uint64_t denominator = 1;
    for (const char digit : digits) {
        numerator = numerator * 10 + static_cast<std::uint64_t>(digit - '0');
        denominator *= 10;
    }
    // In two steps: the product of an hour and nine digits does not fit.
    return unit / denominator * numerator + unit % denominator * numerator / denominator;
}

std::unexpected<Failure> bad_duration(std::string_view text) {
    return failure(fmt::format("'{}' is not a time: expected one such as 10ms, 250us, 1.5s or 2min "
                               "(seconds without a unit)",
                               text),
                   Errc::not_supported);
}

}  // namespace

Outcome<std::uint64_t> parse_duration(std::string_view text) {
    std::string_view rest = text;
    const std::string whole(rest.substr(0, digits_in_front(rest)));
    rest.remove_prefix(whole.size());
    std::string_view fraction;
    if (rest.starts_with('.')) {
        rest.remove_prefix(1);
        fraction = rest.substr(0, digits_in_front(rest));
        rest.remove_prefix(fraction.size());
        if (fraction.empty()) return bad_duration(text);
    }
    while (rest.starts_with(' ')) rest.remove_prefix(1);
    const std::optional<std::uint64_t> unit = time_unit(rest);
    constexpr std::size_t kMostDigits = 19;  // what 64 bits can hold
    if (whole.empty() || whole.size() > kMostDigits || !unit) return bad_duration(text);
    if (fraction.size() > kMostFractionDigits) return bad_duration(text);
    const std::uint64_t count = std::stoull(whole);
    const std::uint64_t part = fraction_of(*unit, fraction);
    constexpr auto kLongest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (count > (kLongest - part) / *unit) {
        return failure(fmt::format("'{}' is too long a time: at most 292 years", text),
                       Errc::out_of_range);
    }
    return count * *unit + part;
}

std::string format_duration(std::uint64_t duration_ns) {
    const TimeUnit* unit = &kTimeUnits.front();
    for (const TimeUnit& larger : kTimeUnits) {
        if (larger.nanoseconds <= duration_ns && larger.nanoseconds > unit->nanoseconds) {
            unit = &larger;
        }
    }
    const double value = static_cast<double>(duration_ns) / static_cast<double>(unit->nanoseconds);
    std::string number = fmt::format("{:.3f}", value);
    while (number.ends_with('0')) number.pop_back();
    if (number.ends_with('.')) number.pop_back();
    return fmt::format("{} {}", number, unit->name);
}

std::string format_size(std::uint64_t bytes) {
    constexpr std::array<std::string_view, 7> kUnits = {"bytes", "KiB", "MiB", "GiB",
                                                        "TiB",   "PiB", "EiB"};
    std::size_t unit = 0;
    auto value = static_cast<double>(bytes);
    while (value >= 1024 && unit + 1 < kUnits.size()) {
        value /= 1024;
        ++unit;
    }
    if (unit == 0) return fmt::format("{} {}", bytes, bytes == 1 ? "byte" : "bytes");
    std::string number = fmt::format("{:.2f}", value);
    while (number.ends_with('0')) number.pop_back();
    if (number.ends_with('.')) number.pop_back();
    return fmt::format("{} {}", number, kUnits.at(unit));
}

namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t substitution = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitution});
        }
    }
    return row[b.size()];
}

constexpr std::size_t kLongestWord = 64;

}  // namespace

std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates) {
    if (word.size() > kLongestWord) return {};
    std::string_view best;
    std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
    for (const std::string_view candidate : candidates) {
        const std::size_t distance = edit_distance(word, candidate);
        if (distance < best_distance) {
            best = candidate;
            best_distance = distance;
        }
    }
    return best;
}

std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates) {
    const std::string_view best = nearest(word, candidates);
    return best.empty() ? std::string() : fmt::format(" (did you mean '{}'?)", best);
}

}  // namespace zbdkit
