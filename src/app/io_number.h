// SPDX-License-Identifier: Apache-2.0
// Numbers as commands of `zbdkit io` take them. The grammar and the messages are those of qemu-io,
// to the letter, so they are not parse_size()'s. Pure.
//
//   number   = ["+"] ( "0x" hexdigits | decimal [suffix] )
//   decimal  = digits | [digits] "." [digits]      at least one digit; a fraction of a byte is
//                                                  refused, one of a unit is rounded
//   suffix   = b k m g t p e, either case: powers of 1024 bytes
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/error.h"

namespace zbdkit::app {

/// @return what a signed file offset can hold
/// Errors: the line that qemu-io prints, for text that is no such number and for numbers that are
/// negative or too large.
[[nodiscard]] Outcome<std::uint64_t> parse_io_number(const std::string& text);

/// The value of a byte, 0 to 255, as strtol(3) reads it: 205, 0xcd, 0315.
/// Errors: the line that qemu-io prints.
[[nodiscard]] Outcome<std::byte> parse_io_pattern(const std::string& text);

/// Milliseconds, as strtol(3) reads them.
/// Errors: the line that qemu-io prints; also above a day.
[[nodiscard]] Outcome<std::uint64_t> parse_io_milliseconds(const std::string& text);

}  // namespace zbdkit::app
