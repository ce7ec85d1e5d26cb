// SPDX-License-Identifier: Apache-2.0
#include "export/vhost_user/listener.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>

namespace zbdkit::vhost_user {
namespace {

constexpr int kBacklog = 4;
/// The umask takes away from it. Others never get in: who can connect owns the disk.
constexpr mode_t kSocketMode = 0660;
/// How often a socket is tried whose process is gone.
constexpr int kProbes = 100;
constexpr std::chrono::milliseconds kBetweenProbes(10);

std::unexpected<Failure> cannot(const char* what, const std::string& path, int os_errno) {
    return failure(fmt::format("cannot {} socket {}: {}", what, path, std::strerror(os_errno)));
}

std::optional<struct stat> file_at(const std::string& path) {
    struct stat status{};
    if (::lstat(path.c_str(), &status) != 0) return std::nullopt;
    return status;
}

bool same_file(const struct stat& a, const struct stat& b) {
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

Outcome<sockaddr_un> address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty()) return failure("the socket path is empty");
    if (path.size() >= sizeof address.sun_path) {
        return failure(fmt::format("socket path {} has {} bytes, expected at most {}", path,
                                   path.size(), sizeof address.sun_path - 1));
    }
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    return address;
}

UniqueFd make_socket() {
    return UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

const sockaddr* generic(const sockaddr_un& address) {
    const void* memory = &address;
    return static_cast<const sockaddr*>(memory);
}

/// Whether the process that began to listen on the other end is gone.
bool is_orphan(const UniqueFd& connection) {
    ucred peer{};
    socklen_t length = sizeof peer;
    const bool known =
        ::getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
        peer.pid > 0;
    return known && ::kill(peer.pid, 0) != 0 && errno == ESRCH;
}

/// Fails unless nobody listens on a socket. One whose process is gone gets time: after a kill the
/// kernel still takes connections until it has undone the io_uring that waited for them. If it
/// stays, somebody who inherited it serves there.
Outcome<void> expect_dead(const sockaddr_un& address, const std::string& path) {
    bool is_orphaned = false;
    for (int attempt = 1;; ++attempt) {
        const UniqueFd probe = make_socket();
        if (!probe) return cannot("probe", path, errno);
        const bool is_connected = ::connect(probe.get(), generic(address), sizeof address) == 0;
        if (!is_connected && errno == ECONNREFUSED) return {};
        // EAGAIN: its backlog is full, perhaps of our own attempts.
        if (!is_connected && errno != EAGAIN) return cannot("probe", path, errno);
        if (is_connected) is_orphaned = is_orphan(probe);
        if (!is_orphaned || attempt == kProbes) {
            return failure(fmt::format("a live server listens on {}", path));
        }
        std::this_thread::sleep_for(kBetweenProbes);
    }
}

/// Removes the socket file of a server that is no more.
Outcome<void> remove_stale(const sockaddr_un& address, const std::string& path) {
    const std::optional<struct stat> found = file_at(path);
    if (!found) return {};
    if (!S_ISSOCK(found->st_mode)) {
        return failure(
            fmt::format("{} exists and is no socket; expected a free path or a socket "
                        "that nobody listens on",
                        path));
    }
    if (const Outcome<void> dead = expect_dead(address, path); !dead) return dead;
    // Another server may have replaced the file since.
    const std::optional<struct stat> now = file_at(path);
    if (now && !same_file(*now, *found)) {
        return failure(fmt::format("another server has just taken {}", path));
    }
    if (now && ::unlink(path.c_str()) != 0) return cannot("remove stale", path, errno);
    return {};
}

}  // namespace

Outcome<Listener> Listener::open(const std::string& path) {
    const Outcome<sockaddr_un> address = address_of(path);
    if (!address) return std::unexpected(address.error());
    if (const Outcome<void> removed = remove_stale(*address, path); !removed) {
        return std::unexpected(removed.error());
    }
    UniqueFd fd = make_socket();
    if (!fd) return cannot("make", path, errno);
    // On Linux the file gets the mode of the socket, less the umask; so the mode is right from the
    // first moment and the umask, which is the whole process's, is left alone.
    if (::fchmod(fd.get(), kSocketMode) != 0) return cannot("set the mode of", path, errno);
    if (::bind(fd.get(), generic(*address), sizeof *address) != 0) {
        return cannot("bind", path, errno);
    }
    const std::optional<struct stat> file = file_at(path);
    if (!file) return cannot("find", path, errno);
    Listener listener(std::move(fd), path, *file);
    if (::listen(listener.fd(), kBacklog) != 0) return cannot("listen on", path, errno);
    return listener;
}

UniqueFd Listener::accept() {
    return UniqueFd(::accept4(fd_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

void Listener::close() {
    if (!fd_) return;
    const std::optional<struct stat> now = file_at(path_);
    if (now && same_file(*now, file_)) ::unlink(path_.c_str());
    fd_.reset();
}

}  // namespace zbdkit::vhost_user
