// SPDX-License-Identifier: Apache-2.0
// Format "raw": the bytes of its child as they are, or a window of them (offset, size). Over a
// zoned child it is zoned itself; a window then keeps whole zones, and what is asked of it reaches
// no others. One reactor.
#pragma once

#include "block/driver.h"

namespace zbdkit {

extern const DriverInfo kRawDriver;

}  // namespace zbdkit
