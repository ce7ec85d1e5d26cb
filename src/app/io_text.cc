// SPDX-License-Identifier: Apache-2.0
#include "app/io_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>

namespace zbdkit::app {
namespace {

constexpr double kNanosecondsInSecond = 1e9;
constexpr std::uint64_t kSecondsInMinute = 60;
constexpr std::uint64_t kSecondsInHour = 3600;

/// A time of 0 would make rates infinite.
double seconds_of(std::uint64_t time_ns) {
    return static_cast<double>(std::max<std::uint64_t>(time_ns, 1)) / kNanosecondsInSecond;
}

/// "0:01:02.34"
std::string clock_text(std::uint64_t time_ns) {
    const std::uint64_t whole = time_ns / 1'000'000'000;
    const std::uint64_t minutes = whole % kSecondsInHour / kSecondsInMinute;
    const double seconds = seconds_of(time_ns) - static_cast<double>(whole - whole % 60);
    return fmt::format("{}:{:02}:{:05.2f}", whole / kSecondsInHour, minutes, seconds);
}

/// "00.01 sec", from one second on "0:00:01.24"
std::string time_text(std::uint64_t time_ns) {
    if (time_ns >= 1'000'000'000) return clock_text(time_ns);
    return fmt::format("{:05.2f} sec", seconds_of(time_ns));
}

}  // namespace

std::string io_size_text(double bytes) {
    struct Unit {
        double bytes;
        std::string_view name;
    };
    constexpr std::array kUnits = {
        Unit{0x1p60, "EiB"}, Unit{0x1p50, "PiB"}, Unit{0x1p40, "TiB"},
        Unit{0x1p30, "GiB"}, Unit{0x1p20, "MiB"}, Unit{0x1p10, "KiB"},
    };
    std::string number = fmt::format("{:f}", bytes);
    std::string_view name = "bytes";
    for (const Unit& unit : kUnits) {
        if (bytes < unit.bytes) continue;
        number = fmt::format("{:.3f}", bytes / unit.bytes);
        name = unit.name;
        break;
    }
    const std::size_t zeroes = number.find(".000");
    if (zeroes != std::string::npos) number.resize(zeroes);
    return fmt::format("{} {}", number, name);
}

std::string io_statistics_text(const IoStatistics& statistics) {
    const double length = static_cast<double>(statistics.length);
    const double seconds = seconds_of(statistics.time_ns);
    return fmt::format("{} {}/{} bytes at offset {}\n{}, 1 ops; {} ({}/sec and {:.4f} ops/sec)\n",
                       statistics.action, statistics.length, statistics.length, statistics.offset,
                       io_size_text(length), time_text(statistics.time_ns),
                       io_size_text(length / seconds), 1 / seconds);
}

std::string io_statistics_csv(const IoStatistics& statistics) {
    const double seconds = seconds_of(statistics.time_ns);
    return fmt::format("{},1,{},{:.3f},{:.3f}\n", statistics.length, clock_text(statistics.time_ns),
                       static_cast<double>(statistics.length) / seconds, 1 / seconds);
}

std::string io_dump(std::uint64_t offset, ConstBytes bytes) {
    constexpr std::size_t kBytesInLine = 16;
    std::string text;
    for (std::size_t start = 0; start < bytes.size(); start += kBytesInLine) {
        const ConstBytes line = bytes.subspan(start, std::min(kBytesInLine, bytes.size() - start));
        std::string letters;
        text += fmt::format("{:08x}:  ", offset + start);
        for (const std::byte byte : line) {
            const auto value = std::to_integer<unsigned char>(byte);
            text += fmt::format("{:02x} ", value);
            letters += std::isalnum(value) != 0 ? static_cast<char>(value) : '.';
        }
        text += fmt::format(" {}\n", letters);
    }
    return text;
}

}  // namespace zbdkit::app
