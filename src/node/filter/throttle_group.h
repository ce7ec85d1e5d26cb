// SPDX-License-Identifier: Apache-2.0
// Object "throttle-group": limits that several disks share. It lets their requests go one after the
// other, by turns between the disks, when the limits allow it. Reads and writes wait apart, so that
// a limit of one does not hold up the other. One reactor.
#pragma once

#include <array>
#include <boost/intrusive/list.hpp>
#include <cstdint>

#include "block/driver.h"
#include "io/reactor.h"
#include "io/sync.h"
#include "io/task.h"
#include "node/filter/throttle_limits.h"

namespace zbdkit {

extern const ObjectInfo kThrottleGroupObject;

class ThrottleGroup final : public SharedObject {
  public:
    ThrottleGroup(Reactor& reactor, const ThrottleLimits& limits);
    /// No member may be left.
    ~ThrottleGroup() override;

    /// A disk's place in the group, for as long as it lives. The group outlives it.
    class Member : public boost::intrusive::list_base_hook<> {
      public:
        explicit Member(ThrottleGroup& group);
        Member(const Member&) = delete;
        Member& operator=(const Member&) = delete;
        /// No request of it may wait.
        ~Member();

        /// Waits until a request of this size may go, and takes what it takes of the limits.
        /// @param bytes  of data, 0 for zone actions
        /// Thread: owner reactor.   Waits: for the limits, and its turn.
        [[nodiscard]] Task<void> admit(ThrottleDirection direction, std::uint64_t bytes);

      private:
        friend class ThrottleGroup;
        ThrottleGroup& group_;
        std::array<WaitQueue, kThrottleDirections> waiting_;
    };

  private:
    /// Where the next request of a direction stands until the limits allow it: one at a time. It
    /// stays taken while it is handed over, so that nobody slips in between.
    struct Gate {
        bool is_taken = false;
        std::uint64_t waiting = 0;  ///< requests of all members behind it
    };

    void hand_over(ThrottleDirection direction, Member& last);
    [[nodiscard]] Member& next_waiting(ThrottleDirection direction, Member& last);

    Reactor& reactor_;
    ThrottleBuckets buckets_;
    std::array<Gate, kThrottleDirections> gates_;
    boost::intrusive::list<Member> members_;
};

}  // namespace zbdkit
