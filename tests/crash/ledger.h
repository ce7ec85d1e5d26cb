// SPDX-License-Identifier: Apache-2.0
// The ledger of a load: every request that changes a disk, when it began and how it ended, the
// daemon's deaths and what was there after each, and what the disk owes therefore (sim::Truth). It
// can be written to a file as the load goes on, and read back to judge the disk by its state at
// some moment:
//
//   ledger  = record*                                   little-endian
//   record  = magic:u64 sequence:u64 count:u64 event{count} zeroes        4096 bytes
//   event   = at:u64 request:u32 zone:u32 units:u32 type:u8 kind:u8 status:u8 zero:u8
//   life    = holds* shown for each zone, judged, (begin | end)*, death
//
// The load writes one record in each turn of its loop and waits for it, so all that begins in
// record n + 1 begins after record n is on the medium, and all that ended in record n did so
// before. Whoever knows that a cut came between the two knows what was owed at the cut.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/unique_fd.h"
#include "tests/sim/truth.h"
#include "virtio/blk_wire.h"

namespace zbdkit::crash {

enum class RequestKind : std::uint8_t {
    write,
    append,
    open,
    close,
    finish,
    reset,
    reset_all,
    flush
};

enum class EventType : std::uint8_t {
    begin,   ///< of a request
    end,     ///< of a request
    death,   ///< of the daemon
    holds,   ///< a zone, from unit `at` on: write `request` from its unit `units` on; 0 is zeroes
    shown,   ///< a zone, whose holds come before: pointer at byte `at` of the disk, state `units`
    judged,  ///< all zones were shown; the life begins, without a write cache if `units` is 1
};

struct Event {
    static constexpr std::uint64_t kNowhere = ~std::uint64_t{0};

    /// Begin of a write: units from the zone's start. End of an append: bytes from the disk's.
    std::uint64_t at = kNowhere;
    std::uint32_t request = 0;
    std::uint32_t zone = 0;
    std::uint32_t units = 0;
    EventType type = EventType::begin;
    RequestKind kind = RequestKind::write;
    BlkStatus status = BlkStatus::ok;  ///< of an end
};

/// What a request is. The zone of a flush and of a reset of all zones is 0.
struct Intent {
    RequestKind kind = RequestKind::write;
    std::uint32_t zone = 0;
    std::uint32_t units = 0;             ///< writes and appends only
    std::uint64_t at = Event::kNowhere;  ///< writes only
};

/// How a request ended.
struct Ending {
    BlkStatus status = BlkStatus::ok;
    std::uint64_t appended_at = 0;  ///< bytes from the disk's start; of an append that succeeded
};

class Ledger {
  public:
    explicit Ledger(const ZoneGeometry& geometry) : truth_(geometry) {}

    /// @return the number of the request
    std::uint32_t begin(const Intent& intent);
    void end(std::uint32_t request, const Ending& ending);
    /// Does again what a ledger says.
    void replay(const Event& event);

    /// The daemon was killed.
    void die();
    /// Judges a zone after a restart. @param data  all of its capacity
    void judge(std::uint32_t zone, const ZoneDescriptor& shown, ConstBytes data);
    /// All zones have been judged: what was on its way will not end any more, and a life begins.
    void begin_life(bool write_through);

    /// The bytes that a write or append in flight carries.
    [[nodiscard]] std::vector<std::byte> bytes_of(std::uint32_t request) const;
    [[nodiscard]] sim::Truth& truth() { return truth_; }
    /// What happened since this was asked last.
    [[nodiscard]] std::vector<Event> take_events() { return std::exchange(events_, {}); }

  private:
    /// What Truth wants back when a request ends.
    struct Flying {
        Intent intent;
        std::variant<sim::WriteTicket, sim::ActionTicket, sim::Snapshot> ticket;
    };

    [[nodiscard]] std::uint64_t placed_at(const sim::WriteTicket& ticket,
                                          const Ending& ending) const;
    void end_ticket(const Flying& flying, const Ending& ending);
    void replay_begin(const Event& event);
    void replay_shown(const Event& event);

    sim::Truth truth_;
    bool write_through_ = false;  ///< of this life
    std::vector<Event> holds_;    ///< of the zone that a ledger shows next
    std::map<std::uint32_t, Flying> flying_;
    std::uint32_t next_request_ = 1;
    std::vector<Event> events_;
};

/// A ledger on a file or block device, written past the page cache.
class LedgerFile {
  public:
    static constexpr std::size_t kRecordSize = 4096;
    /// Events that fit into a record.
    static constexpr std::size_t kMostEvents = 168;

    explicit LedgerFile(const std::string& path);
    /// Writes the events, as one record if they fit into it, and waits until they are there.
    void add(std::span<const Event> events);

    /// All records of a file, each with its events.
    [[nodiscard]] static std::vector<std::vector<Event>> read(const std::string& path);

  private:
    void add_record(std::span<const Event> events);

    UniqueFd file_;
    std::uint64_t sequence_ = 0;
};

}  // namespace zbdkit::crash
