// SPDX-License-Identifier: Apache-2.0
// Where an error of the block layer becomes a virtio-blk status; nowhere else. Pure.
#pragma once

#include "base/error.h"
#include "virtio/blk_wire.h"

namespace zbdkit {

/// What the driver is told of an error.
/// @param zoned  ZONED was negotiated; without it a driver knows no zone statuses and the zone
///               errors of a host-aware disk are I/O errors to it
/// Spec: [virtio 1.3, 5.2.6]; zone errors are told apart, every other error of the zone rules
/// is ZONE_INVALID_CMD and never IOERR.
[[nodiscard]] BlkStatus blk_status_of(Errc code, bool zoned);

/// Name in the specification without its prefix, for logs: "ZONE_INVALID_CMD".
[[nodiscard]] const char* blk_status_name(BlkStatus status);

}  // namespace zbdkit
