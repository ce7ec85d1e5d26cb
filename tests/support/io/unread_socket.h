// SPDX-License-Identifier: Apache-2.0
// A socket with bytes that nobody has read: the driver that every machine has for tests of commands
// (IORING_OP_URING_CMD). Linux 6.7 and newer.
#pragma once

#include <arpa/inet.h>
#include <linux/version.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include <cstdint>
#include <cstdio>
#include <string_view>

#include "base/unique_fd.h"

namespace zbdkit::test {

class UnreadSocket {
  public:
    /// Code of the command that is answered with the number of bytes (SIOCINQ).
    static constexpr std::uint32_t kUnreadCommand = 0;

    explicit UnreadSocket(std::string_view text)
        : socket_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        const void* const bound = &address;
        socklen_t length = sizeof address;
        const auto* const name = static_cast<const sockaddr*>(bound);
        void* const found = &address;
        has_text_ = ::bind(fd(), name, length) == 0 &&
                    ::getsockname(fd(), static_cast<sockaddr*>(found), &length) == 0 &&
                    ::connect(fd(), name, length) == 0 &&
                    ::send(fd(), text.data(), text.size(), 0) == std::ssize(text) && is_readable();
    }

    [[nodiscard]] int fd() const { return socket_.get(); }
    /// Whether this machine's kernel is new enough and has the loopback network.
    [[nodiscard]] bool takes_commands() const {
        utsname system{};
        unsigned major = 0;
        unsigned minor = 0;
        const bool is_known =
            ::uname(&system) == 0 && std::sscanf(system.release, "%u.%u", &major, &minor) == 2;
        return has_text_ && is_known && KERNEL_VERSION(major, minor, 0) >= KERNEL_VERSION(6, 7, 0);
    }

  private:
    [[nodiscard]] bool is_readable() const {
        pollfd wanted{.fd = fd(), .events = POLLIN, .revents = 0};
        return ::poll(&wanted, 1, 1000) == 1;
    }

    UniqueFd socket_;
    bool has_text_ = false;
};

}  // namespace zbdkit::test
