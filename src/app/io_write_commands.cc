// SPDX-License-Identifier: Apache-2.0
// Commands that change data and wait for it: write, writev, discard, flush.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <utility>

#include "app/io_arguments.h"
#include "app/io_number.h"
#include "app/io_output.h"
#include "app/io_shell.h"

namespace zbdkit::app {
namespace {

// --- write, writev ------------------------------------------------------------------------------

struct WriteWish {
    IoManner manner;
    bool to_vm_state = false;
    bool compressed = false;
    bool durable = false;
    bool fast_zeroes = false;  ///< -n: lifts the limit of the length
    bool registers = false;
    bool unmaps = false;
    bool zeroes = false;
    std::optional<std::byte> pattern;
    std::optional<std::string> source;
    ByteRange range{};

    Outcome<void> take_option(const IoCommand& self, const CommandWords& words, int letter);
};

Outcome<void> WriteWish::take_option(const IoCommand& self, const CommandWords& words, int letter) {
    switch (letter) {
        case 'b': to_vm_state = true; return {};
        case 'c': compressed = true; return {};
        case 'C': manner.for_programs = true; return {};
        case 'f': durable = true; return {};
        case 'n': fast_zeroes = true; return {};
        case 'p': return {};  // ignored, as in qemu-io
        case 'q': manner.is_quiet = true; return {};
        case 'r': registers = true; return {};
        case 's': source = words.value(); return {};
        case 'u': unmaps = true; return {};
        case 'z': zeroes = true; return {};
        case 'P': {
            const Outcome<std::byte> byte = parse_io_pattern(words.value());
            if (!byte) return std::unexpected(byte.error());
            pattern = *byte;
            return {};
        }
        default: return misuse(self);
    }
}

/// @return the line that says which options contradict each other, or ""
std::string_view contradiction(const WriteWish& wish) {
    if (wish.to_vm_state && wish.zeroes) return "-b and -z cannot be specified at the same time";
    if (wish.durable && (wish.to_vm_state || wish.compressed)) {
        return "-f and -b or -c cannot be specified at the same time";
    }
    if (wish.fast_zeroes && !wish.zeroes) return "-n requires -z to be specified";
    if (wish.unmaps && !wish.zeroes) return "-u requires -z to be specified";
    if (wish.registers && wish.zeroes) {
        return "cannot combine zero write with registered I/O buffer";
    }
    const int contents =
        int{wish.zeroes} + int{wish.pattern.has_value()} + int{wish.source.has_value()};
    if (contents > 1) return "Only one of -z, -P, and -s can be specified at the same time";
    return "";
}

Outcome<WriteWish> parse_write(const IoCommand& self, CommandWords& words) {
    WriteWish wish;
    for (int letter = 0; (letter = words.next_option("bcCfnpP:qrs:uz")) != -1;) {
        const Outcome<void> taken = wish.take_option(self, words, letter);
        if (!taken) return std::unexpected(taken.error());
    }
    const std::vector<std::string> operands = words.operands();
    if (operands.size() != 2) return misuse(self);
    if (const std::string_view line = contradiction(wish); !line.empty()) {
        return failure(std::string(line), Errc::not_supported);
    }
    const Outcome<std::uint64_t> offset = parse_io_number(operands[0]);
    if (!offset) return std::unexpected(offset.error());
    if (wish.fast_zeroes) {
        const Outcome<std::uint64_t> length = parse_io_number(operands[1]);
        if (!length) return std::unexpected(length.error());
        wish.range = {*offset, *length};
        return wish;
    }
    const Outcome<ByteRange> range = parse_io_range(operands, " without -n");
    if (!range) return std::unexpected(range.error());
    wish.range = *range;
    if (!wish.to_vm_state && (!wish.compressed || wish.zeroes)) return wish;
    const Outcome<void> sectors = check_io_sectors(wish.range);
    if (!sectors) return std::unexpected(sectors.error());
    return wish;
}

/// Errors: a line for stderr.
Outcome<std::vector<std::byte>> read_source(const std::string& filename, std::uint64_t most) {
    std::ifstream file(filename, std::ios::binary);
    if (!file) return failure(fmt::format("{}: {}", filename, std::strerror(errno)));
    std::vector<char> text(most);
    file.read(text.data(), static_cast<std::streamsize>(most));
    text.resize(static_cast<std::size_t>(file.gcount()));
    if (text.empty()) return failure(fmt::format("{}: file is empty", filename));
    std::vector<std::byte> content(text.size());
    std::memcpy(content.data(), text.data(), text.size());
    return content;
}

/// The data of a write; nothing if its source cannot be read, which has been said.
std::optional<IoBuffer> make_content(IoShell& shell, const WriteWish& wish) {
    IoBuffer buffer(wish.range.length, shell.misaligns());
    if (!wish.source) {
        buffer.fill(wish.pattern.value_or(kIoPattern));
        return buffer;
    }
    const Outcome<std::vector<std::byte>> content =
        read_source(*wish.source, std::max<std::uint64_t>(wish.range.length, 1));
    if (!content) {
        complain(content.error().message);
        return std::nullopt;
    }
    buffer.fill_with(*content);
    return buffer;
}

/// Waits for a write and says how it went.
bool finish_write(IoShell& shell, const IoManner& manner, ByteRange range, std::string_view name,
                  Task<Result<void>> writing) {
    const std::uint64_t start_ns = shell.now_ns();
    const Result<void> done = shell.run(std::move(writing));
    const std::uint64_t time_ns = shell.now_ns() - start_ns;
    if (!done) return refuse(name, done.error());
    say_statistics(manner, {"wrote", range.offset, range.length, time_ns});
    return true;
}

bool run_write(IoShell& shell, const IoCommand& self, CommandWords& words) {
    const Outcome<WriteWish> wish = parse_write(self, words);
    if (!wish) return refuse(wish.error());
    if (wish->to_vm_state) return refuse_feature(shell, "write", kNoVmState);
    if (wish->compressed && !wish->zeroes) return refuse_feature(shell, "write", kNoCompression);
    const ByteRange range = wish->range;
    const Result<void> inside = shell.disk().check_range(range);
    if (!inside) return refuse("write", inside.error());
    if (wish->zeroes) {
        return finish_write(shell, wish->manner, range, "write",
                            shell.disk().write_zeroes(range, wish->durable, !wish->fast_zeroes));
    }
    const std::optional<IoBuffer> content = make_content(shell, *wish);
    if (!content) return false;
    return finish_write(shell, wish->manner, range, "write",
                        shell.disk().write(range, content->segments(), wish->durable));
}

bool run_writev(IoShell& shell, const IoCommand& self, CommandWords& words) {
    WriteWish wish;
    for (int letter = 0; (letter = words.next_option("CfP:qr")) != -1;) {
        const Outcome<void> taken = wish.take_option(self, words, letter);
        if (!taken) return refuse(taken.error());
    }
    const std::vector<std::string> operands = words.operands();
    if (operands.size() < 2) return refuse(misuse(self).error());
    const Outcome<IoPieces> pieces = parse_io_pieces(operands);
    if (!pieces) return refuse(pieces.error());
    const ByteRange range = pieces->range();
    const Result<void> inside = shell.disk().check_range(range);
    if (!inside) return refuse("writev", inside.error());
    IoBuffer buffer(pieces->lengths, shell.misaligns());
    buffer.fill(wish.pattern.value_or(kIoPattern));
    return finish_write(shell, wish.manner, range, "writev",
                        shell.disk().write(range, buffer.segments(), wish.durable));
}

// --- discard, flush -----------------------------------------------------------------------------

bool run_discard(IoShell& shell, const IoCommand& self, CommandWords& words) {
    IoManner manner;
    for (int letter = 0; (letter = words.next_option("Cq")) != -1;) {
        if (letter == '?') return refuse(misuse(self).error());
        (letter == 'C' ? manner.for_programs : manner.is_quiet) = true;
    }
    const std::vector<std::string> operands = words.operands();
    if (operands.size() != 2) return refuse(misuse(self).error());
    const Outcome<ByteRange> range = parse_io_range(operands);
    if (!range) return refuse(range.error());
    const std::uint64_t start_ns = shell.now_ns();
    const Result<void> done = shell.run(shell.disk().discard(*range));
    const std::uint64_t time_ns = shell.now_ns() - start_ns;
    if (!done) return refuse("discard", done.error());
    say_statistics(manner, {"discard", range->offset, range->length, time_ns});
    return true;
}

bool run_flush(IoShell& shell, const IoCommand& /*self*/, CommandWords& /*words*/) {
    const Result<void> done = shell.run(shell.disk().flush());
    return done ? true : refuse("flush", done.error());
}

constexpr std::string_view kWriteDetails =
    "\n"
    "Writes a range of the disk, with the byte 0xcd if nothing else is said.\n"
    "Example: 'write -P 7 512 1k' writes a kilobyte of sevens at byte 512.\n"
    " -C  statistics for programs\n"
    " -f  durable when the command ends\n"
    " -P  another byte\n"
    " -q  no statistics\n"
    " -s  the content of a file, repeated as needed\n"
    " -z  zeroes, by the disk's own command for that\n"
    " -n, -u  with -z: allow any length; allow giving back the space\n"
    " -p, -r  ignored\n"
    " -b, -c  refused: there is no VM state, and no compression\n"
    "\n";

constexpr std::string_view kWritevDetails =
    "\n"
    "Writes a range of the disk from several pieces of memory, one for each length.\n"
    " -C  statistics for programs\n"
    " -f  durable when the command ends\n"
    " -P  another byte than 0xcd\n"
    " -q  no statistics\n"
    " -r  ignored\n"
    "\n";

constexpr std::string_view kDiscardDetails =
    "\n"
    "Tells the disk that a range is no longer needed. A disk that cannot use that leaves the "
    "range\n"
    "as it is.\n"
    " -C  statistics for programs\n"
    " -q  no statistics\n"
    "\n";

constexpr std::array kCommands = {
    IoCommand{.name = "write",
              .alias = "w",
              .least_words = 2,
              .most_words = IoCommand::kAnyNumber,
              .arguments = "[-bcCfnqruz] [-P pattern | -s source_file] off len",
              .summary = "writes a number of bytes at a specified offset",
              .details = kWriteDetails,
              .modifies = true,
              .run = run_write},
    IoCommand{.name = "writev",
              .least_words = 2,
              .most_words = IoCommand::kAnyNumber,
              .arguments = "[-Cfqr] [-P pattern] off len [len..]",
              .summary = "writes a number of bytes at a specified offset",
              .details = kWritevDetails,
              .modifies = true,
              .run = run_writev},
    IoCommand{.name = "discard",
              .alias = "d",
              .least_words = 2,
              .most_words = IoCommand::kAnyNumber,
              .arguments = "[-Cq] off len",
              .summary = "discards a number of bytes at a specified offset",
              .details = kDiscardDetails,
              .modifies = true,
              .run = run_discard},
    IoCommand{.name = "flush",
              .alias = "f",
              .summary = "flush all in-core file state to disk",
              .run = run_flush},
};

}  // namespace

std::span<const IoCommand> io_write_commands() { return kCommands; }

}  // namespace zbdkit::app
