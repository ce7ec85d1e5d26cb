// SPDX-License-Identifier: Apache-2.0
// Protocol "host_device": a block device of the host. With zones it is a zoned node over the
// kernel's zone ioctls, always with O_DIRECT; without, plain storage as driver "file" has it.
#pragma once

#include "block/driver.h"

namespace zbdkit {

extern const DriverInfo kHostDeviceDriver;

}  // namespace zbdkit
