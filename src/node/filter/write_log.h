// SPDX-License-Identifier: Apache-2.0
// Filter "write_log", also known as "blklogwrites": everything that changes the medium goes also
// into the log on its child "log", in the format of dm-log-writes (write_log_format.h), so that
// the disk can be rebuilt as it was at any flush. Only what succeeded is logged, and in the order
// of completion: what a caller knows to be done before it asks for more comes first in the log. One
// reactor; log writes run side by side.
#pragma once

#include "block/driver.h"

namespace zbdkit {

extern const DriverInfo kWriteLogDriver;
extern const DriverInfo kBlklogwritesDriver;  ///< the same by QEMU's name

}  // namespace zbdkit
