// SPDX-License-Identifier: Apache-2.0
// The leaf of a simulated graph: what driver `file` is to a file, this is to a SimDisk, by the same
// transfer functions over the reactor's engine, which must be a SimEngine of that disk.
#pragma once

#include <cstdint>
#include <memory>

#include "block/node.h"
#include "io/reactor.h"
#include "tests/sim/sim_disk.h"

namespace zbdkit::sim {

/// Whether the disk can be mapped into memory, as a file can and a network disk cannot.
enum class Mappable : std::uint8_t { yes, no };

/// @param disk  outlives the node; a mapping of it is the disk's own bytes
[[nodiscard]] std::unique_ptr<BlockNode> make_sim_node(Reactor& reactor, SimDisk& disk,
                                                       Mappable mappable);

}  // namespace zbdkit::sim
