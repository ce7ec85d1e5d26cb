// SPDX-License-Identifier: Apache-2.0
// SimEngine: an IoEngine over a SimDisk with a clock of its own. Operations take a random time,
// end in any order, fail or are short when a fault is due, and have their effect when they end.
// At an event that was set beforehand the machine stops: the disk is kept as it is at that moment,
// with any part of what was in flight, and everything later fails without an effect. What still
// runs above then runs to its end against a dead disk. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "io/engine.h"
#include "tests/sim/random.h"
#include "tests/sim/sim_disk.h"

namespace zbdkit::sim {

/// How often things go wrong: once in so many operations; 0 is never.
struct SimFaults {
    std::uint64_t read_error = 0;
    std::uint64_t write_error = 0;  ///< any part of the write may have got there
    std::uint64_t sync_error = 0;   ///< nothing is made durable
    std::uint64_t short_transfer = 0;
    std::uint64_t slow = 0;  ///< takes a thousand times as long
};

class SimEngine final : public IoEngine {
  public:
    /// @param disk  outlives the engine
    SimEngine(SimDisk& disk, const SimFaults& faults, std::uint64_t seed)
        : disk_(disk), faults_(faults), random_(seed) {}

    void submit(IoOp& op) override;
    void cancel(IoOp& op) override;
    void poll(std::uint64_t deadline_ns) override;
    void wake() override { woken_ = true; }
    [[nodiscard]] std::uint64_t now_ns() const override { return clock_ns_; }

    /// Stops the machine after so many more events.
    void stop_after(std::uint64_t events) { stop_at_ = events_ + events; }
    /// Takes that back.
    void do_not_stop() { stop_at_.reset(); }
    [[nodiscard]] bool has_stopped() const { return left_.has_value(); }
    /// The disk at the moment of the stop, its volatile cache included.
    [[nodiscard]] SimDisk take_left() { return std::move(*left_); }

    /// What is in flight at the stop may be applied wholly, partly or not at all, in any order, as
    /// by servers of a cluster. Without this it is applied in order, in part or not at all.
    void apply_in_any_order() { applies_in_any_order_ = true; }

    /// From now on other faults.
    void set_faults(const SimFaults& faults) { faults_ = faults; }

    [[nodiscard]] std::uint64_t events() const { return events_; }
    /// Faults that operations met so far.
    [[nodiscard]] std::uint64_t faults_met() const { return faults_met_; }
    [[nodiscard]] bool sync_has_failed() const { return sync_has_failed_; }

  private:
    struct Flight {
        std::uint64_t due_ns = 0;
        std::uint64_t order = 0;
        std::uint64_t synced_up_to = 0;  ///< of a sync: what was written when it began
        IoOp* op = nullptr;
        bool operator>(const Flight& other) const {
            return due_ns != other.due_ns ? due_ns > other.due_ns : order > other.order;
        }
    };

    void end(const Flight& flight);
    [[nodiscard]] std::int32_t perform(const Flight& flight);
    [[nodiscard]] std::int32_t read(const IoOp& op);
    [[nodiscard]] std::int32_t write(const IoOp& op);
    [[nodiscard]] std::int32_t fallocate(const IoOp& op);
    void write_some_sectors(SimDisk& disk, const IoOp& op);
    void apply_anyhow(const IoOp& op);
    [[nodiscard]] std::uint64_t transfer_length(const IoOp& op);
    [[nodiscard]] bool fault_is_due(std::uint64_t rarity);
    void stop();
    void apply_what_is_in_flight();

    SimDisk& disk_;
    SimFaults faults_;
    Random random_;
    std::vector<Flight> flights_;  // a heap, earliest first
    std::uint64_t clock_ns_ = 1;
    std::uint64_t order_ = 0;
    std::uint64_t events_ = 0;
    std::uint64_t faults_met_ = 0;
    bool sync_has_failed_ = false;
    bool woken_ = false;
    bool applies_in_any_order_ = false;
    std::optional<std::uint64_t> stop_at_;
    std::optional<SimDisk> left_;
};

}  // namespace zbdkit::sim
