// SPDX-License-Identifier: Apache-2.0
// ZoneLocks: a shared/exclusive lock for each zone, between coroutines of one thread. Writers of a
// zone hold it shared, actions on it exclusive. Fair: first come, first served, so a waiting action
// holds up later writers and is not starved by them. Only zones in use take memory, and that is
// pooled: in steady state nothing is allocated. Waiters are resumed in a later turn, never inline.
//
//   const ZoneLocks::Guard guard = co_await locks.shared(zone);
//
// A coroutine that takes several zones takes them in rising order.
#pragma once

#include <boost/intrusive/list.hpp>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/units.h"
#include "io/run_queue.h"

namespace zbdkit {

class ZoneLocks {
  public:
    enum class Mode : std::uint8_t { shared, exclusive };

    /// Holds one lock until it is destroyed or release()d.
    class [[nodiscard]] Guard {
      public:
        Guard(Guard&& other) noexcept
            : locks_(std::exchange(other.locks_, nullptr)), zone_(other.zone_) {}
        Guard& operator=(Guard&& other) noexcept {
            if (this != &other) {
                release();
                locks_ = std::exchange(other.locks_, nullptr);
                zone_ = other.zone_;
            }
            return *this;
        }
        Guard(const Guard&) = delete;
        Guard& operator=(const Guard&) = delete;
        ~Guard() { release(); }

        /// Gives the lock back early; afterwards the guard holds nothing.
        void release() {
            if (locks_ != nullptr) std::exchange(locks_, nullptr)->unlock(zone_);
        }
        [[nodiscard]] ZoneIndex zone() const { return zone_; }

      private:
        friend class ZoneLocks;
        Guard(ZoneLocks& locks, ZoneIndex zone) : locks_(&locks), zone_(zone) {}

        ZoneLocks* locks_;
        ZoneIndex zone_;
    };

    /// What shared() and exclusive() give: `co_await` it at once.
    class [[nodiscard]] Acquisition : public boost::intrusive::list_base_hook<> {
      public:
        Acquisition(ZoneLocks& locks, ZoneIndex zone, Mode mode)
            : locks_(locks), zone_(zone), mode_(mode) {}
        bool await_ready() { return locks_.try_lock(zone_, mode_); }
        void await_suspend(std::coroutine_handle<> waiting) {
            waiting_ = waiting;
            locks_.enqueue(*this);
        }
        Guard await_resume() { return Guard(locks_, zone_); }

      private:
        friend class ZoneLocks;

        ZoneLocks& locks_;
        ZoneIndex zone_;
        Mode mode_;
        std::coroutine_handle<> waiting_;
    };

    ZoneLocks() = default;
    ZoneLocks(const ZoneLocks&) = delete;
    ZoneLocks& operator=(const ZoneLocks&) = delete;
    ~ZoneLocks();

    /// Waits: for holders of the zone's exclusive lock and for those who asked for it earlier.
    [[nodiscard]] Acquisition shared(ZoneIndex zone) { return {*this, zone, Mode::shared}; }
    /// Waits: for all holders of the zone's lock and for those who asked for it earlier.
    [[nodiscard]] Acquisition exclusive(ZoneIndex zone) { return {*this, zone, Mode::exclusive}; }

    [[nodiscard]] bool is_locked(ZoneIndex zone) const;
    /// How many zones are locked now.
    [[nodiscard]] std::size_t locked_zones() const { return locks_.size(); }

  private:
    struct Lock {
        std::uint32_t holders = 0;
        Mode mode = Mode::shared;  ///< of the holders
        boost::intrusive::list<Acquisition> waiters;

        [[nodiscard]] bool admits(Mode wanted) const {
            return holders == 0 || (mode == Mode::shared && wanted == Mode::shared);
        }
        void admit(Mode wanted) {
            ++holders;
            mode = wanted;
        }
    };
    using LockMap = std::unordered_map<std::uint32_t, Lock>;

    [[nodiscard]] Lock& lock_of(ZoneIndex zone);
    [[nodiscard]] bool try_lock(ZoneIndex zone, Mode mode);
    void enqueue(Acquisition& waiter);
    void unlock(ZoneIndex zone);

    LockMap locks_;
    std::vector<LockMap::node_type> spare_;  ///< the pool: map nodes that hold no zone
};

}  // namespace zbdkit
