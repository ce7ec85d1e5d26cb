// SPDX-License-Identifier: Apache-2.0
// What is to be exported and how, as given by --export (the syntax of qemu-storage-daemon) or by
// the short form of `zbdkit serve`.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/units.h"
#include "export/ublk/server.h"
#include "virtio/blk_device.h"

namespace zbdkit::app {

enum class ExportType : std::uint8_t {
    vhost_user_blk,
    ublk,
};
/// What they are called, in the order of ExportType.
inline constexpr std::array<std::string_view, 2> kExportTypes = {"vhost-user-blk", "ublk"};
/// Types that zbdkit is meant to have and this build has not.
inline constexpr std::array<std::string_view, 1> kAbsentExportTypes = {"vduse-blk"};

struct ExportPlan {
    ExportType type = ExportType::vhost_user_blk;
    std::string id;
    std::string node_name;     ///< which of --blockdev
    ublk::ServerOptions ublk;  ///< of type ublk

    // Of type vhost-user-blk; `device` has for both whether they are writable.
    std::string socket_path;
    /// What the front end's queues are expected to hold: it goes into the line for QEMU and
    /// bounds the segments of a request.
    std::uint32_t queue_size = 128;
    BlkDevice::Options device;
    std::uint64_t poll_bound_ns = 0;  ///< as vhost_user::ServerOptions has it
    std::string io_thread;            ///< id of the iothread that serves it; "": the main thread
    std::size_t place = 0;            ///< among all exports: the order in which they are told of
};

inline constexpr std::uint32_t kSmallestQueue = 8;
inline constexpr std::uint32_t kLargestQueue = 32768;
inline constexpr std::uint32_t kMostSegments = 1024;
/// Requests of a ublk queue: each has a buffer of the largest request's size.
inline constexpr std::uint32_t kMostUblkDepth = 1024;
inline constexpr std::uint64_t kMostUblkDevices = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kSmallestUblkIo = 64 * kKiB;
inline constexpr std::uint64_t kLargestUblkIo = 16 * kMiB;

/// Reads "type=vhost-user-blk,id=E,node-name=N,addr.type=unix,addr.path=P,...",
/// "type=ublk,id=E,node-name=N,..." or JSON.
/// Errors: unknown types and options, naming the nearest; missing ones; values out of range.
[[nodiscard]] Outcome<ExportPlan> parse_export(std::string_view text);

/// How long an empty ring is polled if nobody says: longer than two wake-ups, that of the driver by
/// a call and that of the device by a kick, so that a driver with the next requests at hand finds
/// the device awake.
inline constexpr std::uint64_t kDefaultPollUs = 50;
/// The longest bound of polling: beyond, an idle disk would look like a busy one.
inline constexpr std::uint64_t kLongestPollUs = 100'000;
/// Sets the bound of polling. Errors: out of range.
[[nodiscard]] Outcome<void> set_polling(ExportPlan& plan, std::uint64_t poll_max_us);

/// Sets the queues and what follows from them.
struct QueueWishes {
    std::uint64_t queue_count = 1;
    std::uint64_t queue_size = 0;    ///< 0: what is usual for the type
    std::uint64_t max_segments = 0;  ///< 0: as many as the queue size allows
};
/// Errors: values out of range.
[[nodiscard]] Outcome<void> set_queues(ExportPlan& plan, const QueueWishes& wishes);

/// Sets which /dev/ublkbN it is to be. Errors: out of range.
[[nodiscard]] Outcome<void> set_ublk_device(ExportPlan& plan, std::uint64_t device);
/// Sets the most data of one request of a ublk disk. Errors: out of range; no multiple of 4 KiB.
[[nodiscard]] Outcome<void> set_ublk_max_io(ExportPlan& plan, std::uint64_t bytes);
/// Sets what the guest or the kernel may do. Both types.
struct ExportAccess {
    bool writable = true;
    bool write_cache = true;
};
void set_access(ExportPlan& plan, ExportAccess access);

/// Words to look out for: a disk whose appends do not fit into its requests. "" if all is well.
[[nodiscard]] std::string append_warning(const ExportPlan& plan, std::uint64_t max_append_bytes);

/// The arguments of a QEMU that boots with this disk.
[[nodiscard]] std::string qemu_arguments(const ExportPlan& plan);

}  // namespace zbdkit::app
