// SPDX-License-Identifier: Apache-2.0
// Protocol "rbd": an image in a Ceph cluster, through librbd. A writer holds the image's exclusive
// lock for as long as the node is open.
#pragma once

#include "block/driver.h"

namespace zbdkit {

extern const DriverInfo kRbdDriver;

}  // namespace zbdkit
