// SPDX-License-Identifier: Apache-2.0
// Filter "fault", also known as "blkdebug": makes requests fail by rule (fault_rules.h) and zones
// wear out (fault_zones.h), to see how what stands above bears it. A request that is made to fail
// does not reach the child. One reactor.
#pragma once

#include "block/driver.h"

namespace zbdkit {

extern const DriverInfo kFaultDriver;
extern const DriverInfo kBlkdebugDriver;  ///< the same by QEMU's name

}  // namespace zbdkit
