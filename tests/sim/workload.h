// SPDX-License-Identifier: Apache-2.0
// What a guest does to a zoned disk all day, only faster: several actors with random writes,
// appends, reads, zone actions, reports and flushes, through the rings. Some of the writes, appends
// and reads are those of a second user of the disk, past the rings, and may be FUA. Every answer
// goes to Truth.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "io/reactor.h"
#include "io/scope.h"
#include "io/task.h"
#include "tests/sim/direct_user.h"
#include "tests/sim/guest.h"
#include "tests/sim/random.h"
#include "tests/sim/sim_engine.h"
#include "tests/sim/truth.h"

namespace zbdkit::sim {

class Workload {
  public:
    struct Options {
        unsigned actors = 8;
        unsigned queue_count = 1;
        std::uint64_t requests = 1000;  ///< of all actors together
        std::uint64_t max_append_units = 0;
        bool write_through = false;
    };

    struct Users {
        Guest& guest;
        DirectUser& direct;
    };

    Workload(Reactor& reactor, const SimEngine& engine, const Users& users, Truth& truth,
             const Options& options, std::uint64_t seed)
        : reactor_(reactor),
          engine_(engine),
          guest_(users.guest),
          direct_(users.direct),
          truth_(truth),
          options_(options),
          random_(seed) {}

    /// Judges every zone after a restart.
    [[nodiscard]] Task<void> judge_all();
    /// Runs until all requests are answered or the machine stops. What is not answered by then is
    /// left on its way in Truth.
    [[nodiscard]] Task<void> run();

    [[nodiscard]] std::uint64_t requests_done() const { return done_; }

  private:
    struct Place {
        std::uint32_t zone = 0;
        std::uint64_t at = 0;  ///< units
        std::uint64_t units = 0;
    };
    /// How a request gets to the disk.
    struct Way {
        bool is_direct = false;
        bool fua = false;  ///< direct writes and appends only: virtio has no such flag
    };
    struct Looked {
        ZoneDescriptor zone;
        std::vector<std::byte> data;
    };

    [[nodiscard]] bool has_stopped() const { return engine_.has_stopped(); }
    [[nodiscard]] unsigned any_queue() {
        return static_cast<unsigned>(random_.below(options_.queue_count));
    }
    [[nodiscard]] std::uint32_t any_zone();
    [[nodiscard]] Way any_way();
    [[nodiscard]] Task<GuestAnswer> send(const GuestRequest& request, Way way);
    /// Whether a write that went this way is durable once it is answered.
    [[nodiscard]] bool is_durable(Way way) const {
        return way.is_direct ? way.fua : options_.write_through;
    }
    [[nodiscard]] std::uint64_t byte_of(std::uint32_t zone, std::uint64_t unit) const;
    /// Tells Truth of faults that the engine had, before it judges an answer.
    [[nodiscard]] bool may_judge();

    [[nodiscard]] Task<void> act();
    [[nodiscard]] Task<void> one_request();
    [[nodiscard]] Task<void> write(std::uint32_t zone);
    [[nodiscard]] Task<void> append(std::uint32_t zone);
    [[nodiscard]] Task<void> read(std::uint32_t zone);
    [[nodiscard]] Task<void> flush();
    [[nodiscard]] Task<void> zone_action(std::uint32_t zone, ZoneAction action);
    [[nodiscard]] Task<void> reset_all();
    [[nodiscard]] Task<void> report();
    [[nodiscard]] Task<void> settle(std::uint32_t zone);
    [[nodiscard]] Task<Looked> look(std::uint32_t zone);

    Reactor& reactor_;
    const SimEngine& engine_;
    Guest& guest_;
    DirectUser& direct_;
    Truth& truth_;
    Options options_;
    Random random_;
    std::uint64_t left_ = 0;
    std::uint64_t done_ = 0;
    std::set<std::uint32_t> settling_;  ///< zones that are being looked at
};

}  // namespace zbdkit::sim
