// SPDX-License-Identifier: Apache-2.0
// Truth: what a guest has been told, and so what a zoned disk owes it. The workload says what it
// asks and what it is answered; Truth judges every answer, and after each crash every zone, by the
// lines of the crash contract (docs/crash-contract.md). It knows nothing of how the disk works.
//
// Every 512 bytes that are ever written carry a stamp of their own: which write, and which unit of
// it. So whatever is read tells where it comes from.
//
// Requests to one zone that overlap may take effect in either order. Where that matters (a reset
// among writes) the zone is uncertain: it may hold anything written in its present era, and is
// looked at as soon as it is quiet, which begins a new era.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "virtio/blk_wire.h"
#include "zone/zone.h"

namespace zbdkit::sim {

inline constexpr std::uint64_t kUnit = 512;  ///< bytes with a stamp

/// Whose bytes a unit holds. Write 0 is nobody: zeroes.
struct Stamp {
    std::uint32_t write = 0;
    std::uint32_t unit = 0;

    [[nodiscard]] bool is_zero() const { return write == 0; }
    bool operator==(const Stamp&) const = default;
};

/// The bytes of a write, or of a part of it.
[[nodiscard]] std::vector<std::byte> stamped(std::uint32_t write, std::uint64_t units);

enum class Crash : std::uint8_t {
    none,          ///< closed in good order
    daemon_death,  ///< what was completed is all there
    power_loss,
};

/// A write or append on its way.
struct WriteTicket {
    std::uint32_t id = 0;
    std::uint32_t zone = 0;
    std::optional<std::uint64_t> at;  ///< units from the zone's start; nothing for an append
    std::uint64_t units = 0;
    std::uint64_t acked_end_before = 0;
    std::uint64_t changes_before = 0;
    bool was_alone = false;
};

struct ActionTicket {
    ZoneAction action = ZoneAction::open;
    std::uint32_t zone = 0;
    std::uint64_t acked_end_before = 0;
    std::uint64_t changes_before = 0;
    bool was_alone = false;
};

/// What had been acknowledged when a flush, a read or a report began.
struct Snapshot {
    struct Zone {
        std::uint64_t acked_end = 0;
        std::uint64_t changes = 0;
        std::uint64_t resets = 0;
        bool is_stable = false;  ///< no reset on its way, and not uncertain
    };
    std::vector<Zone> zones;
    std::uint64_t acks = 0;
};

class Truth {
  public:
    explicit Truth(const ZoneGeometry& geometry);

    // --- Requests ---------------------------------------------------------------------------
    [[nodiscard]] WriteTicket begin_write(std::uint32_t zone, std::optional<std::uint64_t> at,
                                          std::uint64_t units);
    /// @param placed   units from the zone's start
    /// @param durable  it was FUA, or the disk is write-through
    void end_write(const WriteTicket& ticket, BlkStatus status, std::uint64_t placed, bool durable);

    [[nodiscard]] ActionTicket begin_action(ZoneAction action, std::uint32_t zone);
    void end_action(const ActionTicket& ticket, BlkStatus status);
    [[nodiscard]] Snapshot begin_reset_all();
    void end_reset_all(const Snapshot& before, BlkStatus status);

    [[nodiscard]] Snapshot snapshot() const;
    void end_flush(const Snapshot& before, BlkStatus status);
    /// @param first  units from the zone's start
    void end_read(const Snapshot& before, std::uint32_t zone, std::uint64_t first, BlkStatus status,
                  ConstBytes data);
    void check_report(const Snapshot& before, std::uint32_t zone, const ZoneDescriptor& shown);
    /// @param shown  all zones, of one report
    void check_limits(std::span<const ZoneDescriptor> shown);

    // --- Crashes ----------------------------------------------------------------------------
    /// Everything on its way is now something that may have happened. Of several crashes before
    /// the zones are judged, the worst counts.
    /// @param while_closing  the image may have been marked as clean already, and then keeps open
    ///                       zones open, as a clean stop does
    void crash(Crash kind, bool while_closing) {
        crash_ = std::max(crash_, kind);
        may_be_clean_ |= while_closing;
    }
    /// All zones have been judged.
    void restarted() {
        crash_ = Crash::none;
        may_be_clean_ = false;
    }
    /// Judges a zone after a restart and takes what it holds as the truth from here on. All zones
    /// must be judged before anything else is asked.
    /// @param data  all of its capacity
    void judge_after_restart(std::uint32_t zone, const ZoneDescriptor& shown, ConstBytes data);
    /// The same for a zone that is uncertain and quiet.
    void judge_uncertain(std::uint32_t zone, const ZoneDescriptor& shown, ConstBytes data);

    // --- For the workload -------------------------------------------------------------------
    [[nodiscard]] const ZoneGeometry& geometry() const { return geometry_; }
    [[nodiscard]] std::uint32_t zone_count() const { return geometry_.zone_count(); }
    [[nodiscard]] std::uint64_t capacity_units(std::uint32_t zone) const;
    [[nodiscard]] bool is_conventional(std::uint32_t zone) const;
    /// Whether writes may go anywhere: conventional and sequential-write-preferred zones. Writes
    /// that overlap must not be on their way together, nor a reset beside a write.
    [[nodiscard]] bool takes_writes_anywhere(std::uint32_t zone) const;
    /// Where a next write probably goes, in units.
    [[nodiscard]] std::uint64_t likely_pointer(std::uint32_t zone) const;
    [[nodiscard]] bool is_uncertain(std::uint32_t zone) const { return zones_[zone].uncertain; }
    [[nodiscard]] bool is_quiet(std::uint32_t zone) const;
    /// Whether a write of such a zone would overlap one on its way.
    [[nodiscard]] bool overlaps_flying(std::uint32_t zone, std::uint64_t at,
                                       std::uint64_t units) const;
    /// I/O errors are to be expected from now on: the machine had one.
    void expect_io_errors() { io_errors_expected_ = true; }
    void expect_no_io_errors() { io_errors_expected_ = false; }
    /// The live table is written, and that may be what failed of a write: its data may be shown,
    /// and be gone after the daemon's death.
    void expect_failed_writes_to_go() { failed_writes_may_go_ = true; }

