// SPDX-License-Identifier: Apache-2.0
#include "export/vhost_user/event_fd.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

namespace zbdkit::vhost_user {
namespace {

/// What the kernel says the descriptor is. Without /proc every anonymous inode passes, which
/// still excludes files, pipes and sockets.
bool is_event_fd(int fd) {
    std::array<char, 64> target{};
    const std::string link = fmt::format("/proc/self/fd/{}", fd);
    const ssize_t length = ::readlink(link.c_str(), target.data(), target.size());
    if (length > 0) {
        return std::string_view(target.data(), static_cast<std::size_t>(length))
            .starts_with("anon_inode:[eventfd]");
    }
    struct stat status{};
    return ::fstat(fd, &status) == 0 && (status.st_mode & S_IFMT) == 0;
}

}  // namespace

Outcome<UniqueFd> take_event_fd(UniqueFd fd) {
    if (!is_event_fd(fd.get())) return failure("the file descriptor is no eventfd");
    const int flags = ::fcntl(fd.get(), F_GETFL);
    if (flags < 0 || ::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
        return failure(fmt::format("cannot set the eventfd up: {}", std::strerror(errno)));
    }
    return fd;
}

void signal_event(const UniqueFd& fd) {
    if (!fd) return;
    constexpr std::uint64_t kOne = 1;
    // The only error of a non-blocking eventfd is a full counter.
    [[maybe_unused]] const ssize_t written = ::write(fd.get(), &kOne, sizeof kOne);
}

bool clear_event(const UniqueFd& fd) {
    std::uint64_t count = 0;
    return ::read(fd.get(), &count, sizeof count) == static_cast<ssize_t>(sizeof count);
}

}  // namespace zbdkit::vhost_user
