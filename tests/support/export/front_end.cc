// SPDX-License-Identifier: Apache-2.0
#include "tests/support/export/front_end.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstring>
#include <utility>

namespace zbdkit::test {

std::uint64_t FrontEnd::Reply::number() const {
    std::uint64_t value = ~std::uint64_t{0};
    EXPECT_EQ(payload.size(), sizeof value);
    if (payload.size() == sizeof value) std::memcpy(&value, payload.data(), sizeof value);
    return value;
}

FrontEnd::FrontEnd(const std::string& path)
    : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    const void* generic = &address;
    if (::connect(socket_.get(), static_cast<const sockaddr*>(generic), sizeof address) != 0) {
        socket_.reset();
    }
}

void FrontEnd::send(std::uint32_t request, ConstBytes payload, std::vector<int> fds,
                    std::uint32_t flags) {
    Payload message;
    message.u32(request).u32(flags).u32(static_cast<std::uint32_t>(payload.size())).add(payload);
    send_bytes(message, fds);
}

void FrontEnd::send_bytes(ConstBytes bytes, const std::vector<int>& fds) {
    iovec segment{};
    std::vector<std::byte> copy(bytes.begin(), bytes.end());
    segment = {copy.data(), copy.size()};
    msghdr message{};
    message.msg_iov = &segment;
    message.msg_iovlen = 1;
    std::vector<std::byte> control(CMSG_SPACE(sizeof(int) * fds.size()));
    if (!fds.empty()) {
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr* part = CMSG_FIRSTHDR(&message);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
        std::memcpy(CMSG_DATA(part), fds.data(), sizeof(int) * fds.size());
    }
    // A server that has closed the connection already shows in what the test expects next.
    [[maybe_unused]] const ssize_t sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
}

bool FrontEnd::read_exactly(MutableBytes to, std::vector<UniqueFd>& fds) {
    std::size_t done = 0;
    while (done < to.size()) {
        pollfd waiting{.fd = socket_.get(), .events = POLLIN, .revents = 0};
        if (::poll(&waiting, 1, kTimeoutMs) != 1) return false;
        iovec segment{to.data() + done, to.size() - done};
        alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
        msghdr message{};
        message.msg_iov = &segment;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        const ssize_t got = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
        if (got <= 0) return false;
        if (const cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(part), sizeof fd);
            fds.emplace_back(fd);
        }
        done += static_cast<std::size_t>(got);
    }
    return true;
}

std::optional<FrontEnd::Reply> FrontEnd::receive() {
    std::array<std::uint32_t, 3> header{};
    std::vector<UniqueFd> fds;
    if (!read_exactly(mutable_bytes_of(header), fds)) return std::nullopt;
    Reply reply{.request = header[0], .flags = header[1], .payload = {}, .fds = {}};
    reply.payload.resize(header[2]);
    if (!read_exactly(reply.payload, fds)) return std::nullopt;
    reply.fds = std::move(fds);
    return reply;
}

std::uint64_t FrontEnd::ask(std::uint32_t request, ConstBytes payload, std::vector<int> fds) {
    send(request, payload, std::move(fds));
    const std::optional<Reply> reply = receive();
    EXPECT_TRUE(reply.has_value()) << "no reply to request " << request;
    if (!reply) return ~std::uint64_t{0};
    EXPECT_EQ(reply->request, request);
    EXPECT_EQ(reply->flags, 5U);
    return reply->number();
}

std::uint64_t FrontEnd::acked(std::uint32_t request, ConstBytes payload, std::vector<int> fds) {
    send(request, payload, std::move(fds), kVersion | kNeedReply);
    const std::optional<Reply> reply = receive();
    EXPECT_TRUE(reply.has_value()) << "no acknowledgement of request " << request;
    if (!reply) return ~std::uint64_t{0};
    EXPECT_EQ(reply->request, request);
    EXPECT_EQ(reply->flags, 5U);
    return reply->number();
}

bool FrontEnd::is_closed_by_peer() {
    pollfd waiting{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (!socket_) return true;
    if (::poll(&waiting, 1, kTimeoutMs) != 1) return false;
    std::byte byte{};
    return ::recv(socket_.get(), &byte, 1, 0) <= 0;
}

bool FrontEnd::is_alive() {
    send(request::kGetQueueNum);
    const std::optional<Reply> reply = receive();
    return reply && reply->request == request::kGetQueueNum;
}

UniqueFd make_event(int flags) { return UniqueFd(::eventfd(0, EFD_CLOEXEC | flags)); }

bool take_event(const UniqueFd& event, int timeout_ms) {
    pollfd waiting{.fd = event.get(), .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, timeout_ms) != 1) return false;
    std::uint64_t count = 0;
    return ::read(event.get(), &count, sizeof count) == sizeof count;
}

}  // namespace zbdkit::test
