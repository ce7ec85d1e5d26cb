// SPDX-License-Identifier: Apache-2.0
// `zbdkit serve`: opens disks, exports them, and stays until a signal ends it; then it drains,
// marks the images as clean and says what was served.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/disk_argument.h"
#include "app/export_options.h"

namespace zbdkit::app {

struct ServeArguments {
    std::string_view command = "serve";  ///< for messages: what the user called

    // Short form: one disk.
    DiskArgument disk;
    std::string socket_path;
    bool ublk = false;
    std::optional<std::uint64_t> ublk_device;
    bool ublk_must_recover = false;  ///< set by `zbdkit ublk recover`
    std::uint64_t queue_count = 1;
    std::uint64_t queue_size = 0;  ///< 0: what is usual for the type of export
    std::uint64_t max_segments = 0;
    std::uint64_t poll_max_us = kDefaultPollUs;
    bool read_only = false;
    bool direct = false;
    bool force_takeover = false;
    std::string serial;

    std::vector<std::string> objects;  ///< of both forms

    // Long form: any number, as qemu-storage-daemon takes them.
    std::vector<std::string> blockdevs;
    std::vector<std::string> exports;

    std::string pidfile;
    std::string log_level = "info";
    std::vector<std::string> trace;
};

/// @return the exit status
[[nodiscard]] int run_serve(const ServeArguments& arguments);

}  // namespace zbdkit::app
