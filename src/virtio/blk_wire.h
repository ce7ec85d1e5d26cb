// SPDX-License-Identifier: Apache-2.0
// What virtio-blk looks like in guest memory. Pure: numbers and layouts only. Everything is
// little-endian, a sector is always 512 bytes. [virtio 1.3, 5.2]
//
//   request   = header data status
//   header    = type:u32 ioprio:u32 sector:u64                              device-readable
//   data      = OUT, ZONE_APPEND: byte{512*n}                               device-readable
//             | DISCARD, WRITE_ZEROES: segment{1..max_seg}                  device-readable
//             | IN: byte{512*n} | GET_ID: byte{20}                          device-writable
//             | ZONE_REPORT: report | ZONE_APPEND: append_sector:u64        device-writable
//             | others: nothing
//   status    = u8, the last byte of the device-writable memory             device-writable
//   segment   = sector:u64 num_sectors:u32 flags:u32
//   report    = nr_zones:u64 reserved{56} descriptor{nr_zones}
//   descriptor= z_cap:u64 z_start:u64 z_wp:u64 z_type:u8 z_state:u8 reserved{38}
//
// Where descriptors of the ring begin and end says nothing. ZONE_APPEND's append_sector stands at
// byte 0 of the writable memory and status in its last byte: a driver that counts its 9 bytes and
// one that pads them to 16 (Linux) both find them there. [5.2.6]
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/bytes.h"

namespace zbdkit {

/// A little-endian integer of a wire struct: any alignment, so structs of it have no padding.
template <class T>
class Le {
  public:
    constexpr Le() = default;
    Le(T value) { store_le(bytes_.data(), value); }           // NOLINT: it is its value
    operator T() const { return load_le<T>(bytes_.data()); }  // NOLINT

  private:
    std::array<std::byte, sizeof(T)> bytes_{};
};

using Le16 = Le<std::uint16_t>;
using Le32 = Le<std::uint32_t>;
using Le64 = Le<std::uint64_t>;

/// Feature bits of the block device, as masks. [5.2.3]
namespace blk_feature {
inline constexpr std::uint64_t kSizeMax = std::uint64_t{1} << 1;
inline constexpr std::uint64_t kSegMax = std::uint64_t{1} << 2;
inline constexpr std::uint64_t kReadOnly = std::uint64_t{1} << 5;
inline constexpr std::uint64_t kBlockSize = std::uint64_t{1} << 6;
inline constexpr std::uint64_t kFlush = std::uint64_t{1} << 9;
inline constexpr std::uint64_t kTopology = std::uint64_t{1} << 10;
inline constexpr std::uint64_t kConfigWce = std::uint64_t{1} << 11;
inline constexpr std::uint64_t kMultiQueue = std::uint64_t{1} << 12;
inline constexpr std::uint64_t kDiscard = std::uint64_t{1} << 13;
inline constexpr std::uint64_t kWriteZeroes = std::uint64_t{1} << 14;
inline constexpr std::uint64_t kZoned = std::uint64_t{1} << 17;
}  // namespace blk_feature

/// Feature bits of rings and of virtio as a whole, as masks. [6]
namespace ring_feature {
inline constexpr std::uint64_t kIndirect = std::uint64_t{1} << 28;
inline constexpr std::uint64_t kEventIdx = std::uint64_t{1} << 29;
inline constexpr std::uint64_t kVersion1 = std::uint64_t{1} << 32;
inline constexpr std::uint64_t kPacked = std::uint64_t{1} << 34;
}  // namespace ring_feature

/// [5.2.6]
enum class BlkRequestType : std::uint32_t {
    in = 0,
    out = 1,
    flush = 4,
    get_id = 8,
    get_lifetime = 10,
    discard = 11,
    write_zeroes = 13,
    secure_erase = 14,
    zone_append = 15,
    zone_report = 16,
    zone_open = 18,
    zone_close = 20,
    zone_finish = 22,
    zone_reset = 24,
    zone_reset_all = 26,
};
/// A flag that old drivers put on the type; it is without meaning today. [5.2.6.4]
inline constexpr std::uint32_t kBlkLegacyBarrier = 0x80000000;

/// [5.2.6]
enum class BlkStatus : std::uint8_t {
    ok = 0,
    io_error = 1,
    unsupported = 2,
    zone_invalid_cmd = 3,
    zone_unaligned_wp = 4,
    zone_open_resource = 5,
    zone_active_resource = 6,
};

struct BlkHeader {
    Le32 type;
    Le32 ioprio;
    Le64 sector;
};
static_assert(sizeof(BlkHeader) == 16 && offsetof(BlkHeader, sector) == 8);

/// A range of DISCARD and WRITE_ZEROES. [5.2.6]
struct BlkSegment {
    static constexpr std::uint32_t kUnmap = 1;

