// SPDX-License-Identifier: Apache-2.0
// Commands that start a request and go on: aio_read, aio_write, aio_discard; and aio_flush, which
// waits for all of them. How a request went is said when it ends, whatever runs then; as in qemu-io
// that does not change the exit status.
#include <array>
#include <optional>
#include <utility>

#include "app/io_arguments.h"
#include "app/io_number.h"
#include "app/io_output.h"
#include "app/io_shell.h"

namespace zbdkit::app {
namespace {

/// A request on its way, with all it needs until it ends.
struct AsyncRequest {
    IoManner manner;
    bool dumps = false;
    bool durable = false;
    std::optional<std::byte> pattern;
    ByteRange range{};
    std::optional<IoBuffer> buffer;  ///< none for zeroes and discards

    /// Takes range and memory from the operands. What passes the end of the disk is refused later,
    /// without memory.
    Outcome<void> allocate(IoShell& shell, const std::vector<std::string>& operands,
                           std::byte content);
};

Task<void> read_beside(IoShell& shell, AsyncRequest request) {
    const std::uint64_t start_ns = shell.now_ns();
    const Result<void> done = co_await shell.disk().read(request.range, request.buffer->segments());
    const std::uint64_t time_ns = shell.now_ns() - start_ns;
    const std::uint64_t offset = request.range.offset;
    if (!done) {
        refuse("readv", done.error());  // this is how qemu-io calls it
        co_return;
    }
    if (request.pattern) {
        const ByteRange all = {0, request.range.length};
        static_cast<void>(verify_pattern(*request.buffer, offset, all, *request.pattern));
    }
    if (request.dumps && !request.manner.is_quiet) say(io_dump(offset, request.buffer->bytes()));
    say_statistics(request.manner, {"read", offset, request.range.length, time_ns});
}

Task<void> write_beside(IoShell& shell, AsyncRequest request) {
    const std::uint64_t start_ns = shell.now_ns();
    Task<Result<void>> writing =
        request.buffer
            ? shell.disk().write(request.range, request.buffer->segments(), request.durable)
            : shell.disk().write_zeroes(request.range, request.durable, true);
    const Result<void> done = co_await std::move(writing);
    const std::uint64_t time_ns = shell.now_ns() - start_ns;
    if (!done) {
        refuse("aio_write", done.error());
        co_return;
    }
    say_statistics(request.manner, {"wrote", request.range.offset, request.range.length, time_ns});
}

Task<void> discard_beside(IoShell& shell, AsyncRequest request) {
    const std::uint64_t start_ns = shell.now_ns();
    const Result<void> done = co_await shell.disk().discard(request.range);
    const std::uint64_t time_ns = shell.now_ns() - start_ns;
    if (!done) {
        refuse("aio_discard", done.error());
        co_return;
    }
    // Both blanks are qemu-io's.
    say_statistics(request.manner,
                   {"discarded ", request.range.offset, request.range.length, time_ns});
}

// --- Options ------------------------------------------------------------------------------------

struct AsyncWish {
    AsyncRequest request;
    bool injects_error = false;
    bool registers = false;
    bool unmaps = false;
    bool zeroes = false;

