// SPDX-License-Identifier: Apache-2.0
// Writes of metadata pages that do not depend on each other.
#pragma once

#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "base/error.h"
#include "block/node.h"
#include "io/task.h"

namespace zbdkit::zoned {

struct PageWrite {
    std::uint64_t offset = 0;  ///< on the child, bytes
    MutableBytes page;
};

/// Writes them at the same time: over a network a round of them is to last as long as one write,
/// however far apart its pages are. Returns when none is in flight any more.
/// Errors: what the child says of one of them. The others may have been written or not.
[[nodiscard]] Task<Result<void>> write_pages(BlockNode& child, std::span<const PageWrite> writes);

}  // namespace zbdkit::zoned
