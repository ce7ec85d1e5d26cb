// SPDX-License-Identifier: Apache-2.0
// ZoneTable: the state of every zone of a device, and the write pointer protocol
// "reserve, write, publish in order". Pure: no I/O, no coroutines, no clock; one owner thread.
//
// Each sequential zone has a committed pointer (what a report shows) and, while writes are in
// flight, a reserved one (where the next write goes). A write
//   1. reserves: every rule is checked, the zone is opened implicitly, `reserved` moves;
//   2. is performed by the caller, together with others of the same zone;
//   3. is ended with landed() or failed().
// A landed write is published when every earlier write of its zone has landed too. A failed write
// rolls `reserved` back to its start and displaces all later reservations of the zone, none of
// which was acknowledged; the zone then accepts no new reservation until the last of its writes in
// flight has ended, because a displaced write may still be on its way to the medium.
//
// While the first write of an empty zone is in flight the zone holds its resources but shows empty;
// a zone whose last free byte is reserved shows full, and frees its resources, once that write is
// published. Sequential-write-preferred zones take writes anywhere in their capacity: each is
// published when it lands, and a failed one displaces nobody.
#pragma once

#include <boost/intrusive/list.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/units.h"
#include "zone/zone.h"
#include "zone/zone_rules.h"

namespace zbdkit {

/// One write or append on its way. Owned by the writer, at a stable address from reserve() until
/// it is resolved.
struct ZoneReservation : boost::intrusive::list_base_hook<> {
    enum class Phase : std::uint8_t {
        idle,       ///< not reserved
        writing,    ///< reserved; the caller performs the write
        landed,     ///< written, waits for earlier writes of the zone
        failed,     ///< its write failed; final
        published,  ///< written, and so is everything before it; final
        displaced,  ///< an earlier write failed; final; nothing was acknowledged
    };

    ZoneIndex zone{};
    ByteRange range{};  ///< absolute bytes on the device; set by reserve()
    Phase phase = Phase::idle;
    bool displaced_in_flight = false;  ///< an earlier write failed while this one was writing
    void* owner = nullptr;             ///< for the caller: who to resume
};

using ZoneReservationList = boost::intrusive::list<ZoneReservation>;

class ZoneTable {
  public:
    /// All sequential zones empty.
    explicit ZoneTable(const ZoneGeometry& geometry);

    [[nodiscard]] const ZoneGeometry& geometry() const { return geometry_; }

    // --- Writing ---------------------------------------------------------------------------

    /// Whether the zone recovers from a failed write: reserve() must be tried again after
    /// ended() of its last write in flight says so.
    [[nodiscard]] bool is_recovering(ZoneIndex zone) const;

    /// Reserves room for a write of `length` bytes.
    /// @param reservation  idle; on success its zone, range and phase are set
    /// @param at           absolute bytes for a positioned write, nothing for an append
    /// @param length       bytes, not 0
    /// Errors, in this order of checking [virtio 1.3, 5.2.6.2; D28-D37]:
    ///   zone_invalid       read-only or offline; append to a zone that is not
    ///                      sequential-write-required; longer than max_append_bytes; the range
    ///                      leaves the zone, or the capacity, or the zone is full
    ///   not_supported      append with max_append_bytes 0
    ///   zone_unaligned_wp  `at` is not the reserved pointer (sequential_required only), or start
    ///                      or length is off the write granularity
    ///   zone_active_limit, zone_open_limit  no resources, ACTIVE before OPEN
    /// Conventional zones need no reservation; passing one is a programmer's error.
    /// Precondition: !is_recovering(zone).
    [[nodiscard]] Result<void> reserve(ZoneReservation& reservation, ZoneIndex zone,
                                       std::optional<std::uint64_t> at, std::uint64_t length);

    /// What the end of a write leads to, apart from its own phase.
    struct Ended {
        ZoneReservationList resolved;  ///< other writes that are published or displaced by it, in
                                       ///< pointer order
        bool recovered = false;        ///< the zone accepts reservations again after a failure
    };

    /// The write is on the medium. If it was displaced meanwhile it becomes `displaced`.
    [[nodiscard]] Ended landed(ZoneReservation& reservation);

    /// The write failed: rolls back. `reservation` becomes `failed` (or `displaced`, if an earlier
    /// one failed before).
    [[nodiscard]] Ended failed(ZoneReservation& reservation);

    /// Whether writes of the zone are in flight.
    [[nodiscard]] bool is_busy(ZoneIndex zone) const;

    // --- Actions: check -> I/O -> record ----------------------------------------------------

    /// Whether the action is allowed now, and what the zone would become.
    /// @return nothing if the zone is already as the action wants it: succeed without I/O
    /// Errors [D21-D26, D29]: zone_invalid, zone_active_limit, zone_open_limit.
    /// Precondition: the zone is not busy.
    [[nodiscard]] Result<std::optional<ZoneRecord>> check(ZoneAction action, ZoneIndex zone) const;

    /// Makes the zone what check() promised. For open this may close another zone implicitly; the
    /// limits must have been checked in the same turn. A zone that wore out since check() stays
    /// worn out.
    /// Precondition: the zone is not busy.
    void record(ZoneIndex zone, const ZoneRecord& record);

