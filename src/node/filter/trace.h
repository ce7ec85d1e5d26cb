// SPDX-License-Identifier: Apache-2.0
// Filter "trace": writes the start and the end of each request to the log, with its result and its
// latency by the reactor's clock. A guest decides how many requests there are, so the messages are
// limited by the second; those held back are counted. One reactor.
#pragma once

#include "block/driver.h"

namespace zbdkit {

extern const DriverInfo kTraceDriver;

}  // namespace zbdkit
