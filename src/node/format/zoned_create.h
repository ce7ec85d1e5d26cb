// SPDX-License-Identifier: Apache-2.0
// Making a new zoned image: options to geometry, the rules of Linux guests, and the first bytes.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/options.h"
#include "block/node.h"
#include "io/task.h"
#include "node/format/zoned_header.h"

namespace zbdkit::zoned {

/// The options of a new image ("zone.size=64M,..."), with their defaults, for help.
inline constexpr std::array kCreateOptions = {
    OptionInfo{"zone.mode", "host-managed|host-aware", "zone model (default host-managed)"},
    OptionInfo{"zone.size", "SIZE", "bytes a zone spans (default 256M, less for a small disk)"},
    OptionInfo{"zone.capacity", "SIZE", "writable bytes of a zone (default zone.size)"},
    OptionInfo{"zone.conventional_zones", "N", "conventional zones at the start (default 0)"},
    OptionInfo{"zone.max_open_zones", "N", "limit of open zones, 0 = none (default 0)"},
    OptionInfo{"zone.max_active_zones", "N", "limit of active zones, 0 = none (default 0)"},
    OptionInfo{"zone.max_append_bytes", "SIZE", "largest zone append (default 504K)"},
    OptionInfo{"zone.write_granularity", "SIZE", "unit of sequential writes (default block_size)"},
    OptionInfo{"block_size", "SIZE", "logical block size (default 4K)"},
};

struct NewImage {
    ZoneGeometry geometry;
    std::uint32_t block_size = 4096;
};

/// Reads the options and fills in defaults: zones of 256 MiB (smaller for a small disk), capacity
/// as size, all sequential, no limits, host-managed, 4 KiB blocks.
/// @param device_size  bytes
/// Errors: unknown options and values, and geometries that no image can have.
[[nodiscard]] Outcome<NewImage> plan_image(std::uint64_t device_size, const OptionValues& options);

/// What a Linux guest's driver would refuse a disk of this geometry for.
/// @return "" if it would take it
[[nodiscard]] std::string linux_guest_objection(const NewImage& image);

/// Writes the metadata of an empty image; every zone is empty afterwards, whatever `node` held.
/// @param node  at least layout_of(geometry).image_size bytes
/// Errors: messages that name the node.
[[nodiscard]] Task<Outcome<void>> format_image(BlockNode& node, const NewImage& image);

}  // namespace zbdkit::zoned
