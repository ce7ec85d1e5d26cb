// SPDX-License-Identifier: Apache-2.0
// Protocol "memory": storage in RAM, sparse, gone when it is closed.
#pragma once

#include "block/driver.h"

namespace zbdkit {

extern const DriverInfo kMemoryDriver;

/// Storage that tests keep across several opens of a graph: a node over memory of the caller.
/// @param memory  outlives the node
[[nodiscard]] std::unique_ptr<BlockNode> make_memory_node(MutableBytes memory);

}  // namespace zbdkit
