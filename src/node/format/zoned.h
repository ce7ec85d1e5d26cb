// SPDX-License-Identifier: Apache-2.0
// Format "zoned": a persistent zoned device on ordinary storage. What is on disk: zoned_header.h
// and docs/format.md. How states become durable: zoned_store.h. One reactor.
#pragma once

#include "block/driver.h"

namespace zbdkit {

extern const DriverInfo kZonedDriver;

}  // namespace zbdkit