    Le64 sector;
    Le32 sector_count;
    Le32 flags;
};
static_assert(sizeof(BlkSegment) == 16 && offsetof(BlkSegment, flags) == 12);

struct BlkReportHeader {
    Le64 zone_count;  ///< descriptors that follow
    std::array<std::byte, 56> reserved;
};
static_assert(sizeof(BlkReportHeader) == 64);

/// There is no length: it is the device's zone_sectors, but for a short last zone. [5.2.6]
struct BlkZoneDescriptor {
    Le64 capacity;       ///< sectors
    Le64 start;          ///< sectors
    Le64 write_pointer;  ///< sectors, from the start of the device
    std::uint8_t type;   ///< ZoneType
    std::uint8_t state;  ///< ZoneState
    std::array<std::byte, 38> reserved;
};
static_assert(sizeof(BlkZoneDescriptor) == 64);
static_assert(offsetof(BlkZoneDescriptor, start) == 8);
static_assert(offsetof(BlkZoneDescriptor, write_pointer) == 16);
static_assert(offsetof(BlkZoneDescriptor, type) == 24);
static_assert(offsetof(BlkZoneDescriptor, state) == 25);

inline constexpr std::size_t kBlkIdSize = 20;          ///< GET_ID's string [5.2.6]
inline constexpr std::size_t kBlkAppendReplySize = 9;  ///< append_sector and status, at least

/// The configuration space. [5.2.4]
struct BlkConfig {
    Le64 capacity;   ///< sectors
    Le32 size_max;   ///< bytes in one segment
    Le32 seg_max;    ///< data segments of a request
    Le16 cylinders;  ///< geometry: not offered
    std::uint8_t heads;
    std::uint8_t track_sectors;
    Le32 block_size;                  ///< bytes
    std::uint8_t physical_block_exp;  ///< log2 of blocks in a physical block
    std::uint8_t alignment_offset;    ///< blocks
    Le16 min_io_size;                 ///< blocks
    Le32 opt_io_size;                 ///< blocks
    std::uint8_t writeback;  ///< 0 write-through, 1 write-back; the one byte that drivers write
    std::uint8_t unused0;
    Le16 queue_count;
    Le32 max_discard_sectors;
    Le32 max_discard_segments;
    Le32 discard_sector_alignment;
    Le32 max_write_zeroes_sectors;
    Le32 max_write_zeroes_segments;
    std::uint8_t write_zeroes_may_unmap;
    std::array<std::uint8_t, 3> unused1;
    Le32 max_secure_erase_sectors;  ///< secure erase: not offered
    Le32 max_secure_erase_segments;
    Le32 secure_erase_sector_alignment;
    Le32 zone_sectors;
    Le32 max_open_zones;      ///< 0 = no limit
    Le32 max_active_zones;    ///< 0 = no limit
    Le32 max_append_sectors;  ///< 0 = no append
    Le32 write_granularity;   ///< bytes
    std::uint8_t model;       ///< ZoneModel
    std::array<std::uint8_t, 3> unused2;
};
static_assert(sizeof(BlkConfig) == 96 && alignof(BlkConfig) == 1);
static_assert(std::is_trivially_copyable_v<BlkConfig>);
static_assert(offsetof(BlkConfig, size_max) == 8 && offsetof(BlkConfig, seg_max) == 12);
static_assert(offsetof(BlkConfig, block_size) == 20);
static_assert(offsetof(BlkConfig, physical_block_exp) == 24);
static_assert(offsetof(BlkConfig, min_io_size) == 26);
static_assert(offsetof(BlkConfig, opt_io_size) == 28);
static_assert(offsetof(BlkConfig, writeback) == 32 && offsetof(BlkConfig, queue_count) == 34);
static_assert(offsetof(BlkConfig, max_discard_sectors) == 36);
static_assert(offsetof(BlkConfig, max_write_zeroes_sectors) == 48);
static_assert(offsetof(BlkConfig, write_zeroes_may_unmap) == 56);
static_assert(offsetof(BlkConfig, max_secure_erase_sectors) == 60);
static_assert(offsetof(BlkConfig, zone_sectors) == 72 && offsetof(BlkConfig, max_open_zones) == 76);
static_assert(offsetof(BlkConfig, max_append_sectors) == 84);
static_assert(offsetof(BlkConfig, write_granularity) == 88 && offsetof(BlkConfig, model) == 92);

}  // namespace zbdkit
