// SPDX-License-Identifier: Apache-2.0
#include "export/vhost_user/socket.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace zbdkit::vhost_user {
namespace {

bool is_not_ready(int code) { return code == EAGAIN || code == EWOULDBLOCK || code == EINTR; }
/// The peer went away, with replies of ours unread or while we were sending.
bool is_gone(int code) { return code == ECONNRESET || code == EPIPE; }

/// Room for the descriptors of one message.
struct ControlBuffer {
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * kMaxMessageFds)> bytes;
};

/// Takes the descriptors out of a received message, so that each has an owner.
void adopt_fds(const msghdr& message, std::vector<UniqueFd>& fds) {
    // CMSG_NXTHDR wants a header it may write to; it does not.
    msghdr walk = message;
    for (cmsghdr* part = CMSG_FIRSTHDR(&walk); part != nullptr; part = CMSG_NXTHDR(&walk, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            fds.emplace_back(fd);
        }
    }
}

/// @param fd  goes along; -1: none
/// @return as send(2)
ssize_t send_some(int socket, ConstBytes bytes, int fd) {
    constexpr int kFlags = MSG_NOSIGNAL | MSG_DONTWAIT;
    if (fd < 0) return ::send(socket, bytes.data(), bytes.size(), kFlags);
    // sendmsg wants memory that it may write to; it does not.
    iovec segment{const_cast<std::byte*>(bytes.data()), bytes.size()};
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof fd)> control{};
    msghdr message{};
    message.msg_iov = &segment;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(part), &fd, sizeof fd);
    return ::sendmsg(socket, &message, kFlags);
}

}  // namespace

MessageSocket::MessageSocket(Reactor& reactor, UniqueFd fd)
    : fd_(std::move(fd)), waiter_(reactor, fd_.get()) {}

pid_t MessageSocket::peer_pid() const {
    ucred peer{};
    socklen_t length = sizeof peer;
    if (::getsockopt(fd_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return 0;
    return peer.pid;
}

/// @return bytes read, 0 if the peer closed; nothing if nothing is there yet
Outcome<std::optional<std::size_t>> MessageSocket::receive_some(MutableBytes to,
                                                                std::vector<UniqueFd>& fds) {
    ControlBuffer control;
    iovec segment{to.data(), to.size()};
    msghdr message{};
    message.msg_iov = &segment;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes.data();
    message.msg_controllen = control.bytes.size();
    const ssize_t length = ::recvmsg(fd_.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (length < 0) {
        if (is_not_ready(errno)) return std::nullopt;
        if (is_gone(errno)) return 0;
        return failure(fmt::format("cannot receive: {}", std::strerror(errno)));
    }
    adopt_fds(message, fds);
    if ((message.msg_flags & MSG_CTRUNC) != 0 || fds.size() > kMaxMessageFds) {
        return failure(
            fmt::format("more than {} file descriptors with one message (or this "
                        "process has no room for more)",
                        kMaxMessageFds));
    }
    return std::optional(static_cast<std::size_t>(length));
}

Task<Outcome<MessageSocket::Filled>> MessageSocket::fill(MutableBytes to,
                                                         std::vector<UniqueFd>& fds) {
    std::size_t done = 0;
    while (done < to.size()) {
        const std::optional<std::size_t> some = co_await ok(receive_some(to.subspan(done), fds));
        if (!some) {
            const bool is_ready = co_await waiter_.wait(POLLIN);
            if (is_ready) continue;
            stopped_ = true;
            co_return Filled::nothing;
        }
        if (*some == 0) co_return done == 0 ? Filled::nothing : Filled::partly;
        done += *some;
    }
    co_return Filled::whole;
}

Task<Outcome<std::optional<Received>>> MessageSocket::receive() {
    Received message;
    std::array<std::byte, sizeof(Header)> head;
    const MutableBytes head_bytes(head);
    const Filled got_head = co_await ok(fill(head_bytes, message.fds));
    if (stopped_ || got_head == Filled::nothing) co_return std::nullopt;
    if (got_head == Filled::partly) {
        co_return failure("the connection ended in the middle of a header");
    }
    const std::expected<Header, Refusal> header = parse_header(head);
    if (!header) co_return failure(header.error().text);
    message.header = *header;
    message.payload.resize(header->size);
    const MutableBytes payload(message.payload);
    const Filled got_payload = co_await ok(fill(payload, message.fds));
    if (stopped_) co_return std::nullopt;
    if (got_payload != Filled::whole) {
        co_return failure(
            fmt::format("the connection ended in the middle of {}", request_name(header->request)));
    }
    co_return std::optional<Received>(std::move(message));
}

Task<Outcome<bool>> MessageSocket::send(ConstBytes bytes, int fd) {
    std::size_t done = 0;
    while (done < bytes.size()) {
        const ConstBytes left = bytes.subspan(done);
        const ssize_t length = send_some(fd_.get(), left, done == 0 ? fd : -1);
        if (length >= 0) {
            done += static_cast<std::size_t>(length);
            continue;
        }
        if (is_gone(errno)) co_return false;
        if (!is_not_ready(errno)) {
            co_return failure(fmt::format("cannot send: {}", std::strerror(errno)));
        }
        const bool is_ready = co_await waiter_.wait(POLLOUT);
        if (is_ready) continue;
        stopped_ = true;
        co_return false;
    }
    co_return true;
}

}  // namespace zbdkit::vhost_user
