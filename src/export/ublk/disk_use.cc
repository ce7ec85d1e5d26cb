// SPDX-License-Identifier: Apache-2.0
#include "export/ublk/disk_use.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

namespace zbdkit::ublk {
namespace {

/// "12:3" of the device at `path`, or "".
std::string number_of(const std::string& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return {};
    return fmt::format("{}:{}", major(status.st_rdev), minor(status.st_rdev));
}

/// Where a file system that has the device itself is mounted, or "". File systems with devices of
/// their own, as btrfs, are found by the device's name.
std::string mount_point_of(const std::string& path) {
    const std::string number = number_of(path);
    std::ifstream mounts("/proc/self/mountinfo");
    std::string line;
    while (std::getline(mounts, line)) {
        // 36 35 98:0 / /mnt rw,noatime master:1 - ext4 /dev/root rw
        std::istringstream words(line);
        std::string id, parent, device, root, point, word, type, source;
        words >> id >> parent >> device >> root >> point;
        while (words >> word && word != "-") {
        }
        words >> type >> source;
        if (device == number || source == path) return point;
    }
    return {};
}

/// The name of a device that stands on this one, or "".
std::string holder_of(const std::string& path) {
    std::error_code error;
    const std::string folder = fmt::format("/sys/dev/block/{}/holders", number_of(path));
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
        return entry.path().filename().string();
    }
    return {};
}

std::string user_of(const std::string& path) {
    if (const std::string point = mount_point_of(path); !point.empty()) {
        return fmt::format("it is mounted on '{}'", point);
    }
    if (const std::string holder = holder_of(path); !holder.empty()) {
        return fmt::format("'{}' stands on it", holder);
    }
    return "a file system, a device or a program holds it";
}

}  // namespace

Outcome<UniqueFd> claim_disk(const std::string& path) {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
    if (fd) return fd;
    const int code = errno;
    if (code == ENOENT || code == ENXIO || code == ENODEV) return UniqueFd();
    if (code == EBUSY) {
        return failure(fmt::format("{} is in use: {}", path, user_of(path)), Errc::not_supported);
    }
    return failure(fmt::format("cannot open '{}': {}", path, std::strerror(code)));
}

}  // namespace zbdkit::ublk
