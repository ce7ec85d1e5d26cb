// SPDX-License-Identifier: Apache-2.0
// What a zone is: vocabulary that every floor above shares. Numbers are those of
// linux/blkzoned.h and virtio-blk, so they can go out unchanged. Everything is in bytes.
#pragma once

#include <cstdint>

#include "base/units.h"

namespace zbdkit {

/// How the device as a whole treats its zones. [virtio 1.3, 5.2.4]
enum class ZoneModel : std::uint8_t { none = 0, host_managed = 1, host_aware = 2 };

enum class ZoneType : std::uint8_t {
    conventional = 1,
    sequential_required = 2,
    sequential_preferred = 3,
};

/// The condition of a zone. Conventional zones are always not_write_pointer, others never.
enum class ZoneState : std::uint8_t {
    not_write_pointer = 0,
    empty = 1,
    implicit_open = 2,
    explicit_open = 3,
    closed = 4,
    read_only = 13,
    full = 14,
    offline = 15,
};

/// A zone as a report shows it.
struct ZoneDescriptor {
    std::uint64_t start = 0;          ///< bytes from the start of the device
    std::uint64_t length = 0;         ///< bytes; zone_size, except for a short last zone
    std::uint64_t capacity = 0;       ///< writable bytes from start; <= length
    std::uint64_t write_pointer = 0;  ///< absolute bytes. start + length for a full zone;
                                      ///< meaningless for conventional, read-only and offline
    ZoneType type = ZoneType::conventional;
    ZoneState state = ZoneState::not_write_pointer;

    bool operator==(const ZoneDescriptor&) const = default;
};

/// The zone layout and the limits of a device. Immutable while it is open.
struct ZoneGeometry {
    ZoneModel model = ZoneModel::none;
    std::uint64_t device_size = 0;         ///< bytes
    std::uint64_t zone_size = 0;           ///< bytes; every zone but the last has this length
    std::uint64_t zone_capacity = 0;       ///< writable bytes of a sequential zone; <= zone_size
    std::uint32_t conventional_zones = 0;  ///< how many zones at the start are conventional
    std::uint32_t max_open_zones = 0;      ///< implicit + explicit open; 0 = no limit
    std::uint32_t max_active_zones = 0;    ///< open + closed; 0 = no limit
    std::uint64_t max_append_bytes = 0;    ///< 0 = append not supported
    std::uint32_t write_granularity = 0;   ///< bytes; offset and size of writes to sequential zones

    [[nodiscard]] bool is_zoned() const { return model != ZoneModel::none; }
    [[nodiscard]] std::uint32_t zone_count() const {
        return zone_size == 0
                   ? 0
                   : static_cast<std::uint32_t>((device_size + zone_size - 1) / zone_size);
    }
    /// @param offset  within the device
    [[nodiscard]] ZoneIndex zone_of(std::uint64_t offset) const {
        return ZoneIndex(static_cast<std::uint32_t>(offset / zone_size));
    }
    [[nodiscard]] std::uint64_t start_of(ZoneIndex zone) const {
        return std::uint64_t{to_number(zone)} * zone_size;
    }
    [[nodiscard]] std::uint64_t length_of(ZoneIndex zone) const {
        const std::uint64_t left = device_size - start_of(zone);
        return left < zone_size ? left : zone_size;
    }
    [[nodiscard]] ZoneType type_of(ZoneIndex zone) const {
        if (to_number(zone) < conventional_zones) return ZoneType::conventional;
        return model == ZoneModel::host_aware ? ZoneType::sequential_preferred
                                              : ZoneType::sequential_required;
    }
    /// A short last zone has at most its length.
    [[nodiscard]] std::uint64_t capacity_of(ZoneIndex zone) const {
        const std::uint64_t length = length_of(zone);
        if (type_of(zone) == ZoneType::conventional) return length;
        return zone_capacity < length ? zone_capacity : length;
    }

    bool operator==(const ZoneGeometry&) const = default;
};

/// A management action on one zone. [virtio 1.3, 5.2.6]
enum class ZoneAction : std::uint8_t { open, close, finish, reset };

/// The write pointer as reports on the wire give it, also where it means nothing: the start of an
/// empty or conventional zone, the end of a full or worn-out one.
[[nodiscard]] std::uint64_t reported_write_pointer(const ZoneDescriptor& zone);

[[nodiscard]] const char* zone_type_name(ZoneType type);
[[nodiscard]] const char* zone_state_name(ZoneState state);
[[nodiscard]] const char* zone_model_name(ZoneModel model);

}  // namespace zbdkit
