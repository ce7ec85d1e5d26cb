// SPDX-License-Identifier: Apache-2.0
// What `zbdkit io` prints of data and time, to the byte as qemu-io does. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace zbdkit::app {

/// "4 KiB", "1.500 MiB", "225.257 KiB", "512 bytes", "80.699191 bytes".
[[nodiscard]] std::string io_size_text(double bytes);

/// How one command went.
struct IoStatistics {
    std::string_view action;    ///< "read", "wrote"
    std::uint64_t offset = 0;   ///< bytes
    std::uint64_t length = 0;   ///< bytes
    std::uint64_t time_ns = 0;  ///< how long it took
};

/// Two lines for people: "wrote 4096/4096 bytes at offset 0", size, time and rates.
[[nodiscard]] std::string io_statistics_text(const IoStatistics& statistics);
/// One line for programs: bytes, operations, time, bytes and operations a second.
[[nodiscard]] std::string io_statistics_csv(const IoStatistics& statistics);

/// Lines of up to 16 bytes in hexadecimal, and as text where they are letters or digits.
/// @param offset  of the first byte
[[nodiscard]] std::string io_dump(std::uint64_t offset, ConstBytes bytes);

}  // namespace zbdkit::app
