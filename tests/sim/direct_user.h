// SPDX-License-Identifier: Apache-2.0
// A second user of the same graph, as another export would be: it asks the backend itself, where a
// write may be FUA. Takes and gives what a guest does, so that the two can be judged alike.
#pragma once

#include "graph/backend.h"
#include "io/task.h"
#include "tests/sim/guest.h"

namespace zbdkit::sim {

class DirectUser {
  public:
    /// @param backend  outlives this
    explicit DirectUser(BlockBackend& backend) : backend_(backend) {}

    /// @param request  a read, write or append; lives until the answer
    /// @param fua      of a write or append: durable when it is answered
    [[nodiscard]] Task<GuestAnswer> submit(const GuestRequest& request, bool fua);

  private:
    BlockBackend& backend_;
};

}  // namespace zbdkit::sim
