// SPDX-License-Identifier: Apache-2.0
// Object "iothread": a thread that serves disks. Here is only its name, among those of other
// objects: the daemon starts the threads that its exports name (io/io_thread.h).
#pragma once

#include "block/driver.h"

namespace zbdkit {

extern const ObjectInfo kIoThreadObject;

}  // namespace zbdkit
