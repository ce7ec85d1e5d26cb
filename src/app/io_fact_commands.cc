// SPDX-License-Identifier: Apache-2.0
// Commands about what the disk is: length, info, map, alloc; and truncate, which is refused.
#include <algorithm>
#include <array>

#include "app/io_arguments.h"
#include "app/io_number.h"
#include "app/io_output.h"
#include "app/io_shell.h"
#include "app/messages.h"

namespace zbdkit::app {
namespace {

bool run_length(IoShell& shell, const IoCommand& /*self*/, CommandWords& /*words*/) {
    say("{}\n", io_size_text(static_cast<double>(shell.disk().info().size)));
    return true;
}

bool run_info(IoShell& shell, const IoCommand& /*self*/, CommandWords& /*words*/) {
    say("format name: {}\ncluster size: 0 bytes\nvm state offset: 0 bytes\n",
        shell.disk().driver());
    const NodeInfo& info = shell.disk().info();
    if (info.zones.is_zoned()) {
        say("Format specific information:\n    zones: {}\n", describe_disk(info.zones, info.size));
    }
    return true;
}

/// Nothing lies below a disk that could show through, so all of it counts as allocated.
bool run_map(IoShell& shell, const IoCommand& /*self*/, CommandWords& /*words*/) {
    const std::uint64_t size = shell.disk().info().size;
    say("{} ({:#x}) bytes     allocated at offset 0 bytes (0x0)\n",
        io_size_text(static_cast<double>(size)), size);
    return true;
}

bool run_alloc(IoShell& shell, const IoCommand& /*self*/, CommandWords& words) {
    const Outcome<std::uint64_t> offset = parse_io_number(words.word(1));
    if (!offset) return refuse(offset.error());
    std::uint64_t wanted = kSectorSize;
    if (words.count() == 2) {
        const Outcome<std::uint64_t> count = parse_io_number(words.word(2));
        if (!count) return refuse(count.error());
        wanted = *count;
    }
    const std::uint64_t size = shell.disk().info().size;
    const std::uint64_t there = std::min(wanted, size - std::min(size, *offset));
    say("{}/{} bytes allocated at offset {}\n", there, there,
        io_size_text(static_cast<double>(*offset)));
    return true;
}

bool run_truncate(IoShell& shell, const IoCommand& self, CommandWords& words) {
    for (int letter = 0; (letter = words.next_option("m:")) != -1;) {
        if (letter == '?') return refuse(misuse(self).error());
    }
    const std::vector<std::string> operands = words.operands();
    if (operands.size() != 1) return refuse(misuse(self).error());
    const Outcome<std::uint64_t> length = parse_io_number(operands[0]);
    if (!length) return refuse(length.error());
    complain("{}: truncate is not supported: the length of a disk is fixed when it is opened",
             shell.program());
    return false;
}

constexpr std::array kCommands = {
    IoCommand{.name = "length",
              .alias = "l",
              .summary = "gets the length of the current file",
              .run = run_length},
    IoCommand{.name = "info",
              .alias = "i",
              .summary = "prints information about the current file",
              .run = run_info},
    IoCommand{.name = "map", .summary = "prints the allocated areas of a file", .run = run_map},
    IoCommand{.name = "alloc",
              .alias = "a",
              .least_words = 1,
              .most_words = 2,
              .arguments = "offset [count]",
              .summary = "checks if offset is allocated in the file",
              .run = run_alloc},
    IoCommand{.name = "truncate",
              .alias = "t",
              .least_words = 1,
              .most_words = 3,
              .arguments = "[-m prealloc_mode] off",
              .summary = "truncates the current file at the given offset",
              .details = "\nRefused: the length of a disk is fixed when it is opened.\n\n",
              .modifies = true,
              .run = run_truncate},
};

}  // namespace

std::span<const IoCommand> io_fact_commands() { return kCommands; }

}  // namespace zbdkit::app