    [[nodiscard]] std::uint64_t answers_judged() const { return answers_; }
    [[nodiscard]] std::uint64_t units_judged() const { return units_; }

    /// Called with what was violated and the history of the zone at fault; must not return.
    using Complaint = void (*)(void* context, const std::string& text);
    void set_complaint(Complaint complaint, void* context) {
        complaint_ = complaint;
        complaint_context_ = context;
    }
    void note(std::uint32_t zone, std::string text);

  private:
    /// One possible content of a unit of a zone that takes writes anywhere.
    struct Candidate {
        Stamp stamp;
        std::uint64_t ack = 0;  ///< when it was acknowledged
        bool doubtful = false;  ///< its write failed: it may be there or not
    };
    struct Flying {
        std::optional<std::uint64_t> at;
        std::uint64_t units = 0;
    };
    /// An action that failed: the storage may have it, and show it after a power loss.
    struct Doubt {
        bool exists = false;
        std::uint64_t since = 0;  ///< Zone::changes when it failed
    };
    struct Zone {
        std::vector<Stamp> acked;       ///< sequential: by unit; zero where nothing is
        std::uint64_t acked_end = 0;    ///< end of what was acknowledged
        std::uint64_t durable_end = 0;  ///< end of what must survive a power loss
        bool finished = false;          ///< a finish was acknowledged
        bool explicitly_open = false;   ///< an open was acknowledged, and nothing against it since
        bool open_is_known = true;      ///< the line above is exact
        std::map<std::uint32_t, Flying> writes;  ///< on their way, by id
        unsigned actions = 0;                    ///< on their way, resets included
        unsigned resets_flying = 0;
        unsigned finishes_flying = 0;
        std::uint64_t resets = 0;   ///< begun so far
        std::uint64_t changes = 0;  ///< requests begun or ended so far
        std::uint32_t era = 1;      ///< the first write id that may be seen here unacknowledged
        bool uncertain = false;     ///< must be looked at
        bool acked_holds = true;    ///< `acked` is there in spite of that
        bool reset_failed = false;  ///< since the zone was last looked at: it may have happened
        bool finish_failed = false;
        Doubt reset_doubt;
        Doubt finish_doubt;
        /// A look showed data of a write that failed: the live table may be without it.
        Doubt shown_doubt;
        std::uint64_t sure_end = 0;  ///< if so: the end of what was acknowledged
        std::vector<std::vector<Candidate>> candidates;  ///< not in order: by unit, oldest first
        std::deque<std::string> history;
    };

    [[noreturn]] void complain(std::uint32_t zone, const std::string& text) const;
    [[nodiscard]] bool is_full(std::uint32_t zone) const;
    [[nodiscard]] bool is_alone(const Zone& zone) const;
    [[nodiscard]] std::uint32_t possibly_active(std::uint32_t except) const;
    [[nodiscard]] bool has_room_for(std::uint32_t zone) const;
    void begin_reset(Zone& zone);
    void end_reset(Zone& zone, BlkStatus status);
    void judge_refusal(std::uint32_t zone, BlkStatus status, bool must_succeed,
                       const std::string& what) const;
    [[nodiscard]] bool write_must_succeed(const WriteTicket& ticket) const;
    [[nodiscard]] bool action_must_succeed(const ActionTicket& ticket) const;
    void record_sequential(const WriteTicket& ticket, std::uint64_t placed, bool durable);
    void record_anywhere(const WriteTicket& ticket, bool doubtful, bool durable);
    void forget_candidates_before(std::uint32_t zone, std::uint64_t ack);
    void end_good_action(const ActionTicket& ticket, bool alone);
    [[nodiscard]] bool is_plausible(const Zone& zone, Stamp stamp) const;
    void judge_anywhere(std::uint32_t zone, const std::vector<Stamp>& found);
    void judge_preferred(std::uint32_t zone, const ZoneDescriptor& shown,
                         const std::vector<Stamp>& found);
    void judge_sequential(std::uint32_t zone, const ZoneDescriptor& shown,
                          const std::vector<Stamp>& found);
    [[nodiscard]] std::uint64_t data_end_of(std::uint32_t zone,
                                            const std::vector<Stamp>& found) const;
    void judge_content(std::uint32_t zone, const std::vector<Stamp>& found,
                       std::uint64_t data_end) const;
    void judge_state(std::uint32_t zone, const ZoneDescriptor& shown, std::uint64_t data_end) const;
    void adopt(std::uint32_t zone, const ZoneDescriptor& shown, const std::vector<Stamp>& found,
               std::uint64_t data_end);
    [[nodiscard]] std::vector<Stamp> decode(std::uint32_t zone, std::uint64_t first,
                                            ConstBytes data);

    ZoneGeometry geometry_;
    std::vector<Zone> zones_;
    std::uint32_t next_write_ = 1;
    std::uint64_t acks_ = 0;
    Crash crash_ = Crash::none;
    bool may_be_clean_ = false;
    bool io_errors_expected_ = false;
    bool failed_writes_may_go_ = false;
    std::uint64_t answers_ = 0;
    std::uint64_t units_ = 0;
    Complaint complaint_ = nullptr;
    void* complaint_context_ = nullptr;
};

}  // namespace zbdkit::sim
