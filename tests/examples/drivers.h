// SPDX-License-Identifier: Apache-2.0
// The worked examples of docs/graph.md, for their test. A driver of zbdkit itself has a header of
// its own and a line in src/graph/registry.cc.
#pragma once

#include "block/driver.h"

namespace zbdkit::examples {

extern const DriverInfo kRamDriver;
extern const DriverInfo kWindowDriver;
extern const DriverInfo kCountDriver;

}  // namespace zbdkit::examples
