// SPDX-License-Identifier: Apache-2.0
#include "node/filter/throttle_group.h"

#include <memory>
#include <utility>

#include "base/assert.h"

namespace zbdkit {
namespace {

Outcome<std::shared_ptr<SharedObject>> make_throttle_group(OpenContext& context,
                                                           const OptionValues& options) {
    const Outcome<ThrottleLimits> limits = parse_throttle_limits(options);
    if (!limits) return std::unexpected(limits.error());
    // Shared: owned by the list of objects and by each throttle filter that names it.
    return std::make_shared<ThrottleGroup>(context.reactor, *limits);
}

}  // namespace

ThrottleGroup::ThrottleGroup(Reactor& reactor, const ThrottleLimits& limits)
    : reactor_(reactor), buckets_(limits, reactor.now_ns()) {}

ThrottleGroup::~ThrottleGroup() { ZBDKIT_ASSERT(members_.empty()); }

ThrottleGroup::Member::Member(ThrottleGroup& group) : group_(group) {
    group_.members_.push_back(*this);
}

ThrottleGroup::Member::~Member() { group_.members_.erase(group_.members_.iterator_to(*this)); }

Task<void> ThrottleGroup::Member::admit(ThrottleDirection direction, std::uint64_t bytes) {
    Gate& gate = group_.gates_[std::to_underlying(direction)];
    if (gate.is_taken) {
        ++gate.waiting;
        co_await waiting_[std::to_underlying(direction)].wait();
        --gate.waiting;
    }
    gate.is_taken = true;
    while (true) {
        const std::uint64_t wait_ns = group_.buckets_.wait_ns(direction, group_.reactor_.now_ns());
        if (wait_ns == 0) break;
        co_await group_.reactor_.sleep_ns(wait_ns);
    }
    group_.buckets_.charge(direction, bytes);
    group_.hand_over(direction, *this);
}

/// To the member whose turn it is after that of `last`.
void ThrottleGroup::hand_over(ThrottleDirection direction, Member& last) {
    Gate& gate = gates_[std::to_underlying(direction)];
    if (gate.waiting == 0) {
        gate.is_taken = false;
        return;
    }
    next_waiting(direction, last).waiting_[std::to_underlying(direction)].wake_one();
}

/// The first one behind `last` that has requests waiting, in a circle; at the end `last` itself.
ThrottleGroup::Member& ThrottleGroup::next_waiting(ThrottleDirection direction, Member& last) {
    auto member = members_.iterator_to(last);
    for (std::size_t tried = 0; tried < members_.size(); ++tried) {
        ++member;
        if (member == members_.end()) member = members_.begin();
        if (!member->waiting_[std::to_underlying(direction)].empty()) return *member;
    }
    return last;
}

const ObjectInfo kThrottleGroupObject = {"throttle-group", "limits that several disks share",
                                         kThrottleOptions, make_throttle_group};

}  // namespace zbdkit
