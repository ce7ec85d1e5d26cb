// SPDX-License-Identifier: Apache-2.0
#include "zone/zone_locks.h"

#include <utility>

#include "base/assert.h"

namespace zbdkit {

ZoneLocks::~ZoneLocks() { ZBDKIT_ASSERT(locked_zones() == 0); }

bool ZoneLocks::is_locked(ZoneIndex zone) const {
    return to_number(zone) < lock_of_zone_.size() && lock_of_zone_[to_number(zone)] != kNone;
}

/// The zone's lock, one of the pool if nobody uses the zone yet. Whoever asks takes it at once or
/// finds it taken, so one that nobody holds is never left behind.
ZoneLocks::Lock& ZoneLocks::lock_of(ZoneIndex zone) {
    const std::uint32_t number = to_number(zone);
    if (number >= lock_of_zone_.size()) lock_of_zone_.resize(std::size_t{number} + 1, kNone);
    std::uint32_t& index = lock_of_zone_[number];
    if (index != kNone) return *locks_[index];
    if (free_locks_.empty()) {
        free_locks_.push_back(static_cast<std::uint32_t>(locks_.size()));
        locks_.push_back(std::make_unique<Lock>());
    }
    index = free_locks_.back();
    free_locks_.pop_back();
    locks_[index]->zone = zone;
    return *locks_[index];
}

bool ZoneLocks::try_lock(Lock& lock, Mode mode) {
    // Nobody passes those who wait already, or an action could wait for ever.
    if (!lock.waiters.empty() || !lock.admits(mode)) return false;
    lock.admit(mode);
    return true;
}

void ZoneLocks::unlock(Lock& lock) {
    ZBDKIT_ASSERT(lock.holders > 0);
    --lock.holders;
    // Handed over locked: nobody can slip in between the wake-up and the waiter's turn.
    while (!lock.waiters.empty() && lock.admits(lock.waiters.front().mode_)) {
        Acquisition& next = lock.waiters.front();
        lock.waiters.pop_front();
        lock.admit(next.mode_);
        schedule(next.waiting_);
    }
    if (lock.holders != 0) return;
    std::uint32_t& index = lock_of_zone_[to_number(lock.zone)];
    free_locks_.push_back(std::exchange(index, kNone));
}

}  // namespace zbdkit
