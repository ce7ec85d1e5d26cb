// SPDX-License-Identifier: Apache-2.0
// Where tools read zones from: the root node of a graph.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "app/workshop.h"
#include "base/error.h"
#include "block/node.h"
#include "zone/zone.h"

namespace zbdkit::app {

class ZoneSource {
  public:
    /// Zones that one report() can give.
    static constexpr std::uint32_t kMostAtOnce = 4096;

    /// @param workshop  outlives the source
    ZoneSource(Workshop& workshop, std::unique_ptr<BlockNode> node)
        : workshop_(workshop), node_(std::move(node)) {}
    ZoneSource(const ZoneSource&) = delete;
    ZoneSource& operator=(const ZoneSource&) = delete;
    /// Closes the graph, if an error kept others from that.
    ~ZoneSource();

    /// Model none if the disk is not zoned.
    [[nodiscard]] const ZoneGeometry& geometry() const { return node_->info().zones; }
    [[nodiscard]] std::uint64_t size() const { return node_->info().size; }

    /// The zones from the one that contains `offset` on, kMostAtOnce at most.
    /// @param offset  bytes, within the device
    [[nodiscard]] Result<std::vector<ZoneDescriptor>> report(std::uint64_t offset);

    /// Closes the graph. The last call.
    [[nodiscard]] Outcome<void> close();

  private:
    Workshop& workshop_;
    std::unique_ptr<BlockNode> node_;
};

/// How the zones of a disk stand.
struct ZoneSummary {
    std::uint64_t conventional = 0;
    std::uint64_t empty = 0;
    std::uint64_t implicit_open = 0;
    std::uint64_t explicit_open = 0;
    std::uint64_t closed = 0;
    std::uint64_t full = 0;
    std::uint64_t read_only = 0;
    std::uint64_t offline = 0;
    std::uint64_t sequential_bytes = 0;  ///< below the write pointers; a full zone: its capacity
    std::uint64_t sequential_capacity = 0;
};

/// Reads all zones. Errors: as ZoneSource::report().
[[nodiscard]] Result<ZoneSummary> summarize(ZoneSource& source);

}  // namespace zbdkit::app
