// SPDX-License-Identifier: Apache-2.0
// What Linux is told of a disk that becomes /dev/ublkbN, and which disks it would not take. No I/O.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "base/units.h"
#include "block/node.h"
#include "export/ublk/wire.h"

namespace zbdkit::ublk {

struct DiskOptions {
    bool writable = true;
    bool write_cache = true;  ///< off: every completed write is durable
    /// The most data of one request, bytes: a multiple of 4096, at most kMaxData. Each tag of each
    /// queue has a buffer of that size.
    std::uint64_t max_io_bytes = 512 * kKiB;
};

/// Describes the disk.
/// Errors: what Linux could not have, and what it could: zones whose size is no power of two, a
/// last zone that is shorter, host-aware zones, no appends, blocks larger than a page.
[[nodiscard]] Outcome<Params> make_params(const NodeInfo& info, const DiskOptions& options);

/// Whether a device with the parameters `present` is that of a disk with the parameters `own`.
/// Errors: the first thing that differs, in words.
[[nodiscard]] Outcome<void> check_same_disk(const Params& present, const Params& own);

}  // namespace zbdkit::ublk
