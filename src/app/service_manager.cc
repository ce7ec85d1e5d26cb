// SPDX-License-Identifier: Apache-2.0
#include "app/service_manager.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

namespace zbdkit::app {

Outcome<PidFile> PidFile::write(const std::string& filename) {
    PidFile file;
    UniqueFd fd(::open(filename.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (!fd) {
        return failure(
            fmt::format("cannot write pid file '{}': {}", filename, std::strerror(errno)));
    }
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
        return failure(fmt::format("pid file '{}' belongs to a process that is running", filename));
    }
    const std::string text = fmt::format("{}\n", ::getpid());
    if (::ftruncate(fd.get(), 0) != 0 ||
        ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
        return failure(
            fmt::format("cannot write pid file '{}': {}", filename, std::strerror(errno)));
    }
    file.fd_ = std::move(fd);
    file.filename_ = filename;
    return file;
}

PidFile::~PidFile() {
    if (fd_) ::unlink(filename_.c_str());
}

void notify_service_manager(const std::string& state) {
    const char* path = std::getenv("NOTIFY_SOCKET");
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    const std::string_view name = path == nullptr ? std::string_view() : std::string_view(path);
    if (name.empty() || name.size() >= sizeof address.sun_path) return;
    std::ranges::copy(name, address.sun_path);
    if (name.starts_with('@')) address.sun_path[0] = '\0';  // an abstract address
    const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!fd) return;
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    static_cast<void>(::sendto(fd.get(), state.data(), state.size(), MSG_NOSIGNAL,
                               static_cast<const sockaddr*>(static_cast<const void*>(&address)),
                               length));
}

}  // namespace zbdkit::app
