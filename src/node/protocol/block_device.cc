// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/block_device.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <charconv>
#include <fstream>

namespace zbdkit {

bool is_block_device(int fd) {
    struct stat status{};
    return ::fstat(fd, &status) == 0 && S_ISBLK(status.st_mode);
}

std::string queue_attribute(int fd, std::string_view name) {
    struct stat status{};
    if (::fstat(fd, &status) != 0 || !S_ISBLK(status.st_mode)) return {};
    std::string value;
    for (const char* place : {"queue", "../queue"}) {  // a partition's queue is its disk's
        std::ifstream file(fmt::format("/sys/dev/block/{}:{}/{}/{}", major(status.st_rdev),
                                       minor(status.st_rdev), place, name));
        if (std::getline(file, value)) return value;
    }
    return {};
}

std::uint64_t queue_number(int fd, std::string_view name, std::uint64_t otherwise) {
    const std::string text = queue_attribute(fd, name);
    std::uint64_t number = 0;
    const char* end = text.data() + text.size();
    const auto [parsed, error] = std::from_chars(text.data(), end, number);
    return error == std::errc() && parsed == end ? number : otherwise;
}

bool is_zoned_block_device(int fd) {
    const std::string zoned = queue_attribute(fd, "zoned");
    return !zoned.empty() && zoned != "none";
}

}  // namespace zbdkit
