// SPDX-License-Identifier: Apache-2.0
// Text for people: sizes and times in both directions, and the nearest known word to a mistyped
// one.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace zbdkit {

/// Reads a size as people write it: "4096", "0x1000", "8G", "1.5M", "256 MiB", "64k". All
/// suffixes (b k m g t p e, with or without B or iB) are powers of 1024.
/// Errors: a message that quotes the text and says what was expected.
[[nodiscard]] Outcome<std::uint64_t> parse_size(std::string_view text);

/// Reads a time as people write it: "10ms", "1.5", "250 us", "2 min". The units are ns, us, ms, s,
/// min and h; without one it is seconds.
/// @return nanoseconds; what is below one is cut off
/// Errors: a message that quotes the text and says what was expected; more than 2^63 - 1 ns.
[[nodiscard]] Outcome<std::uint64_t> parse_duration(std::string_view text);

/// Writes a time for people: "10 ms", "1.5 s", "250 us", "0 ns".
/// @param duration_ns  nanoseconds
[[nodiscard]] std::string format_duration(std::uint64_t duration_ns);

/// Writes a size for people: "256 MiB", "1.5 GiB", "4 KiB", "512 bytes".
[[nodiscard]] std::string format_size(std::uint64_t bytes);

/// @return the candidate with the smallest edit distance, or "" if none is near
[[nodiscard]] std::string_view nearest(std::string_view word,
                                       std::span<const std::string_view> candidates);

/// " (did you mean X?)" or "".
[[nodiscard]] std::string did_you_mean(std::string_view word,
                                       std::span<const std::string_view> candidates);

}  // namespace zbdkit
