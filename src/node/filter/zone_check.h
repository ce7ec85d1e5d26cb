// SPDX-License-Identifier: Apache-2.0
// Filter "zone_check": watches that what is below keeps the rules of zones (zone_watch.h says what
// it looks at). What breaks them is logged and fails the request with `corrupt`, or is only logged.
// It changes no request and no answer otherwise. One reactor.
#pragma once

#include "block/driver.h"

namespace zbdkit {

extern const DriverInfo kZoneCheckDriver;

}  // namespace zbdkit
