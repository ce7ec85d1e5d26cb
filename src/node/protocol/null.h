// SPDX-License-Identifier: Apache-2.0
// Protocol "null": storage that keeps nothing. Reads give zeroes, or leave the memory as it is;
// for measuring what everything above it costs.
#pragma once

#include "block/driver.h"

namespace zbdkit {

extern const DriverInfo kNullDriver;
/// The same under QEMU's name.
extern const DriverInfo kNullCoDriver;

}  // namespace zbdkit
