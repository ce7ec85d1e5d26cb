// SPDX-License-Identifier: Apache-2.0
// One simulated disk from its making on: opened, worked on, crashed, opened again, some dozen
// times. The zoned format, the graph and the virtio device are the real ones; below them is a
// SimDisk, around them a SimEngine. A seed says everything.
#pragma once

#include <cstdint>

#include "tests/sim/canary.h"
#include "tests/support/virtio/driver_memory.h"

namespace zbdkit::sim {

struct Tally {
    std::uint64_t lives = 0;  ///< of daemons
    std::uint64_t power_losses = 0;
    std::uint64_t daemon_deaths = 0;
    std::uint64_t failed_syncs = 0;  ///< after which the daemon ended, and the host went on
    std::uint64_t clean_stops = 0;
    std::uint64_t moves = 0;        ///< to another host, after the daemon or the host died
    std::uint64_t requests = 0;     ///< answered and judged
    std::uint64_t disk_events = 0;  ///< operations of the engine that ended
    std::uint64_t faults = 0;
    std::uint64_t units = 0;   ///< of 512 bytes, read and compared
    std::uint64_t checks = 0;  ///< looks of the product's checker at the disk

    void add(const Tally& other);
};

/// Where the disk is.
enum class Place : std::uint8_t {
    host,       ///< a file or device of the host: with its cache
    elsewhere,  ///< storage that another host can go on with, most of it durable on completion
};

/// Runs a disk's life. What is violated is printed, with the history of the zone, and ends the
/// process with exit code 1: nothing that runs could be trusted any more.
/// @param place   a seed means another disk elsewhere
/// @param memory  of the pretend guest; used anew by each life
void simulate(std::uint64_t seed, Place place, Canary canary, test::DriverMemory& memory,
              Tally& tally);

/// Memory that a simulation wants.
[[nodiscard]] std::size_t guest_memory_size();

}  // namespace zbdkit::sim
