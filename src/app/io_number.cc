// SPDX-License-Identifier: Apache-2.0
#include "app/io_number.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "base/units.h"

namespace zbdkit::app {
namespace {

constexpr long kMostMilliseconds = 24L * 60 * 60 * 1000;

std::unexpected<Failure> no_number(const std::string& text) {
    return failure(
        fmt::format("Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- {}",
                    text),
        Errc::not_supported);
}

std::unexpected<Failure> too_large(const std::string& text) {
    return failure(fmt::format("Parsing error: argument too large -- {}", text),
                   Errc::out_of_range);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Takes the digits off the front.
std::string_view take_digits(std::string_view& text) {
    const auto end = std::ranges::find_if_not(text, is_digit);
    const std::string_view digits = text.substr(0, static_cast<std::size_t>(end - text.begin()));
    text.remove_prefix(digits.size());
    return digits;
}

/// @return nothing if that passes kMaxOffset
std::optional<std::uint64_t> whole_number(std::string_view digits, int base) {
    std::uint64_t value = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (error != std::errc() || value > kMaxOffset) return std::nullopt;
    return value;
}

/// @return how many bits the suffix shifts; nothing if there is no such suffix
std::optional<unsigned> shift_of(std::string_view suffix) {
    constexpr std::string_view kSuffixes = "bkmgtpe";
    if (suffix.empty()) return 0U;
    if (suffix.size() > 1) return std::nullopt;
    const char c = static_cast<char>(std::tolower(static_cast<unsigned char>(suffix.front())));
    const std::size_t place = kSuffixes.find(c);
    if (place == std::string_view::npos) return std::nullopt;
    return static_cast<unsigned>(10 * place);
}

/// What digits after the point are worth in a unit, rounded to bytes.
std::uint64_t part_of(std::string_view digits, std::uint64_t unit) {
    double fraction = 0;
    double place = 1;
    for (const char c : digits) {
        place /= 10;
        fraction += place * (c - '0');
    }
    return static_cast<std::uint64_t>(std::llround(fraction * static_cast<double>(unit)));
}

bool has_fraction(std::string_view digits) {
    return digits.find_first_not_of('0') != std::string_view::npos;
}

Outcome<std::uint64_t> parse_hex(const std::string& text, std::string_view digits) {
    const auto is_hex = [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; };
    if (digits.empty() || !std::ranges::all_of(digits, is_hex)) return no_number(text);
    const std::optional<std::uint64_t> value = whole_number(digits, 16);
    if (!value) return too_large(text);
    return *value;
}

Outcome<std::uint64_t> parse_decimal(const std::string& text, std::string_view rest) {
    const std::string_view digits = take_digits(rest);
    std::string_view decimals;
    if (rest.starts_with('.')) {
        rest.remove_prefix(1);
        decimals = take_digits(rest);
    }
    const std::optional<unsigned> shift = shift_of(rest);
    if ((digits.empty() && decimals.empty()) || !shift) return no_number(text);
    if (*shift == 0 && has_fraction(decimals)) return no_number(text);
    const std::optional<std::uint64_t> whole =
        whole_number(digits.empty() ? std::string_view("0") : digits, 10);
    if (!whole || *whole > kMaxOffset >> *shift) return too_large(text);
    const std::uint64_t unit = std::uint64_t{1} << *shift;
    const std::uint64_t value = (*whole << *shift) + part_of(decimals, unit);
    if (value > kMaxOffset) return too_large(text);
    return value;
}

/// All of `text` as strtol(3) reads it, in whatever base its prefix says.
std::optional<long> parse_long(const std::string& text, long most) {
    char* end = nullptr;
    errno = 0;
    const long value = std::strtol(text.c_str(), &end, 0);
    const bool is_whole = end != text.c_str() && *end == '\0' && errno == 0;
    if (!is_whole || value < 0 || value > most) return std::nullopt;
    return value;
}

}  // namespace

Outcome<std::uint64_t> parse_io_number(const std::string& text) {
    std::string_view rest = text;
    const auto is_space = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
    while (!rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
    if (rest.starts_with('-')) {
        rest.remove_prefix(1);
        const bool is_whole = !rest.empty() && std::ranges::all_of(rest, is_digit);
        if (is_whole) return too_large(text);  // so says qemu-io
        return no_number(text);
    }
    if (rest.starts_with('+')) rest.remove_prefix(1);
    if (rest.starts_with("0x") || rest.starts_with("0X")) return parse_hex(text, rest.substr(2));
    return parse_decimal(text, rest);
}

Outcome<std::byte> parse_io_pattern(const std::string& text) {
    constexpr long kMostByte = 255;
    const std::optional<long> value = parse_long(text, kMostByte);
    if (value) return static_cast<std::byte>(*value);
    return failure(fmt::format("{} is not a valid pattern byte", text), Errc::not_supported);
}

Outcome<std::uint64_t> parse_io_milliseconds(const std::string& text) {
    const std::optional<long> value = parse_long(text, kMostMilliseconds);
    if (value) return static_cast<std::uint64_t>(*value);
    return failure(fmt::format("{} is not a valid number", text), Errc::not_supported);
}

}  // namespace zbdkit::app
