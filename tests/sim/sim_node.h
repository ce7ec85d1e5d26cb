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

/// What kind of storage the disk says it is.
enum class Storage : std::uint8_t {
    mapped,    ///< can be mapped into memory, as a file
    unmapped,  ///< cannot, as what an NBD server has
    durable,   ///< nor that, but what it has completed outlives hosts, as what a Ceph cluster has
};

/// @param disk  outlives the node; a mapping of it is the disk's own bytes
[[nodiscard]] std::unique_ptr<BlockNode> make_sim_node(Reactor& reactor, SimDisk& disk,
                                                       Storage storage);

}  // namespace zbdkit::sim
