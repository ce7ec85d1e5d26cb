// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/image_lock.h"

#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>
#include <utility>

namespace zbdkit {
namespace {

constexpr std::chrono::milliseconds kBetweenAttempts(10);
constexpr int kAttempts = 5;
/// If the holder's process is gone: after a kill the kernel keeps its files open until it has
/// undone the io_uring that used them.
constexpr int kAttemptsAfterDeath = 100;

std::string process_name(pid_t pid) {
    std::ifstream comm(fmt::format("/proc/{}/comm", pid));
    std::string name;
    std::getline(comm, name);
    return name.empty() ? fmt::format("process {}", pid)
                        : fmt::format("process {} ({})", pid, name);
}

/// @return the process that took a lock on a file; nothing if it cannot be told
std::optional<pid_t> holder_of(int fd) {
    struct stat status{};
    if (::fstat(fd, &status) != 0) return std::nullopt;
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
        pid_t pid = 0;
        std::string place;
        words >> number >> kind >> advisory >> mode >> pid >> place;
        if (kind == "FLOCK" && place == inode && pid > 0) return pid;
    }
    return std::nullopt;
}

int attempts_for(int fd) {
    const std::optional<pid_t> holder = holder_of(fd);
    const bool is_gone = holder && ::kill(*holder, 0) != 0 && errno == ESRCH;
    return is_gone ? kAttemptsAfterDeath : kAttempts;
}

}  // namespace

std::string lock_holder(int fd) {
    const std::optional<pid_t> holder = holder_of(fd);
    return holder ? process_name(*holder) : "another process";
}

void ImageLock::release() {
    // Said, and not left to the close: requests that ended a moment ago may keep the file open.
    if (fd_ >= 0) ::flock(std::exchange(fd_, -1), LOCK_UN);
}

Outcome<ImageLock> lock_image(int fd, const std::string& filename, LockMode mode) {
    const int operation = (mode == LockMode::shared ? LOCK_SH : LOCK_EX) | LOCK_NB;
    int attempts = 0;
    for (int attempt = 1; ::flock(fd, operation) != 0; ++attempt) {
        if (errno != EWOULDBLOCK) {
            return failure(fmt::format("cannot lock '{}': {} (locking=off opens it without a lock)",
                                       filename, std::strerror(errno)));
        }
        if (attempt == 1) attempts = attempts_for(fd);
        if (attempt == attempts) {
            return failure(fmt::format("'{}' is in use by {}: an image has one writer at a time",
                                       filename, lock_holder(fd)));
        }
        std::this_thread::sleep_for(kBetweenAttempts);
    }
    return ImageLock(fd);
}

bool is_image_locked(int fd) {
    if (::flock(fd, LOCK_SH | LOCK_NB) != 0) return errno == EWOULDBLOCK;
    ::flock(fd, LOCK_UN);
    return false;
}

}  // namespace zbdkit
