// SPDX-License-Identifier: Apache-2.0
// Protocol "file": a regular file or a block device of the host, through io_uring. Buffered unless
// cache.direct=on. A writer holds an exclusive flock for as long as the node is open.
#pragma once

#include "block/driver.h"

namespace zbdkit {

extern const DriverInfo kFileDriver;

}  // namespace zbdkit
