// SPDX-License-Identifier: Apache-2.0
// The zone commands: zone_report, zone_open, zone_close, zone_finish, zone_reset, zone_append.
#include <fmt/format.h>

#include <array>
#include <limits>

#include "app/io_arguments.h"
#include "app/io_number.h"
#include "app/io_output.h"
#include "app/io_shell.h"
#include "zone/zone_text.h"

namespace zbdkit::app {
namespace {

/// Two numbers; the zone commands but zone_append have no options.
Outcome<ByteRange> parse_zones(const CommandWords& words) {
    const Outcome<std::uint64_t> offset = parse_io_number(words.word(1));
    if (!offset) return std::unexpected(offset.error());
    const Outcome<std::uint64_t> length = parse_io_number(words.word(2));
    if (!length) return std::unexpected(length.error());
    return ByteRange{*offset, *length};
}

bool run_zone_report(IoShell& shell, const IoCommand& /*self*/, CommandWords& words) {
    const Outcome<ByteRange> wish = parse_zones(words);
    if (!wish) return refuse(wish.error());
    const std::uint64_t count = wish->length;
    if (count > std::numeric_limits<std::uint32_t>::max()) {
        say("Number of zones must be less than 2^32\n");
        return false;
    }
    const Result<std::vector<ZoneDescriptor>> zones =
        shell.run(shell.disk().report(wish->offset, count));
    if (!zones) return refuse("zone report", zones.error());
    const ZoneGeometry& geometry = shell.disk().info().zones;
    for (const ZoneDescriptor& zone : *zones) {
        say(report_line(ReportFormat::qemu_io, geometry.zone_of(zone.start), zone));
    }
    return true;
}

bool act(IoShell& shell, const CommandWords& words, Op action, std::string_view name) {
    const Outcome<ByteRange> zones = parse_zones(words);
    if (!zones) return refuse(zones.error());
    const Result<void> done = shell.run(shell.disk().act(action, *zones));
    return done ? true : refuse(name, done.error());
}

bool run_zone_open(IoShell& shell, const IoCommand& /*self*/, CommandWords& words) {
    return act(shell, words, Op::zone_open, "zone open");
}
bool run_zone_close(IoShell& shell, const IoCommand& /*self*/, CommandWords& words) {
    return act(shell, words, Op::zone_close, "zone close");
}
bool run_zone_finish(IoShell& shell, const IoCommand& /*self*/, CommandWords& words) {
    return act(shell, words, Op::zone_finish, "zone finish");
}
bool run_zone_reset(IoShell& shell, const IoCommand& /*self*/, CommandWords& words) {
    return act(shell, words, Op::zone_reset, "zone reset");
}

bool run_zone_append(IoShell& shell, const IoCommand& self, CommandWords& words) {
    bool says_place = false;
    for (int letter = 0; (letter = words.next_option("p")) != -1;) {
        if (letter == '?') return refuse(misuse(self).error());
        says_place = true;
    }
    const std::vector<std::string> operands = words.operands();
    if (operands.size() < 2) return refuse(misuse(self).error());
    const Outcome<IoPieces> pieces = parse_io_pieces(operands);
    if (!pieces) return refuse(pieces.error());
    const Result<void> inside = shell.disk().check_append(pieces->range());
    if (!inside) return refuse("zone append", inside.error());
    IoBuffer buffer(pieces->lengths, shell.misaligns());
    buffer.fill(kIoPattern);
    const Result<std::uint64_t> place =
        shell.run(shell.disk().append(pieces->offset, buffer.segments()));
    if (!place) return refuse("zone append", place.error());
    if (says_place) {
        say("After zap done, the append sector is {:#x}\n", Sectors::floor(*place).count());
    }
    return true;
}

constexpr std::string_view kReportDetails =
    "\n"
    "Lists zones from the one that holds the byte 'offset' on: start, length, capacity and write\n"
    "pointer in sectors of 512 bytes from the start of the disk; the state as a number (0 has no\n"
    "write pointer, 1 empty, 2 implicitly open, 3 explicitly open, 4 closed, 13 read-only, 14 "
    "full,\n"
    "15 offline) and the type (1 conventional, 2 sequential write required, 3 preferred).\n"
    "Example: 'zrp 0 10' lists the first ten zones.\n"
    "\n";

constexpr std::string_view kActionDetails =
    "\n"
    "The range is made of whole zones, in bytes. They are taken one by one: after an error those\n"
    "before stay changed.\n"
    "\n";

constexpr std::string_view kResetDetails =
    "\n"
    "The range is made of whole zones, in bytes. They are taken one by one: after an error those\n"
    "before stay changed. The range of the whole disk resets all zones at once and passes over "
    "those\n"
    "that cannot be reset.\n"
    "\n";

constexpr std::string_view kAppendDetails =
    "\n"
    "Writes the byte 0xcd at the write pointer of the zone that starts at the byte 'offset', in "
    "one\n"
    "piece for each length.\n"
    " -p  say at which sector of 512 bytes the data is\n"
    "Example: 'zap -p 0 4k 8k' appends 12 KiB to the first zone.\n"
    "\n";

constexpr std::array kCommands = {
    IoCommand{.name = "zone_report",
              .alias = "zrp",
              .least_words = 2,
              .most_words = 2,
              .arguments = "offset number",
              .summary = "report zone information",
              .details = kReportDetails,
              .run = run_zone_report},
    IoCommand{.name = "zone_open",
              .alias = "zo",
              .least_words = 2,
              .most_words = 2,
              .arguments = "offset len",
              .summary = "explicit open a range of zones in zone block device",
              .details = kActionDetails,
              .run = run_zone_open},
    IoCommand{.name = "zone_close",
              .alias = "zc",
              .least_words = 2,
              .most_words = 2,
              .arguments = "offset len",
              .summary = "close a range of zones in zone block device",
              .details = kActionDetails,
              .run = run_zone_close},
    IoCommand{.name = "zone_finish",
              .alias = "zf",
              .least_words = 2,
              .most_words = 2,
              .arguments = "offset len",
              .summary = "finish a range of zones in zone block device",
              .details = kActionDetails,
              .run = run_zone_finish},
    IoCommand{.name = "zone_reset",
              .alias = "zrs",
              .least_words = 2,
              .most_words = 2,
              .arguments = "offset len",
              .summary = "reset a zone write pointer in zone block device",
              .details = kResetDetails,
              .run = run_zone_reset},
    IoCommand{.name = "zone_append",
              .alias = "zap",
              .least_words = 2,
              .most_words = IoCommand::kAnyNumber,
              .arguments = "[-p] offset len [len..]",
              .summary = "append write a number of bytes at a specified offset",
              .details = kAppendDetails,
              .run = run_zone_append},
};

}  // namespace

std::span<const IoCommand> io_zone_commands() { return kCommands; }

}  // namespace zbdkit::app
