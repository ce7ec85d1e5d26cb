// SPDX-License-Identifier: Apache-2.0
// The load of a crash test: writes, appends, reads, reports, flushes and zone actions over all
// zones, up to DiskClient::kDepth at a time. Every answer is judged at once, and after a crash
// every zone is.
//
// A zone is reset only when nothing of it is on its way, and nothing is begun in it before the
// reset ended: so what the zone owes is always known exactly. For a reset of all zones the load
// waits until that is so of each.
#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <variant>

#include "tests/crash/disk_client.h"
#include "tests/crash/ledger.h"
#include "tests/sim/random.h"

namespace zbdkit::crash {

/// A request on its way: one of the ledger, or one that changes nothing.
struct FlyingChange {
    std::uint32_t request = 0;
    std::uint32_t zone = 0;
    bool is_reset = false;
    bool is_reset_all = false;
};
struct FlyingRead {
    sim::Snapshot before;
    std::uint32_t zone = 0;
    std::uint64_t first = 0;  ///< units
};
struct FlyingReport {
    sim::Snapshot before;
};

/// Judges every zone of a disk by the ledger, after Truth::crash(). Ledger::begin_life() goes on
/// from what is there.
void judge_all(DiskClient& client, Ledger& ledger);

class Load {
  public:
    /// @param most_flying  requests at a time, 1 to DiskClient::kDepth
    Load(DiskClient& client, Ledger& ledger, sim::Random& random, std::uint32_t most_flying)
        : client_(client), ledger_(ledger), random_(random), most_flying_(most_flying) {}

    /// Waits for answers, and begins as many requests as ended.
    void turn(int timeout_ms);
    /// Waits until nothing is on its way.
    void drain();
    /// Takes the answers that a daemon gave before it died.
    void take_last_words();

    [[nodiscard]] std::uint64_t answers() const { return answers_; }
    /// Resets of all zones that were answered.
    [[nodiscard]] std::uint64_t resets_of_all() const { return resets_of_all_; }

  private:
    using Flying = std::variant<FlyingChange, FlyingRead, FlyingReport>;

    void fill();
    void begin_one();
    void begin(const Intent& intent);
    /// In a zone that takes writes in order, and one that takes them anywhere.
    void begin_write(std::uint32_t zone);
    void begin_write_anywhere(std::uint32_t zone);
    void begin_reset_all();
    void begin_append(std::uint32_t zone);
    void begin_action(RequestKind kind, std::uint32_t zone);
    void begin_read(std::uint32_t zone);
    void begin_report();
    [[nodiscard]] std::uint64_t random_units(std::uint64_t most);
    [[nodiscard]] std::uint64_t byte_of(std::uint32_t zone, std::uint64_t unit) const;

    void end(const DiskAnswer& answer);
    void end_change(const FlyingChange& change, const DiskAnswer& answer);
    void end_report(const FlyingReport& report, const DiskAnswer& answer);

    DiskClient& client_;
    Ledger& ledger_;
    sim::Random& random_;
    std::uint32_t most_flying_;
    std::array<Flying, DiskClient::kDepth> flying_;  ///< by slot
    std::uint32_t flying_count_ = 0;
    std::set<std::uint32_t> resetting_;  ///< zones
    /// A reset of all zones waits until nothing else is on its way, or is on its way.
    bool wants_reset_all_ = false;
    std::uint64_t answers_ = 0;
    std::uint64_t resets_of_all_ = 0;
};

}  // namespace zbdkit::crash
