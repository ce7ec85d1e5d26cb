// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/image_lock.h"

#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>

namespace zbdkit {
namespace {

constexpr int kAttempts = 5;
constexpr std::chrono::milliseconds kBetweenAttempts(10);

std::string process_name(const std::string& pid) {
    std::ifstream comm("/proc/" + pid + "/comm");
    std::string name;
    std::getline(comm, name);
    return name.empty() ? "process " + pid : fmt::format("process {} ({})", pid, name);
}

}  // namespace

std::string lock_holder(int fd) {
    struct stat status{};
    if (::fstat(fd, &status) != 0) return "another process";
    const std::string inode =
        fmt::format("{:02x}:{:02x}:{}", major(status.st_dev), minor(status.st_dev), status.st_ino);
    // A line: "1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF"
    std::ifstream locks("/proc/locks");
    std::string line;
    while (std::getline(locks, line)) {
        std::istringstream words(line);
        std::string number;
        std::string kind;
        std::string advisory;
        std::string mode;
        std::string pid;
        std::string place;
        words >> number >> kind >> advisory >> mode >> pid >> place;
        if (kind == "FLOCK" && place == inode) return process_name(pid);
    }
    return "another process";
}

Outcome<void> lock_image(int fd, const std::string& filename, LockMode mode) {
    const int operation = (mode == LockMode::shared ? LOCK_SH : LOCK_EX) | LOCK_NB;
    for (int attempt = 1; ::flock(fd, operation) != 0; ++attempt) {
        if (errno != EWOULDBLOCK) {
            return failure(fmt::format("cannot lock '{}': {} (locking=off opens it without a lock)",
                                       filename, std::strerror(errno)));
        }
        if (attempt == kAttempts) {
            return failure(fmt::format("'{}' is in use by {}: an image has one writer at a time",
                                       filename, lock_holder(fd)));
        }
        std::this_thread::sleep_for(kBetweenAttempts);
    }
    return {};
}

bool is_image_locked(int fd) {
    if (::flock(fd, LOCK_SH | LOCK_NB) != 0) return errno == EWOULDBLOCK;
    ::flock(fd, LOCK_UN);
    return false;
}

}  // namespace zbdkit
