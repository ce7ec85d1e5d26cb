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
#include "virtio/blk_device.h"

namespace zbdkit::app {

/// The export type that this build has.
inline constexpr std::string_view kExportType = "vhost-user-blk";
/// Types that zbdkit is meant to have and this build has not.
inline constexpr std::array<std::string_view, 2> kAbsentExportTypes = {"ublk", "vduse-blk"};

struct ExportPlan {
    std::string id;
    std::string node_name;  ///< which of --blockdev
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

/// Reads "type=vhost-user-blk,id=E,node-name=N,addr.type=unix,addr.path=P,..." or JSON.
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
    std::uint64_t queue_size = 128;
    std::uint64_t max_segments = 0;  ///< 0: as many as the queue size allows
};
/// Errors: values out of range.
[[nodiscard]] Outcome<void> set_queues(ExportPlan& plan, const QueueWishes& wishes);

/// Words to look out for: a disk whose appends do not fit into its requests. "" if all is well.
[[nodiscard]] std::string append_warning(const ExportPlan& plan, std::uint64_t max_append_bytes);

/// The arguments of a QEMU that boots with this disk.
[[nodiscard]] std::string qemu_arguments(const ExportPlan& plan);

}  // namespace zbdkit::app
