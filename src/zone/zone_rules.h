// SPDX-License-Identifier: Apache-2.0
// The rules of the zone state machine as pure functions of one zone: what an action does to it,
// whether a write is allowed and where it goes, what it makes of the zone, and which resources a
// transition needs. No memory of their own; ZoneTable applies them. The table of transitions is
// docs/zone-semantics.md; clauses are those of virtio 1.3, 5.2.6 (device operation).
#pragma once

#include <cstdint>
#include <optional>

#include "base/error.h"
#include "zone/zone.h"

namespace zbdkit {

/// What a zone is, as far as it must be remembered: what the zoned format stores.
struct ZoneRecord {
    ZoneState state = ZoneState::empty;
    std::uint64_t data_end = 0;  ///< bytes from the zone's start up to which data was written.
                                 ///< A finished zone keeps it; reads beyond it give zeroes
    bool operator==(const ZoneRecord&) const = default;
};

/// Implicitly and explicitly open zones count against max_open_zones.
[[nodiscard]] bool takes_open(ZoneState state);
/// Open and closed zones count against max_active_zones.
[[nodiscard]] bool takes_active(ZoneState state);
/// Read-only and offline zones: no way back to a working one.
[[nodiscard]] bool is_worn_out(ZoneState state);

/// What an action makes of a zone, resources apart.
/// @return the new record; equal to `zone` if it is already as the action wants it
/// Errors: zone_invalid for a conventional zone and for a transition that does not exist.
/// Spec: [virtio 1.3, 5.2.6.2], open, close, finish, reset.
[[nodiscard]] Result<ZoneRecord> after_action(ZoneAction action, ZoneType type,
                                              const ZoneRecord& zone);

/// A write or append, with what decides about it. Positions are bytes from the zone's start.
struct ZoneWrite {
    std::optional<std::uint64_t> at{};  ///< nothing for an append
    std::uint64_t length = 0;           ///< bytes, not 0
};

/// The zone that a write is meant for.
struct ZoneWriteTarget {
    ZoneType type = ZoneType::sequential_required;
    ZoneState state = ZoneState::empty;
    std::uint64_t pointer = 0;      ///< where the next write goes, after those in flight
    std::uint64_t length = 0;       ///< of the zone
    std::uint64_t capacity = 0;     ///< of the zone
    std::uint64_t max_append = 0;   ///< 0: append is not supported
    std::uint32_t granularity = 0;  ///< of writes; 0 is as 1. The zone's start is a multiple
};

/// Decides about the form and place of a write, resources apart.
/// @return bytes from the zone's start where it goes
/// Errors, in this order: zone_invalid (worn out; leaves the zone; append to another type than
/// sequential-write-required), not_supported (append without max_append), zone_invalid (append
/// too long; beyond the capacity; full), zone_unaligned_wp (not at the pointer; off granularity).
/// Spec: [virtio 1.3, 5.2.6.2], append and out.
[[nodiscard]] Result<std::uint64_t> place_write(const ZoneWriteTarget& zone,
                                                const ZoneWrite& write);

/// What a zone is once data up to `data_end` is in it: full at its capacity, else as it was.
[[nodiscard]] ZoneRecord after_write(const ZoneRecord& zone, std::uint64_t data_end,
                                     std::uint64_t capacity);

/// Resources of a device in use, and whether an implicitly open zone could be closed to make room.
struct ZoneResources {
    std::uint32_t open = 0;
    std::uint32_t active = 0;
    bool has_closable = false;
};

/// Whether a zone may go from one state to another with the resources there are.
/// Errors: zone_active_limit, zone_open_limit; active first when both lack.
/// Spec: [virtio 1.3, 5.2.6.2], open and active zone resources.
[[nodiscard]] Result<void> check_resources(const ZoneGeometry& limits, const ZoneResources& in_use,
                                           ZoneState from, ZoneState to);

/// Whether a zone can be so, limits of the device apart: what is stored or reported is checked.
/// @param capacity  of the zone, bytes
/// Errors: corrupt, for a state that its type cannot have, data_end beyond the capacity, an empty
/// zone with data, an open or closed one filled up.
[[nodiscard]] Result<void> check_record(ZoneType type, const ZoneRecord& record,
                                        std::uint64_t capacity);

/// Whether the zone layout makes sense.
/// Errors: a message that says which number contradicts which.
[[nodiscard]] Outcome<void> check_geometry(const ZoneGeometry& geometry);

}  // namespace zbdkit
