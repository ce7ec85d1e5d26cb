// SPDX-License-Identifier: Apache-2.0
// Filter "throttle": lets requests through only as fast as its limits say: those of a
// throttle-group that it shares with other disks, or its own. Reads count as reads; writes,
// appends, write-zeroes, discards and zone actions as writes. Flushes and zone reports pass freely.
// One reactor.
#pragma once

#include "block/driver.h"

namespace zbdkit {

extern const DriverInfo kThrottleDriver;

}  // namespace zbdkit
