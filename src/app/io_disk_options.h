// SPDX-License-Identifier: Apache-2.0
// Which nodes `zbdkit io` opens for what a person asks: a file name with or without a format, or
// node options, with qemu-io's modes on top.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/options.h"
#include "block/node.h"
#include "io/task.h"

namespace zbdkit::app {

/// -t MODE
enum class IoCache : std::uint8_t {
    as_driver,      ///< not given: what the driver does by itself
    none,           ///< no page cache
    direct_sync,    ///< no page cache, and each write is durable when it ends
    write_back,     ///< page cache
    write_through,  ///< page cache, and each write is durable when it ends
    unsafe,         ///< page cache, and flushes do nothing
};

/// Errors: the line that qemu-io prints.
[[nodiscard]] Outcome<IoCache> parse_io_cache(std::string_view text);
/// -d MODE: ignore (off), unmap (on). @return whether discards reach the disk
/// Errors: the line that qemu-io prints.
[[nodiscard]] Outcome<bool> parse_io_discard(std::string_view text);
/// -i MODE: threads, native, io_uring. Any of them is io_uring here.
/// Errors: the line that qemu-io prints.
[[nodiscard]] Outcome<void> check_io_aio_mode(std::string_view text);

/// What to open and how.
struct IoOpening {
    std::string filename;  ///< or an address; "" if the options name a whole graph
    OptionValues options;  ///< of the root node; without "driver" the file is probed
    bool read_only = false;
    bool force_share = false;  ///< without the image's lock
    IoCache cache = IoCache::as_driver;
    bool discards = true;
};

struct IoPlan {
    OptionValues options;      ///< of the root node, complete
    bool guessed_raw = false;  ///< the file was probed and is nothing that is known
};

/// Whether nobody named a driver for an address: what is there must be looked at by its node, to
/// set "driver" to what format_of() says before plan_io_opening().
[[nodiscard]] bool needs_probe(const IoOpening& opening);
/// "zoned" or "raw". What cannot be read is left to the raw format.
[[nodiscard]] Task<std::string_view> format_of(BlockNode& storage);

/// The options of the nodes to open. Looks at the file if it is to be probed.
/// Errors: an unknown driver, one without a file name, locks ignored for writing.
[[nodiscard]] Outcome<IoPlan> plan_io_opening(const IoOpening& opening);

}  // namespace zbdkit::app
