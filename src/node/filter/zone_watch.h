// SPDX-License-Identifier: Apache-2.0
// What filter "zone_check" knows about each zone of the device below, from the requests that went
// by, and whether their answers fit together. Pure: no I/O, no clock; one owner. It is told of each
// request when it goes down and when it comes back, and believes nothing that the two do not prove:
// with requests in flight side by side it keeps bounds instead of values.
//
// Of a sequential-write-required zone it keeps
//   floor     bytes that the write pointer has passed for certain: the end of acknowledged data
//   ceiling   bytes that it cannot have passed: the floor, writes in flight, and those that failed
//             in a way that may have moved it
//   possible  the states the zone can be in
// An implicitly open zone may be closed by the device at any time, and any zone may wear out. An
// action that has the zone to itself, and a report without any change of the zone meanwhile, tell
// exactly what it is; an action beside other requests makes it unknown until then. Sequential-
// write-preferred zones take writes anywhere, so of them only the form of reports is checked.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "block/request.h"
#include "zone/zone.h"

namespace zbdkit {

class ZoneWatch {
  public:
    /// Nothing is known of the zones.
    explicit ZoneWatch(const ZoneGeometry& geometry);

    /// An answer that contradicts the rules of zones or earlier answers.
    struct Violation {
        ZoneIndex zone{};
        std::string text;  ///< what was seen and what was expected
    };

    /// A request on its way: what was known when it went down. Belongs to one end().
    struct Ticket {
        std::uint64_t begun = 0;
        std::uint64_t floor = 0;  ///< of the zone it writes to
        bool is_worn_out = false;
        bool is_alone = false;           ///< nothing else of the zone was in flight
        bool is_without_action = false;  ///< no action of the zone was in flight
    };

    /// Takes over what a quiet device reported: before the first use, all zones in order.
    [[nodiscard]] std::optional<Violation> load(std::span<const ZoneDescriptor> zones);

    /// A request goes down.
    [[nodiscard]] Ticket begin(const Request& request);
    /// It came back. What the answer proves is kept; after a violation, what is seen counts.
    /// @return nothing if all is as it must be
    [[nodiscard]] std::optional<Violation> end(const Request& request, const Ticket& ticket,
                                               const Result<void>& result);

  private:
    /// A set of zone states, a bit each by number.
    using States = std::uint16_t;

    struct Zone {
        std::uint64_t floor = 0;         ///< bytes from the zone's start, as all here
        std::uint64_t doubt = 0;         ///< of failed writes that may have moved the pointer
        std::uint64_t flying = 0;        ///< of writes in flight
        std::uint64_t report_floor = 0;  ///< the floor before the oldest report in flight
        std::uint64_t raised = 0;        ///< when the floor was raised last
        std::uint64_t changed = 0;       ///< when the last request began or ended
        std::uint64_t acted = 0;         ///< when the last action began or ended
        std::uint32_t writes = 0;        ///< in flight
        std::uint32_t actions = 0;       ///< in flight
        States possible = 0;             ///< wear apart, unless it is known
    };

    [[nodiscard]] bool is_tracked(ZoneIndex zone) const;
    [[nodiscard]] std::optional<ZoneIndex> zone_written(const Request& request) const;
    [[nodiscard]] Zone& at(ZoneIndex zone) { return zones_[to_number(zone)]; }
    [[nodiscard]] std::uint64_t ceiling(ZoneIndex zone) const;
    void narrow(ZoneIndex zone);
    void forget(ZoneIndex zone);
    void raise_floor(ZoneIndex zone, std::uint64_t floor);
    void pin(ZoneIndex zone, const ZoneDescriptor& seen);

    [[nodiscard]] Ticket begin_write(ZoneIndex index, std::uint64_t length);
    [[nodiscard]] std::optional<Violation> end_write(ZoneIndex index, const Request& request,
                                                     const Ticket& ticket,
                                                     const Result<void>& result);
    [[nodiscard]] std::optional<std::string> problem_of_place(ZoneIndex index,
                                                              const Request& request,
                                                              std::uint64_t place) const;
    [[nodiscard]] std::optional<std::string> problem_of_order(ZoneIndex index, const Ticket& ticket,
                                                              ByteRange written) const;
    void keep_extent(ZoneIndex index, ByteRange written);

    void begin_action(ZoneIndex index, std::uint64_t begun);
    [[nodiscard]] std::optional<Violation> end_action(ZoneIndex index, Op op, std::uint64_t begun,
                                                      const Result<void>& result);
    [[nodiscard]] std::optional<Violation> end_reset_all(const Ticket& ticket,
                                                         const Result<void>& result);
    [[nodiscard]] std::optional<Violation> apply_action(ZoneIndex index, ZoneAction action);
    [[nodiscard]] std::optional<Violation> end_transfer(const Request& request,
                                                        const Ticket& ticket) const;

    [[nodiscard]] std::optional<Violation> end_report(const Request& request, const Ticket& ticket);
    [[nodiscard]] std::optional<std::string> problem_of_form(ZoneIndex index,
                                                             const ZoneDescriptor& seen) const;
    [[nodiscard]] std::optional<std::string> problem_of_state(ZoneIndex index,
                                                              const ZoneDescriptor& seen,
                                                              std::uint64_t begun) const;
    [[nodiscard]] std::optional<Violation> check_limits(std::span<const ZoneDescriptor> zones,
                                                        const Ticket& ticket);

    ZoneGeometry geometry_;
    std::vector<Zone> zones_;
    /// Acknowledged data of zones with other writes in flight: in order, neighbours joined.
    std::unordered_map<std::uint32_t, std::vector<ByteRange>> extents_;
    std::uint64_t now_ = 0;        ///< counts what begins and ends
    std::uint64_t changed_ = 0;    ///< when the last write or action of any zone began or ended
    std::uint64_t changing_ = 0;   ///< writes and actions in flight
    std::uint64_t reports_ = 0;    ///< in flight
    std::uint32_t most_open_ = 0;  ///< the limit, or what was open over it at first
    std::uint32_t most_active_ = 0;
};

}  // namespace zbdkit
