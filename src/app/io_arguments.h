// SPDX-License-Identifier: Apache-2.0
// Arguments that several commands of `zbdkit io` share: ranges, lists of lengths, and what happens
// to results. The failures' messages are the lines to print, those of qemu-io.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "app/io_buffer.h"
#include "app/io_text.h"
#include "base/error.h"
#include "base/units.h"

namespace zbdkit::app {

/// The longest transfer of one command, bytes.
inline constexpr std::uint64_t kMostIoBytes = 2147483136;

/// Says the failure's line on stdout, as qemu-io does with wrong arguments. @return false
bool refuse(const Failure& failure);

/// "read failed: Input/output error" on stdout. @return false
bool refuse(std::string_view what, const Error& error);

/// VM state and compression move whole sectors only, which is checked before they are refused.
[[nodiscard]] Outcome<void> check_io_sectors(ByteRange range);

/// Offset and length of a transfer.
/// @param words  two of them
/// @param hint   what lifts the limit of the length, for the message: " without -n", or ""
[[nodiscard]] Outcome<ByteRange> parse_io_range(std::span<const std::string> words,
                                                std::string_view hint = "");

/// Offset and lengths of a transfer in pieces.
struct IoPieces {
    std::uint64_t offset = 0;
    std::vector<std::uint64_t> lengths;

    [[nodiscard]] ByteRange range() const;
};
/// @param words  the offset, and at least one length
[[nodiscard]] Outcome<IoPieces> parse_io_pieces(std::span<const std::string> words);

/// What a command says of its success.
struct IoManner {
    bool is_quiet = false;      ///< -q: nothing
    bool for_programs = false;  ///< -C
};
void say_statistics(const IoManner& manner, const IoStatistics& statistics);

/// Looks for a pattern in what was read, and says if it is not there.
/// @param offset  on the disk, of the buffer's first byte
/// @param part    within the buffer
[[nodiscard]] bool verify_pattern(IoBuffer& buffer, std::uint64_t offset, ByteRange part,
                                  std::byte pattern);

}  // namespace zbdkit::app
