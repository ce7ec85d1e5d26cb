// SPDX-License-Identifier: Apache-2.0
// Filter "delay": makes each request wait before it goes on, for a time that each kind of request
// has of its own. Requests wait side by side: many of them are not slower than one. For seeing what
// slow storage does to a guest. One reactor.
#pragma once

#include "block/driver.h"

namespace zbdkit {

extern const DriverInfo kDelayDriver;

}  // namespace zbdkit
