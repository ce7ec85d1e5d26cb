// SPDX-License-Identifier: Apache-2.0
// Writes and appends that were in flight when an earlier process died: how much of each is there,
// and what is left to do. A request without a record never reached the medium, or does no harm when
// it is done again. Pure. Why this is enough: docs/inflight.md.
//
//   record            zone's pointer        meaning
//   none              any                   do it (again)
//   place, landed     any                   done, at the place
//   place, length     at the place or less  nothing of it is there: do it; an append anywhere
//   place, length     within the data       torn: write the rest, where the pointer is
//   place, length     beyond the data       done, at the place
//   place, length     zone is worn out      do it, so that it is refused
#pragma once

#include <cstdint>

#include "block/request.h"
#include "block/write_record.h"
#include "zone/zone.h"

namespace zbdkit {

/// What an earlier process left of a write.
struct EarlierWrite {
    static constexpr std::uint64_t kAll = ~std::uint64_t{0};

    std::uint64_t offset = 0;  ///< absolute byte where its data starts
    std::uint64_t landed = 0;  ///< bytes of it that are there; kAll: every one
};

/// @param recorded  a copy of the slot: it lies in memory that a front end can write to
/// @param zone      the zone of the place, as it was before any request of this process
/// @return landed 0 if nothing is there
[[nodiscard]] EarlierWrite judge(const WriteSlot& recorded, const ZoneDescriptor& zone);

/// How much of a request needs not be done again.
/// @param request  0 for all but writes and appends
/// @return bytes, at most request.range.length; 0 if the earlier write is not of this request
[[nodiscard]] std::uint64_t bytes_done(const EarlierWrite& earlier, const Request& request,
                                       const ZoneGeometry& zones);

}  // namespace zbdkit
