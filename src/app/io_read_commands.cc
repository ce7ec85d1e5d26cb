// SPDX-License-Identifier: Apache-2.0
// Commands that read and wait for it: read, readv.
#include <array>
#include <optional>

#include "app/io_arguments.h"
#include "app/io_number.h"
#include "app/io_output.h"
#include "app/io_shell.h"

namespace zbdkit::app {
namespace {

struct ReadWish {
    IoManner manner;
    bool dumps = false;
    bool of_vm_state = false;
    std::optional<std::byte> pattern;
    std::uint64_t pattern_offset = 0;  ///< within what is read
    std::optional<std::uint64_t> pattern_length;
    bool limits_pattern = false;
    ByteRange range{};

    Outcome<void> take_option(const IoCommand& self, const CommandWords& words, int letter);
};

Outcome<void> ReadWish::take_option(const IoCommand& self, const CommandWords& words, int letter) {
    switch (letter) {
        case 'b': of_vm_state = true; return {};
        case 'C': manner.for_programs = true; return {};
        case 'p':  // ignored, as in qemu-io
        case 'r': return {};
        case 'q': manner.is_quiet = true; return {};
        case 'v': dumps = true; return {};
        case 'P': {
            const Outcome<std::byte> byte = parse_io_pattern(words.value());
            if (!byte) return std::unexpected(byte.error());
            pattern = *byte;
            return {};
        }
        case 'l':
        case 's': {
            const Outcome<std::uint64_t> number = parse_io_number(words.value());
            if (!number) return std::unexpected(number.error());
            limits_pattern = true;
            if (letter == 'l') pattern_length = *number;
            if (letter == 's') pattern_offset = *number;
            return {};
        }
        default: return misuse(self);
    }
}

Outcome<void> check_pattern_range(const IoCommand& self, const ReadWish& wish) {
    if (wish.limits_pattern && !wish.pattern) return misuse(self);
    const std::uint64_t length = wish.range.length;
    const bool fits = wish.pattern_offset <= length &&
                      wish.pattern_length.value_or(0) <= length - wish.pattern_offset;
    if (fits) return {};
    return failure("pattern verification range exceeds end of read data", Errc::out_of_range);
}

Outcome<ReadWish> parse_read(const IoCommand& self, CommandWords& words) {
    ReadWish wish;
    for (int letter = 0; (letter = words.next_option("bCl:pP:qrs:v")) != -1;) {
        const Outcome<void> taken = wish.take_option(self, words, letter);
        if (!taken) return std::unexpected(taken.error());
    }
    const std::vector<std::string> operands = words.operands();
    if (operands.size() != 2) return misuse(self);
    const Outcome<ByteRange> range = parse_io_range(operands);
    if (!range) return std::unexpected(range.error());
    wish.range = *range;
    const Outcome<void> checked = check_pattern_range(self, wish);
    if (!checked) return std::unexpected(checked.error());
    if (!wish.of_vm_state) return wish;
    const Outcome<void> sectors = check_io_sectors(wish.range);
    if (!sectors) return std::unexpected(sectors.error());
    return wish;
}

/// Reads into the buffer and says how that went.
/// @param name  the command's, for messages
bool read_into(IoShell& shell, const ReadWish& wish, IoBuffer& buffer, std::string_view name) {
    buffer.fill(kIoUnread);
    const std::uint64_t start_ns = shell.now_ns();
    const Result<void> done = shell.run(shell.disk().read(wish.range, buffer.segments()));
    const std::uint64_t time_ns = shell.now_ns() - start_ns;
    if (!done) return refuse(name, done.error());
    bool succeeded = true;
    if (wish.pattern) {
        const std::uint64_t rest = wish.range.length - wish.pattern_offset;
        const ByteRange part = {wish.pattern_offset, wish.pattern_length.value_or(rest)};
        succeeded = verify_pattern(buffer, wish.range.offset, part, *wish.pattern);
    }
    if (wish.dumps && !wish.manner.is_quiet) say(io_dump(wish.range.offset, buffer.bytes()));
    say_statistics(wish.manner, {"read", wish.range.offset, wish.range.length, time_ns});
    return succeeded;
}

bool run_read(IoShell& shell, const IoCommand& self, CommandWords& words) {
    const Outcome<ReadWish> wish = parse_read(self, words);
    if (!wish) return refuse(wish.error());
    if (wish->of_vm_state) return refuse_feature(shell, "read", kNoVmState);
    const Result<void> inside = shell.disk().check_range(wish->range);
    if (!inside) return refuse("read", inside.error());
    IoBuffer buffer(wish->range.length, shell.misaligns());
    return read_into(shell, *wish, buffer, "read");
}

bool run_readv(IoShell& shell, const IoCommand& self, CommandWords& words) {
    ReadWish wish;
    for (int letter = 0; (letter = words.next_option("CP:qrv")) != -1;) {
        const Outcome<void> taken = wish.take_option(self, words, letter);
        if (!taken) return refuse(taken.error());
    }
    const std::vector<std::string> operands = words.operands();
    if (operands.size() < 2) return refuse(misuse(self).error());
    const Outcome<IoPieces> pieces = parse_io_pieces(operands);
    if (!pieces) return refuse(pieces.error());
    wish.range = pieces->range();
    const Result<void> inside = shell.disk().check_range(wish.range);
    if (!inside) return refuse("readv", inside.error());
    IoBuffer buffer(pieces->lengths, shell.misaligns());
    return read_into(shell, wish, buffer, "readv");
}

constexpr std::string_view kReadDetails =
    "\n"
    "Reads a range of the disk.\n"
    "Example: 'read -v 512 1k' shows the kilobyte that starts at byte 512.\n"
    " -C  statistics for programs: bytes,ops,time,bytes/s,ops/s\n"
    " -P  check that all bytes read have this value\n"
    " -l  with -P: check so many bytes only\n"
    " -s  with -P: leave out so many bytes at the start\n"
    " -q  no statistics\n"
    " -v  show the bytes read\n"
    " -p, -r  ignored\n"
    " -b  refused: there is no VM state\n"
    "\n";

constexpr std::string_view kReadvDetails =
    "\n"
    "Reads a range of the disk into several pieces of memory, one for each length.\n"
    " -C  statistics for programs\n"
    " -P  check that all bytes read have this value\n"
    " -q  no statistics\n"
    " -v  show the bytes read\n"
    " -r  ignored\n"
    "\n";

constexpr std::array kCommands = {
    IoCommand{.name = "read",
              .alias = "r",
              .least_words = 2,
              .most_words = IoCommand::kAnyNumber,
              .arguments = "[-abCqrv] [-P pattern [-s off] [-l len]] off len",
              .summary = "reads a number of bytes at a specified offset",
              .details = kReadDetails,
              .run = run_read},
    IoCommand{.name = "readv",
              .least_words = 2,
              .most_words = IoCommand::kAnyNumber,
              .arguments = "[-Cqrv] [-P pattern] off len [len..]",
              .summary = "reads a number of bytes at a specified offset",
              .details = kReadvDetails,
              .run = run_readv},
};

}  // namespace

std::span<const IoCommand> io_read_commands() { return kCommands; }

}  // namespace zbdkit::app
