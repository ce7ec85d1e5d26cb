// SPDX-License-Identifier: Apache-2.0
// What a virtio-blk device offers and shows: feature bits and the configuration space, made of what
// the disk is, the options and what was negotiated. Pure.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "virtio/blk_wire.h"
#include "zone/zone.h"

namespace zbdkit {

/// The disk as the device presents it.
struct BlkDisk {
    std::uint64_t size = 0;                   ///< bytes
    std::uint32_t block_size = 512;           ///< bytes, at least a sector
    std::uint32_t physical_block_size = 512;  ///< bytes
    bool read_only = false;
    bool can_discard = false;
    bool can_write_zeroes = false;
    ZoneGeometry zones{};         ///< model none: not zoned
    std::uint32_t seg_max = 126;  ///< data segments of a request, at least 1
    std::uint16_t queue_count = 1;
    bool packed = true;  ///< offer packed rings

    [[nodiscard]] bool is_host_managed() const { return zones.model == ZoneModel::host_managed; }
};

/// The most ranges of one DISCARD or WRITE_ZEROES, and the most sectors of one range (2 GiB).
inline constexpr std::uint32_t kBlkMaxRanges = 16;
inline constexpr std::uint32_t kBlkMaxRangeSectors = std::uint32_t{1} << 22;
/// What SIZE_MAX says. Larger segments are served all the same.
inline constexpr std::uint32_t kBlkSizeMax = std::uint32_t{1} << 20;

/// Whether virtio-blk can describe the disk.
/// Errors: a size that is no multiple of a sector, blocks or zones that its fields cannot hold.
[[nodiscard]] Outcome<void> check_blk_disk(const BlkDisk& disk);

/// Feature bits of the device and its rings. Never one that the device lacks: front ends exist
/// that pass every bit on to the guest (33 ACCESS_PLATFORM, 35 IN_ORDER, 36, 38, 40, ...).
/// Spec: [virtio 1.3, 5.2.5.2]
[[nodiscard]] std::uint64_t blk_offered_features(const BlkDisk& disk);

/// The largest append that the device takes: what the disk can do, cut to what one request can
/// carry and to what Linux accepts.
/// @return sectors, a multiple of the write granularity; 0 = append is not supported
[[nodiscard]] std::uint32_t blk_max_append_sectors(const BlkDisk& disk);

/// What decides about the configuration space besides the disk.
struct BlkConfigState {
    std::uint64_t features = 0;  ///< negotiated; 0 = nothing yet
    bool writeback = true;
};

/// The configuration space. A driver that negotiated a host-aware disk without ZONED sees a plain
/// disk; before the negotiation every driver, and a front end that caches it, sees the truth.
/// Spec: [5.2.4, 5.2.5.2]
[[nodiscard]] BlkConfig make_blk_config(const BlkDisk& disk, const BlkConfigState& state);

}  // namespace zbdkit
