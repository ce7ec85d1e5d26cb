// SPDX-License-Identifier: Apache-2.0
// A measurement from begin to end: connects to a vhost-user-blk server, prepares the part of the
// disk in use, drives the load, and says what came of it. What was on that part is lost. One
// thread.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/error.h"
#include "bench/load.h"
#include "bench/meter.h"
#include "bench/workload.h"

namespace zbdkit::bench {

struct Settings {
    std::string socket_path;
    Operation operation = Operation::randread;
    std::uint32_t block_size = 4096;  ///< bytes, a multiple of a sector
    std::uint32_t depth = 32;         ///< requests in flight for each queue
    std::uint32_t queue_count = 1;
    std::uint32_t queue_size = 0;  ///< descriptors; 0: as many as the depth needs, 128 at least
    bool packed = false;
    std::optional<std::uint32_t> zone_count;  ///< in use; nothing: up to kDefaultZones
    std::optional<std::uint32_t> zone_first;  ///< nothing: the first sequential one
    std::optional<std::uint64_t> range;       ///< bytes in use of a disk without zones
    std::uint32_t read_percent = 70;          ///< of mixed
    std::uint64_t run_ns = 5'000'000'000;
    std::uint64_t warm_up_ns = 500'000'000;
    std::uint64_t timeout_ns = 10'000'000'000;
    Wait wait = Wait::poll;
    bool verify = false;
    std::uint64_t seed = 1;

    static constexpr std::uint32_t kMaxBlockSize = 16 * 1024 * 1024;
    static constexpr std::uint32_t kMaxQueueSize = 32768;
    static constexpr std::uint32_t kDefaultZones = 8;
    static constexpr std::uint64_t kDefaultRange = std::uint64_t{1} << 30;
};

/// Whether settings can be right for any disk, and fills in queue_size.
/// Errors: which one is not, and what was expected.
[[nodiscard]] Outcome<Settings> check_settings(Settings settings);

/// What is measured.
struct Plan {
    std::uint64_t disk_size = 0;   ///< bytes
    bool event_idx = false;        ///< negotiated
    std::uint32_t zone_count = 0;  ///< in use; 0: the disk has none
    std::uint32_t zone_first = 0;
    std::uint64_t zone_size = 0;     ///< bytes
    std::uint64_t range = 0;         ///< bytes in use of a disk without zones
    std::uint32_t zones_reset = 0;   ///< before the load
    std::uint64_t bytes_filled = 0;  ///< before the load
};

struct Results {
    Plan plan;
    Meter meter;
    pid_t server_pid = 0;  ///< 0: not known
    std::uint64_t blocks_verified = 0;
};

/// @param settings  from check_settings()
/// @param announce  is told what will be measured once all is prepared
/// Errors: whatever keeps it from being measured, and each answer other than OK.
[[nodiscard]] Outcome<Results> run(const Settings& settings,
                                   const std::function<void(const Plan&)>& announce);

}  // namespace zbdkit::bench
