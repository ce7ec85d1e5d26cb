// SPDX-License-Identifier: Apache-2.0
// The answer to ZONE_REPORT, written into the guest's buffers as the zones are read. Time is linear
// in the zones and segments, memory is one batch of zones whatever the guest asks for.
// [virtio 1.3, 5.2.6]
#pragma once

#include <cstdint>

#include "base/error.h"
#include "base/iovec.h"
#include "graph/backend.h"
#include "io/task.h"
#include "virtio/blk_wire.h"
#include "zone/zone.h"

namespace zbdkit {

/// Zones read from the graph at once, and the most in one answer: a driver asks again from where
/// an answer ends, so a guest with a large buffer cannot hold the reactor.
inline constexpr std::uint32_t kReportBatch = 64;
inline constexpr std::uint32_t kMaxReportedZones = 65536;

/// Writes header and descriptors: as many as fit, starting with the zone that contains `offset`.
/// @param offset    bytes, within the device
/// @param segments  at least the header's 64 bytes in total
/// Errors: those of the graph. Nothing in the header then counts.
/// Thread: owner reactor. Waits: for the graph.
[[nodiscard]] Task<Result<void>> write_zone_report(BlockBackend& backend, std::uint64_t offset,
                                                   IoSegments segments);

/// A zone as virtio shows it. The write pointer where the specification leaves it undefined is the
/// start of a conventional zone, and the end of a full, read-only or offline one: nothing can be
/// written there.
[[nodiscard]] BlkZoneDescriptor to_wire(const ZoneDescriptor& zone);

}  // namespace zbdkit
