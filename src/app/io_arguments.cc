// SPDX-License-Identifier: Apache-2.0
#include "app/io_arguments.h"

#include <fmt/format.h>

#include <cstring>
#include <numeric>

#include "app/io_number.h"
#include "app/io_output.h"

namespace zbdkit::app {

bool refuse(const Failure& failure) {
    say("{}\n", failure.message);
    return false;
}

bool refuse(std::string_view what, const Error& error) {
    say("{} failed: {}\n", what, std::strerror(errno_of(error)));
    return false;
}

Outcome<void> check_io_sectors(ByteRange range) {
    if (!is_aligned(range.offset, kSectorSize)) {
        return failure(fmt::format("{} is not a sector-aligned value for 'offset'", range.offset),
                       Errc::misaligned);
    }
    if (!is_aligned(range.length, kSectorSize)) {
        return failure(fmt::format("{} is not a sector-aligned value for 'count'", range.length),
                       Errc::misaligned);
    }
    return {};
}

Outcome<ByteRange> parse_io_range(std::span<const std::string> words, std::string_view hint) {
    const Outcome<std::uint64_t> offset = parse_io_number(words[0]);
    if (!offset) return std::unexpected(offset.error());
    const Outcome<std::uint64_t> length = parse_io_number(words[1]);
    if (!length) return std::unexpected(length.error());
    if (*length > kMostIoBytes) {
        return failure(
            fmt::format("length cannot exceed {}{}, given {}", kMostIoBytes, hint, words[1]),
            Errc::out_of_range);
    }
    return ByteRange{*offset, *length};
}

ByteRange IoPieces::range() const {
    return {offset, std::accumulate(lengths.begin(), lengths.end(), std::uint64_t{0})};
}

Outcome<IoPieces> parse_io_pieces(std::span<const std::string> words) {
    const Outcome<std::uint64_t> offset = parse_io_number(words[0]);
    if (!offset) return std::unexpected(offset.error());
    IoPieces pieces{.offset = *offset};
    std::uint64_t total = 0;
    for (const std::string& word : words.subspan(1)) {
        const Outcome<std::uint64_t> length = parse_io_number(word);
        if (!length) return std::unexpected(length.error());
        if (*length > kMostIoBytes) {
            return failure(fmt::format("Argument '{}' exceeds maximum size {}", word, kMostIoBytes),
                           Errc::out_of_range);
        }
        if (*length > kMostIoBytes - total) {
            return failure(
                fmt::format("The total number of bytes exceed the maximum size {}", kMostIoBytes),
                Errc::out_of_range);
        }
        total += *length;
        pieces.lengths.push_back(*length);
    }
    return pieces;
}

void say_statistics(const IoManner& manner, const IoStatistics& statistics) {
    if (manner.is_quiet) return;
    say(manner.for_programs ? io_statistics_csv(statistics) : io_statistics_text(statistics));
}

bool verify_pattern(IoBuffer& buffer, std::uint64_t offset, ByteRange part, std::byte pattern) {
    if (buffer.holds(pattern, part)) return true;
    say("Pattern verification failed at offset {}, {} bytes\n", offset + part.offset, part.length);
    return false;
}

}  // namespace zbdkit::app
