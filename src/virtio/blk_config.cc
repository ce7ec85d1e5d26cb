// SPDX-License-Identifier: Apache-2.0
#include "virtio/blk_config.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <string>

#include "base/units.h"

namespace zbdkit {
namespace {

/// Guests' pages: a segment of an append may be as small as one.
constexpr std::uint64_t kSmallestSegment = 4096;
/// Linux shifts the field by 9 in 32 bits and refuses a disk for which that wraps to nothing.
constexpr std::uint64_t kLinuxMaxAppendSectors = (std::uint64_t{1} << 23) - 1;

std::uint32_t to_u32(std::uint64_t value) {
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(value, std::numeric_limits<std::uint32_t>::max()));
}

std::uint32_t write_granularity(const BlkDisk& disk) {
    return std::max(disk.zones.write_granularity, disk.block_size);
}

void add_topology(const BlkDisk& disk, BlkConfig& config) {
    const std::uint32_t blocks = std::max(disk.physical_block_size / disk.block_size, 1U);
    config.physical_block_exp = static_cast<std::uint8_t>(std::bit_width(blocks) - 1);
    config.min_io_size = static_cast<std::uint16_t>(
        std::min<std::uint32_t>(blocks, std::numeric_limits<std::uint16_t>::max()));
}

void add_ranges(const BlkDisk& disk, std::uint64_t offered, BlkConfig& config) {
    if ((offered & blk_feature::kDiscard) != 0) {
        config.max_discard_sectors = kBlkMaxRangeSectors;
        config.max_discard_segments = kBlkMaxRanges;
        config.discard_sector_alignment = static_cast<std::uint32_t>(disk.block_size / kSectorSize);
    }
    if ((offered & blk_feature::kWriteZeroes) != 0) {
        config.max_write_zeroes_sectors = kBlkMaxRangeSectors;
        config.max_write_zeroes_segments = kBlkMaxRanges;
        config.write_zeroes_may_unmap = 1;
    }
}

/// An open zone is active as well, so a limit beyond that of active zones is none (and Linux
/// refuses a disk that says so).
std::uint32_t max_open_zones(const ZoneGeometry& zones) {
    return zones.max_active_zones == 0 ? zones.max_open_zones
                                       : std::min(zones.max_open_zones, zones.max_active_zones);
}

void add_zones(const BlkDisk& disk, BlkConfig& config) {
    config.zone_sectors = to_u32(disk.zones.zone_size / kSectorSize);
    config.max_open_zones = max_open_zones(disk.zones);
    config.max_active_zones = disk.zones.max_active_zones;
    config.max_append_sectors = blk_max_append_sectors(disk);
    config.write_granularity = write_granularity(disk);
    config.model = static_cast<std::uint8_t>(disk.zones.model);
}

/// A driver that has negotiated a host-aware disk without ZONED must see no zones. A host-managed
/// disk never hides them: nothing works on it without ZONED, and the front end may cache.
bool shows_zones(const BlkDisk& disk, std::uint64_t features) {
    if (!disk.zones.is_zoned()) return false;
    return disk.is_host_managed() || features == 0 || (features & blk_feature::kZoned) != 0;
}

}  // namespace

Outcome<void> check_blk_disk(const BlkDisk& disk) {
    const auto bytes = [](std::uint64_t count) { return std::to_string(count) + " bytes"; };
    if (!is_aligned(disk.size, kSectorSize)) {
        return failure("a virtio disk is a multiple of 512 bytes, this one has " +
                       bytes(disk.size));
    }
    if (!is_power_of_two(disk.block_size) || disk.block_size < kSectorSize) {
        return failure("a virtio disk's block size is a power of two from 512 bytes on, not " +
                       bytes(disk.block_size));
    }
    if (disk.zones.is_zoned() &&
        (!is_aligned(disk.zones.zone_size, disk.block_size) || disk.zones.zone_size == 0)) {
        return failure("a virtio disk's zones are a multiple of its block size of " +
                       bytes(disk.block_size) + ", not " + bytes(disk.zones.zone_size));
    }
    if (disk.zones.zone_size / kSectorSize > std::numeric_limits<std::uint32_t>::max()) {
        return failure("a virtio disk's zones are smaller than 2 TiB, not " +
                       bytes(disk.zones.zone_size));
    }
    return {};
}

std::uint64_t blk_offered_features(const BlkDisk& disk) {
    using namespace blk_feature;
    std::uint64_t features = kSizeMax | kSegMax | kBlockSize | kFlush | kTopology | kConfigWce |
                             ring_feature::kIndirect | ring_feature::kEventIdx |
                             ring_feature::kVersion1;
    if (disk.packed) features |= ring_feature::kPacked;
    if (disk.queue_count > 1) features |= kMultiQueue;
    if (disk.read_only) features |= kReadOnly;
    if (disk.zones.is_zoned()) features |= kZoned;
    // Not with host-managed zones: drivers must not discard there, and what WRITE_ZEROES does to
    // a write pointer is nowhere said. [5.2.5.1]
    const bool takes_ranges = !disk.read_only && !disk.is_host_managed();
    if (takes_ranges && disk.can_discard) features |= kDiscard;
    if (takes_ranges && disk.can_write_zeroes) features |= kWriteZeroes;
    return features;
}

std::uint32_t blk_max_append_sectors(const BlkDisk& disk) {
    if (disk.zones.max_append_bytes == 0) return 0;
    // Drivers never split an append, so a request of small segments must be able to carry it.
    const std::uint64_t carried = disk.seg_max * kSmallestSegment;
    const std::uint64_t granularity = write_granularity(disk);
    const std::uint64_t bytes =
        std::min({disk.zones.max_append_bytes, carried, kLinuxMaxAppendSectors * kSectorSize});
    return to_u32(std::max(round_down(bytes, granularity), granularity) / kSectorSize);
}

BlkConfig make_blk_config(const BlkDisk& disk, const BlkConfigState& state) {
    BlkConfig config{};
    config.capacity = disk.size / kSectorSize;
    config.size_max = kBlkSizeMax;
    config.seg_max = disk.seg_max;
    config.block_size = disk.block_size;
    add_topology(disk, config);
    config.writeback = state.writeback ? 1 : 0;
    config.queue_count = disk.queue_count;
    add_ranges(disk, blk_offered_features(disk), config);
    if (shows_zones(disk, state.features)) add_zones(disk, config);
    return config;
}

}  // namespace zbdkit
