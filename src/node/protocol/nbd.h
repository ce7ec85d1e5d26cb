// SPDX-License-Identifier: Apache-2.0
// Protocol "nbd": an export of an NBD server, by libnbd.
#pragma once

#include "block/driver.h"

namespace zbdkit {

extern const DriverInfo kNbdDriver;

}  // namespace zbdkit
