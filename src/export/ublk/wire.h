// SPDX-License-Identifier: Apache-2.0
// ublk on the wire: the numbers and structs that Linux's ublk_drv and its server exchange, as Linux
// 6.12 to 7.3 have them. Native byte order, since both ends are one machine. Pure.
//
//   control command  io_uring command of 128 bytes on /dev/ublk-control, with a ControlCommand
//   data command     io_uring command on /dev/ublkcN, with an IoCommand: FETCH asks for the first
//                    request of a queue's tag, COMMIT_AND_FETCH answers it and asks for the next
//   descriptors      /dev/ublkcN mapped for reading: for each queue an array of IoDescriptor, one
//                    for each tag, at queue * kQueueStride
//   data             pread and pwrite on /dev/ublkcN at kDataOffset + (queue << 41) + (tag << 25)
//   buffers          with AUTO_BUF_REG the pages of each request also stand in the ring's table of
//                    registered buffers, until it is answered
//   zone report      the answer to REPORT_ZONES is data: an array of ReportedZone
#pragma once

#include <cstddef>
#include <cstdint>

namespace zbdkit::ublk {

// --- Features -----------------------------------------------------------------------------------

namespace feature {
inline constexpr std::uint64_t kUserRecovery = 1U << 3;
inline constexpr std::uint64_t kUserRecoveryReissue = 1U << 4;
inline constexpr std::uint64_t kCommandIoctlEncode = 1U << 6;
inline constexpr std::uint64_t kUserCopy = 1U << 7;
inline constexpr std::uint64_t kZoned = 1U << 8;
inline constexpr std::uint64_t kAutoBufferRegistration = 1U << 11;
}  // namespace feature

inline constexpr std::uint16_t kMaxQueueDepth = 4096;
/// Without a queue, in a ControlCommand.
inline constexpr std::uint16_t kNoQueue = 0xffff;
/// "Any number that is free", in ADD_DEV.
inline constexpr std::uint32_t kAnyDevice = 0xffffffff;

// --- Control ------------------------------------------------------------------------------------

/// Codes of control commands, as ioctls encode them.
enum class ControlCode : std::uint32_t {
    get_device_info = 0x80207502,
    add_device = 0xc0207504,
    delete_device = 0xc0207505,
    start_device = 0xc0207506,
    stop_device = 0xc0207507,
    set_params = 0xc0207508,
    get_params = 0x80207509,
    start_recovery = 0xc0207510,
    end_recovery = 0xc0207511,
    get_features = 0x80207513,
    delete_device_async = 0x80207514,
};

struct ControlCommand {
    std::uint32_t device = kAnyDevice;
    std::uint16_t queue = kNoQueue;
    std::uint16_t length = 0;   ///< of what `address` points to
    std::uint64_t address = 0;  ///< a struct to be read or filled in
    std::uint64_t data = 0;     ///< start_device, end_recovery: the server's process
    std::uint16_t path_length = 0;
    std::uint16_t padding = 0;
    std::uint32_t reserved = 0;
};
static_assert(sizeof(ControlCommand) == 32 && offsetof(ControlCommand, data) == 16);

enum class DeviceState : std::uint16_t { dead = 0, live = 1, quiesced = 2, failing = 3 };

struct DeviceInfo {
    std::uint16_t queue_count = 0;
    std::uint16_t queue_depth = 0;
    std::uint16_t state = 0;  ///< a DeviceState
    std::uint16_t padding0 = 0;
    std::uint32_t max_io_bytes = 0;
    std::uint32_t device = kAnyDevice;
    std::int32_t server_pid = -1;
    std::uint32_t padding1 = 0;
    std::uint64_t features = 0;
    std::uint64_t server_flags = 0;  ///< for the server's own use
    std::uint32_t owner_uid = 0;
    std::uint32_t owner_gid = 0;
    std::uint64_t reserved[2] = {};
};
static_assert(sizeof(DeviceInfo) == 64 && offsetof(DeviceInfo, features) == 24);

// --- Parameters ---------------------------------------------------------------------------------

namespace param_type {
inline constexpr std::uint32_t kBasic = 1U << 0;
inline constexpr std::uint32_t kDiscard = 1U << 1;
inline constexpr std::uint32_t kZoned = 1U << 3;
}  // namespace param_type

namespace attribute {
inline constexpr std::uint32_t kReadOnly = 1U << 0;
inline constexpr std::uint32_t kRotational = 1U << 1;
inline constexpr std::uint32_t kVolatileCache = 1U << 2;
inline constexpr std::uint32_t kFua = 1U << 3;
}  // namespace attribute

struct BasicParams {
    std::uint32_t attributes = 0;
    std::uint8_t logical_block_shift = 0;
    std::uint8_t physical_block_shift = 0;
    std::uint8_t optimal_io_shift = 0;
    std::uint8_t minimal_io_shift = 0;
    std::uint32_t max_sectors = 0;
    std::uint32_t chunk_sectors = 0;  ///< of a zone; a power of two
    std::uint64_t device_sectors = 0;
    std::uint64_t virtual_boundary_mask = 0;
    bool operator==(const BasicParams&) const = default;
};
static_assert(sizeof(BasicParams) == 32);

struct DiscardParams {
    std::uint32_t alignment = 0;    ///< bytes
    std::uint32_t granularity = 0;  ///< bytes
    std::uint32_t max_discard_sectors = 0;
    std::uint32_t max_write_zeroes_sectors = 0;
    std::uint16_t max_segments = 0;
    std::uint16_t reserved = 0;
    bool operator==(const DiscardParams&) const = default;
};
static_assert(sizeof(DiscardParams) == 20);

struct ZonedParams {
    std::uint32_t max_open_zones = 0;    ///< 0: no limit
    std::uint32_t max_active_zones = 0;  ///< 0: no limit
    std::uint32_t max_append_sectors = 0;
    std::uint8_t reserved[20] = {};
    bool operator==(const ZonedParams&) const = default;
};
static_assert(sizeof(ZonedParams) == 32);

struct Params {
    std::uint32_t length = 0;  ///< of this struct
    std::uint32_t types = 0;   ///< which of the parts below are meant
    BasicParams basic;
    DiscardParams discard;
    std::uint8_t device_numbers[16] = {};
    ZonedParams zoned;
    bool operator==(const Params&) const = default;
};
// Later kernels have more parts behind these; `length` says that they are not given.
static_assert(sizeof(Params) == 112 && offsetof(Params, discard) == 40 &&
              offsetof(Params, zoned) == 76);

// --- Requests -----------------------------------------------------------------------------------

/// Codes of data commands, as ioctls encode them.
enum class IoCode : std::uint32_t { fetch = 0xc0107520, commit_and_fetch = 0xc0107521 };

struct IoCommand {
    std::uint16_t queue = 0;
    std::uint16_t tag = 0;
    std::int32_t result = 0;          ///< bytes or 0; a negative errno
    std::uint64_t append_sector = 0;  ///< of a successful append; else 0
};
static_assert(sizeof(IoCommand) == 16);

/// With kAutoBufferRegistration, the address of a data command: where in the table of the ring the
/// next request's buffer is to stand. If it cannot, the request comes with io_flag::kNoBuffer.
[[nodiscard]] constexpr std::uint64_t buffer_place(std::uint16_t index) {
    constexpr std::uint64_t kFallback = 1U << 16;
    return index | kFallback;
}

/// What a data command ends with.
inline constexpr std::int32_t kRequestArrived = 0;
// Anything else: the device is stopped or the tag is not ours.

enum class IoOperation : std::uint8_t {
    read = 0,
    write = 1,
    flush = 2,
    discard = 3,
    write_same = 4,
    write_zeroes = 5,
    zone_open = 10,
    zone_close = 11,
    zone_finish = 12,
    zone_append = 13,
    zone_reset_all = 14,
    zone_reset = 15,
    report_zones = 18,
};

namespace io_flag {
inline constexpr std::uint32_t kOperationMask = 0xff;
inline constexpr std::uint32_t kFua = 1U << 13;
/// The request's buffer is not where the tag's command said.
inline constexpr std::uint32_t kNoBuffer = 1U << 17;
}  // namespace io_flag

struct IoDescriptor {
    std::uint32_t operation_and_flags = 0;
    std::uint32_t sectors = 0;  ///< report_zones: how many zones are wanted at most
    std::uint64_t start_sector = 0;
    std::uint64_t address = 0;  ///< not used with USER_COPY
};
static_assert(sizeof(IoDescriptor) == 24);

/// As linux/blkzoned.h has it: a zone of an answer to REPORT_ZONES. Sectors.
struct ReportedZone {
    std::uint64_t start = 0;
    std::uint64_t length = 0;
    std::uint64_t write_pointer = 0;
    std::uint8_t type = 0;   ///< a ZoneType
    std::uint8_t state = 0;  ///< a ZoneState
    std::uint8_t non_sequential = 0;
    std::uint8_t reset_recommended = 0;
    std::uint8_t padding[4] = {};
    std::uint64_t capacity = 0;
    std::uint8_t reserved[24] = {};
};
static_assert(sizeof(ReportedZone) == 64 && offsetof(ReportedZone, capacity) == 32);

// --- Where things are in /dev/ublkcN ------------------------------------------------------------

inline constexpr std::uint64_t kDataOffset = 0x80000000;
inline constexpr unsigned kTagShift = 25;
inline constexpr unsigned kQueueShift = 41;
/// A tag's data may span so many bytes.
inline constexpr std::uint64_t kMaxData = std::uint64_t{1} << kTagShift;

[[nodiscard]] constexpr std::uint64_t data_offset(std::uint16_t queue, std::uint16_t tag) {
    return kDataOffset + (std::uint64_t{queue} << kQueueShift) + (std::uint64_t{tag} << kTagShift);
}

/// Bytes between the descriptors of two queues, on a machine with pages of that size.
[[nodiscard]] constexpr std::uint64_t queue_stride(std::uint64_t page_size) {
    const std::uint64_t longest = std::uint64_t{kMaxQueueDepth} * sizeof(IoDescriptor);
    return (longest + page_size - 1) / page_size * page_size;
}

}  // namespace zbdkit::ublk
