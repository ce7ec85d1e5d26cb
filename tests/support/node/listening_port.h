// SPDX-License-Identifier: Apache-2.0
// A port of this host that listens, for servers of tests.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <utility>

#include "base/unique_fd.h"

namespace zbdkit::test {

/// @param address  127.0.0.1 or ::1
/// @return empty where the host has no such address
[[nodiscard]] inline UniqueFd listening_port(const std::string& address) {
    const bool is_v6 = address.find(':') != std::string::npos;
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    ::inet_pton(AF_INET, address.c_str(), &v4.sin_addr);
    ::inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr);
    const void* const bytes = is_v6 ? static_cast<const void*>(&v6) : &v4;
    UniqueFd fd(::socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const bool listens =
        ::bind(fd.get(), static_cast<const sockaddr*>(bytes), is_v6 ? sizeof v6 : sizeof v4) == 0 &&
        ::listen(fd.get(), 16) == 0;
    if (!listens) fd.reset();
    return fd;
}

[[nodiscard]] inline std::uint16_t port_of(const UniqueFd& listener) {
    // Both kinds of address have the port at the same place.
    sockaddr_in6 address{};
    socklen_t length = sizeof address;
    void* const bytes = &address;
    if (::getsockname(listener.get(), static_cast<sockaddr*>(bytes), &length) != 0) return 0;
    return ntohs(address.sin6_port);
}

}  // namespace zbdkit::test
