// SPDX-License-Identifier: Apache-2.0
// ZoneLocks: a shared/exclusive lock for each zone, between coroutines of one thread. Writers of a
// zone hold it shared, actions on it exclusive. Fair: first come, first served, so a waiting action
// holds up later writers and is not starved by them. A zone takes 4 bytes, up to the highest one
// that was ever locked, and a lock while it is held; locks are pooled, so in steady state nothing
// is allocated. Waiters are resumed in a later turn, never inline.
//
//   const ZoneLocks::Guard guard = co_await locks.shared(zone);
//
// A coroutine that takes several zones takes them in rising order.
#pragma once

#include <boost/intrusive/list.hpp>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/units.h"
#include "io/run_queue.h"

namespace zbdkit {

class ZoneLocks {
  public:
    enum class Mode : std::uint8_t { shared, exclusive };

  private:
    struct Lock;

  public:
    /// Holds one lock until it is destroyed or release()d.
    class [[nodiscard]] Guard {
      public:
        Guard(Guard&& other) noexcept
            : locks_(std::exchange(other.locks_, nullptr)), held_(other.held_) {}
        Guard& operator=(Guard&& other) noexcept {
            if (this != &other) {
                release();
                locks_ = std::exchange(other.locks_, nullptr);
                held_ = other.held_;
            }
            return *this;
        }
        Guard(const Guard&) = delete;
        Guard& operator=(const Guard&) = delete;
        ~Guard() { release(); }

        /// Gives the lock back early; afterwards the guard holds nothing.
        void release() {
            if (locks_ != nullptr) std::exchange(locks_, nullptr)->unlock(*held_);
        }
        [[nodiscard]] ZoneIndex zone() const;

      private:
        friend class ZoneLocks;
        Guard(ZoneLocks& locks, Lock& held) : locks_(&locks), held_(&held) {}

        ZoneLocks* locks_;
        Lock* held_;
    };

    /// What shared() and exclusive() give: `co_await` it at once.
    class [[nodiscard]] Acquisition : public boost::intrusive::list_base_hook<> {
      public:
        Acquisition(ZoneLocks& locks, ZoneIndex zone, Mode mode)
            : locks_(locks), zone_(zone), mode_(mode) {}
        bool await_ready() {
            lock_ = &locks_.lock_of(zone_);
            return try_lock(*lock_, mode_);
        }
        void await_suspend(std::coroutine_handle<> waiting);
        Guard await_resume() { return Guard(locks_, *lock_); }

      private:
        friend class ZoneLocks;

        ZoneLocks& locks_;
        ZoneIndex zone_;
        Mode mode_;
        Lock* lock_ = nullptr;  ///< the zone's, from await_ready() on
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
    [[nodiscard]] std::size_t locked_zones() const { return locks_.size() - free_locks_.size(); }

  private:
    static constexpr std::uint32_t kNone = 0xffff'ffff;

    [[nodiscard]] Lock& lock_of(ZoneIndex zone);
    [[nodiscard]] static bool try_lock(Lock& lock, Mode mode);
    void unlock(Lock& lock);

    std::vector<std::uint32_t> lock_of_zone_;   ///< an index of locks_, or kNone: nobody uses it
    std::vector<std::unique_ptr<Lock>> locks_;  ///< the pool: grows to the most held at a time
    std::vector<std::uint32_t> free_locks_;
};

struct ZoneLocks::Lock {
    ZoneIndex zone{};
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

inline ZoneIndex ZoneLocks::Guard::zone() const { return held_->zone; }

inline void ZoneLocks::Acquisition::await_suspend(std::coroutine_handle<> waiting) {
    waiting_ = waiting;
    lock_->waiters.push_back(*this);
}

}  // namespace zbdkit
