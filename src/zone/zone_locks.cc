// SPDX-License-Identifier: Apache-2.0
#include "zone/zone_locks.h"

#include "base/assert.h"

namespace zbdkit {

ZoneLocks::~ZoneLocks() { ZBDKIT_ASSERT(locks_.empty()); }

bool ZoneLocks::is_locked(ZoneIndex zone) const { return locks_.contains(to_number(zone)); }

/// The zone's lock, made from a spare node if nobody uses the zone yet.
ZoneLocks::Lock& ZoneLocks::lock_of(ZoneIndex zone) {
    const auto found = locks_.find(to_number(zone));
    if (found != locks_.end()) return found->second;
    if (spare_.empty()) return locks_[to_number(zone)];
    LockMap::node_type node = std::move(spare_.back());
    spare_.pop_back();
    node.key() = to_number(zone);
    return locks_.insert(std::move(node)).position->second;
}

bool ZoneLocks::try_lock(ZoneIndex zone, Mode mode) {
    Lock& lock = lock_of(zone);
    // Nobody passes those who wait already, or an action could wait for ever.
    if (!lock.waiters.empty() || !lock.admits(mode)) return false;
    lock.admit(mode);
    return true;
}

void ZoneLocks::enqueue(Acquisition& waiter) { lock_of(waiter.zone_).waiters.push_back(waiter); }

void ZoneLocks::unlock(ZoneIndex zone) {
    const auto found = locks_.find(to_number(zone));
    ZBDKIT_ASSERT(found != locks_.end() && found->second.holders > 0);
    Lock& lock = found->second;
    --lock.holders;
    // Handed over locked: nobody can slip in between the wake-up and the waiter's turn.
    while (!lock.waiters.empty() && lock.admits(lock.waiters.front().mode_)) {
        Acquisition& next = lock.waiters.front();
        lock.waiters.pop_front();
        lock.admit(next.mode_);
        schedule(next.waiting_);
    }
    if (lock.holders == 0) {
        spare_.push_back(locks_.extract(found));
    }
}

}  // namespace zbdkit