    Outcome<void> take_option(const IoCommand& self, const CommandWords& words, int letter);
};

Outcome<void> AsyncWish::take_option(const IoCommand& self, const CommandWords& words, int letter) {
    switch (letter) {
        case 'C': request.manner.for_programs = true; return {};
        case 'f': request.durable = true; return {};
        case 'i': injects_error = true; return {};
        case 'q': request.manner.is_quiet = true; return {};
        case 'r': registers = true; return {};
        case 'u': unmaps = true; return {};
        case 'v': request.dumps = true; return {};
        case 'z': zeroes = true; return {};
        case 'P': {
            const Outcome<std::byte> pattern = parse_io_pattern(words.value());
            if (!pattern) return std::unexpected(pattern.error());
            request.pattern = *pattern;
            return {};
        }
        default: return misuse(self);
    }
}

Outcome<AsyncWish> parse(const IoCommand& self, CommandWords& words, const char* letters) {
    AsyncWish wish;
    for (int letter = 0; (letter = words.next_option(letters)) != -1;) {
        const Outcome<void> taken = wish.take_option(self, words, letter);
        if (!taken) return std::unexpected(taken.error());
    }
    if (words.operands().size() < 2) return misuse(self);
    return wish;
}

/// @return true: the failure of a request that is made to fail is no failure of the command
bool inject_error(std::string_view kind) {
    say("injecting invalid {} request\n", kind);
    return true;
}

Outcome<void> AsyncRequest::allocate(IoShell& shell, const std::vector<std::string>& operands,
                                     std::byte content) {
    const Outcome<IoPieces> pieces = parse_io_pieces(operands);
    if (!pieces) return std::unexpected(pieces.error());
    range = pieces->range();
    const bool inside = shell.disk().check_range(range).has_value();
    buffer.emplace(inside ? pieces->lengths : std::vector<std::uint64_t>{}, shell.misaligns());
    buffer->fill(content);
    return {};
}

// --- Commands -----------------------------------------------------------------------------------

bool run_aio_read(IoShell& shell, const IoCommand& self, CommandWords& words) {
    Outcome<AsyncWish> wish = parse(self, words, "CP:iqrv");
    if (!wish) return refuse(wish.error());
    if (wish->injects_error) return inject_error("read");
    const Outcome<void> allocated = wish->request.allocate(shell, words.operands(), kIoUnread);
    if (!allocated) return refuse(allocated.error());
    shell.start(read_beside(shell, std::move(wish->request)));
    return true;
}

bool start_zeroes(IoShell& shell, AsyncWish& wish, const std::vector<std::string>& operands) {
    if (operands.size() != 2) {
        say("-z supports only a single length parameter\n");
        return false;
    }
    const Outcome<ByteRange> range = parse_io_range(operands);
    if (!range) return refuse(range.error());
    wish.request.range = *range;
    shell.start(write_beside(shell, std::move(wish.request)));
    return true;
}

bool run_aio_write(IoShell& shell, const IoCommand& self, CommandWords& words) {
    Outcome<AsyncWish> wish = parse(self, words, "CfiP:qruz");
    if (!wish) return refuse(wish.error());
    const std::vector<std::string> operands = words.operands();
    if (wish->unmaps && !wish->zeroes) {
        say("-u requires -z to be specified\n");
        return false;
    }
    if (wish->zeroes && wish->registers) {
        say("cannot combine zero write with registered I/O buffer\n");
        return false;
    }
    if (wish->injects_error) return inject_error("write");
    if (wish->zeroes) return start_zeroes(shell, *wish, operands);
    const std::byte content = wish->request.pattern.value_or(kIoPattern);
    const Outcome<void> allocated = wish->request.allocate(shell, operands, content);
    if (!allocated) return refuse(allocated.error());
    shell.start(write_beside(shell, std::move(wish->request)));
    return true;
}

bool run_aio_discard(IoShell& shell, const IoCommand& self, CommandWords& words) {
    Outcome<AsyncWish> wish = parse(self, words, "Cq");
    if (!wish) return refuse(wish.error());
    const std::vector<std::string> operands = words.operands();
    if (operands.size() != 2) return refuse(misuse(self).error());
    const Outcome<std::uint64_t> offset = parse_io_number(operands[0]);
    if (!offset) return refuse(offset.error());
    const Outcome<std::uint64_t> length = parse_io_number(operands[1]);
    if (!length) return refuse(length.error());
    wish->request.range = {*offset, *length};
    shell.start(discard_beside(shell, std::move(wish->request)));
    return true;
}

bool run_aio_flush(IoShell& shell, const IoCommand& /*self*/, CommandWords& /*words*/) {
    shell.finish_requests();
    return true;
}

constexpr std::string_view kReadDetails =
    "\n"
    "Starts to read a range of the disk, in one piece for each length. What came of it is said\n"
    "when it has ended; aio_flush waits for that. An error does not change the exit status.\n"
    " -C  statistics for programs\n"
    " -i  do nothing but say so\n"
    " -P  check that all bytes read have this value\n"
    " -q  no statistics\n"
    " -v  show the bytes read\n"
    " -r  ignored\n"
    "\n";

constexpr std::string_view kWriteDetails =
    "\n"
    "Starts to write a range of the disk, from one piece for each length. What came of it is said\n"
    "when it has ended; aio_flush waits for that. An error does not change the exit status.\n"
    " -C  statistics for programs\n"
    " -f  durable when it ends\n"
    " -i  do nothing but say so\n"
    " -P  another byte than 0xcd\n"
    " -q  no statistics\n"
    " -z  zeroes, by the disk's own command for that\n"
    " -u  with -z: allow giving back the space\n"
    " -r  ignored\n"
    "\n";

constexpr std::string_view kDiscardDetails =
    "\n"
    "Starts to discard a range of the disk. What came of it is said when it has ended; aio_flush\n"
    "waits for that. An error does not change the exit status.\n"
    " -C  statistics for programs\n"
    " -q  no statistics\n"
    "\n";

constexpr std::array kCommands = {
    IoCommand{.name = "aio_read",
              .least_words = 2,
              .most_words = IoCommand::kAnyNumber,
              .arguments = "[-Ciqrv] [-P pattern] off len [len..]",
              .summary = "asynchronously reads a number of bytes",
              .details = kReadDetails,
              .run = run_aio_read},
    IoCommand{.name = "aio_write",
              .least_words = 2,
              .most_words = IoCommand::kAnyNumber,
              .arguments = "[-Cfiqruz] [-P pattern] off len [len..]",
              .summary = "asynchronously writes a number of bytes",
              .details = kWriteDetails,
              .modifies = true,
              .run = run_aio_write},
    IoCommand{.name = "aio_discard",
              .least_words = 2,
              .most_words = IoCommand::kAnyNumber,
              .arguments = "[-Cq] off len",
              .summary = "asynchronously discards a number of bytes",
              .details = kDiscardDetails,
              .modifies = true,
              .run = run_aio_discard},
    IoCommand{.name = "aio_flush",
              .summary = "completes all outstanding aio requests",
              .run = run_aio_flush},
};

}  // namespace

std::span<const IoCommand> io_async_commands() { return kCommands; }

}  // namespace zbdkit::app