    /// Sequential zones that RESET ALL changes: open, closed and full ones, in rising order. [D27]
    [[nodiscard]] std::vector<ZoneIndex> zones_to_reset() const;

    // --- Looking ----------------------------------------------------------------------------

    [[nodiscard]] ZoneDescriptor describe(ZoneIndex zone) const;
    [[nodiscard]] ZoneRecord record_of(ZoneIndex zone) const;
    [[nodiscard]] ZoneState state(ZoneIndex zone) const;

    /// Checks a read against the zone rules. Length is not 0, the range lies on the device.
    /// Errors [D35, D38]: zone_invalid if it touches an offline zone, or crosses the border of a
    /// sequential-write-required zone.
    [[nodiscard]] Result<void> check_read(ByteRange range) const;

    /// Up to which absolute byte reads of the zone find data; beyond are zeroes.
    [[nodiscard]] std::uint64_t readable_end(ZoneIndex zone) const;

    /// Where the next write of the zone goes: its write pointer, if nothing is in flight. Absolute
    /// bytes; for sequential-write-required zones.
    [[nodiscard]] std::uint64_t reserved_pointer(ZoneIndex zone) const;

    /// Zones that hold resources, those that still show empty included.
    [[nodiscard]] std::uint32_t open_count() const { return open_count_; }
    [[nodiscard]] std::uint32_t active_count() const { return active_count_; }

    /// Sets who is told of every change of what record_of() returns: one observer, for the store,
    /// called in the same turn, after the table is consistent. It must not call the table's
    /// changing functions. load() is not told.
    void set_observer(void (*on_change)(void* context, ZoneIndex zone, const ZoneRecord& record),
                      void* context);

    enum class OverLimits : std::uint8_t { refused, allowed };

    /// Loads what was stored, or what a device reported: before the first use, or later for a
    /// zone that is not busy. Checks it against the geometry. A closed or implicitly open zone
    /// without data becomes empty: some devices report that. Nothing changes on an error.
    /// @param over_limits  allowed after a power loss: two pages of the store may be of different
    ///                     rounds, and one still show as active a zone that was full before the
    ///                     other's became active. No zone becomes active then until there is room
    /// Errors: corrupt, for a state that its type cannot have, data_end beyond the capacity, an
    /// empty zone with data, an open or closed one filled up, or counts over the limits.
    [[nodiscard]] Result<void> load(ZoneIndex zone, const ZoneRecord& record,
                                    OverLimits over_limits = OverLimits::refused);

    /// After loading with limits allowed to be passed: closes implicitly open zones until no more
    /// are open than may be, or none of them is left. The observer is told.
    void close_excess();

    /// For faults and for devices that report it: the zone wears out. Its data stays; writes in
    /// flight end as they would. An offline zone stays offline.
    /// @param zone   not conventional
    /// @param state  read_only or offline
    void degrade(ZoneIndex zone, ZoneState state);

  private:
    static constexpr std::uint32_t kNone = 0xffff'ffff;

    /// 24 bytes, because a device has up to millions of them.
    struct Zone {
        std::uint64_t data_end = 0;
        std::uint32_t older = kNone;  ///< neighbours in the list of closable zones
        std::uint32_t newer = kNone;
        std::uint32_t flight = kNone;  ///< index in flights_ while writes are in flight
        ZoneState state = ZoneState::empty;
        bool is_closable = false;  ///< in the list: implicitly open
    };
    static_assert(sizeof(Zone) == 24);

    /// The writes in flight of one zone.
    struct Flight {
        ZoneReservationList waiting;  ///< not displaced, not final; in order of reservation
        std::uint64_t reserved = 0;   ///< where the next write goes, bytes from the zone's start
        std::uint32_t writing = 0;    ///< not ended yet, displaced ones included
        bool is_recovering = false;
    };

    [[nodiscard]] Zone& at(ZoneIndex zone);
    [[nodiscard]] const Zone& at(ZoneIndex zone) const;
    [[nodiscard]] ZoneResources in_use() const;
    void change(ZoneIndex zone, const ZoneRecord& to);
    void make_room(ZoneState from, ZoneState to);
    void update_closable(ZoneIndex index);
    void make_newest(ZoneIndex index);
    void unlink_closable(Zone& zone);
    [[nodiscard]] Flight& flight_of(ZoneIndex zone);
    void publish(Flight& flight, const ZoneReservation& ended, ZoneReservationList& resolved);
    void displace_from(ZoneReservationList::iterator first, Flight& flight,
                       ZoneReservationList& resolved);
    void end_write(ZoneIndex zone, Flight& flight, Ended& ended);

    ZoneGeometry geometry_;
    std::vector<Zone> zones_;
    std::vector<std::unique_ptr<Flight>> flights_;  ///< a pool: grows to the most zones ever busy
    std::vector<std::uint32_t> free_flights_;
    std::uint32_t oldest_closable_ = kNone;
    std::uint32_t newest_closable_ = kNone;
    std::uint32_t open_count_ = 0;
    std::uint32_t active_count_ = 0;
    void (*on_change_)(void* context, ZoneIndex zone, const ZoneRecord& record) = nullptr;
    void* observer_context_ = nullptr;
};

}  // namespace zbdkit
