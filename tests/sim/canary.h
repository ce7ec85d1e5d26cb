// SPDX-License-Identifier: Apache-2.0
// Ways to break the store on purpose, to see that the simulator notices. Each is a node between
// the zoned format and the disk, or above the format, that does one thing wrong which a faulty
// store could do.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/error.h"
#include "block/node.h"
#include "node/format/zoned_header.h"

namespace zbdkit::sim {

enum class Canary : std::uint8_t {
    none,
    skip_data_sync,      ///< commit pages are written without a sync of the data before
    skip_commit_sync,    ///< and not synced afterwards
    publish_early,       ///< a write is reported before it has landed
    newer_slot,          ///< a commit page overwrites the slot that counts
    punch_early,         ///< a reset frees the space before it is committed
    forget_failure,      ///< a failed write is taken for a good one: nothing is rolled back
    private_live_table,  ///< the live table dies with the daemon
    stale_superblock,    ///< the second superblock is never written again: only `check` knows
    ignore_fua,          ///< a FUA write is answered like any other (above the format)
    trust_live_table,    ///< it is believed after a power loss too (in Simulation, no node)
    early_live_page,     ///< a page of the live table is reported before it has landed
    name_a_boot,         ///< an image on durable storage is in use by one host (in Simulation)
    lose_completed,      ///< durable storage that is not (in Simulation)
};

inline constexpr std::array<std::string_view, 14> kCanaryNames = {
    "none",           "skip-data-sync",     "skip-commit-sync",
    "publish-early",  "newer-slot",         "punch-early",
    "forget-failure", "private-live-table", "stale-superblock",
    "ignore-fua",     "trust-live-table",   "early-live-page",
    "name-a-boot",    "lose-completed"};

/// Errors: an unknown name, with the known ones.
[[nodiscard]] Outcome<Canary> parse_canary(std::string_view name);

/// The node for a canary below the format, or the child itself if it needs none.
[[nodiscard]] std::unique_ptr<BlockNode> with_canary(Canary canary, const ZoneGeometry& geometry,
                                                     std::unique_ptr<BlockNode> child);
/// The node for a canary above the format, or the format itself.
[[nodiscard]] std::unique_ptr<BlockNode> with_canary_above(Canary canary,
                                                           std::unique_ptr<BlockNode> format);

}  // namespace zbdkit::sim
