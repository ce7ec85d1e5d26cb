// SPDX-License-Identifier: Apache-2.0
#include "io/name_lookup.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>
#include <sys/socket.h>

#include <thread>

#include "base/unique_fd.h"

namespace zbdkit {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

/// A name server that never answers, for the thread that makes it.
class SilentNameServer {
  public:
    SilentNameServer() : socket_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        auto* const any = static_cast<sockaddr*>(static_cast<void*>(&address));
        EXPECT_EQ(::bind(socket_.get(), any, length), 0);
        EXPECT_EQ(::getsockname(socket_.get(), any, &length), 0);
        EXPECT_EQ(::res_init(), 0);
        _res.nscount = 1;
        _res.nsaddr_list[0] = address;
        _res.retrans = 5;
    }

    /// How often it was asked since the last call; a question for either kind of address counts as
    /// one.
    [[nodiscard]] std::size_t take_tries() {
        std::size_t questions = 0;
        char buffer[512];
        while (::recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT) > 0) ++questions;
        return (questions + 1) / 2;
    }

  private:
    UniqueFd socket_;
};

int look_up(const char* name) {
    addrinfo* found = nullptr;
    return ::getaddrinfo(name, "10809", nullptr, &found);
}

/// The settings are the thread's, so each test has one.
template <class Function>
void on_own_thread(Function function) {
    std::thread(function).join();
}

TEST(NameLookup, silent_server_is_asked_twice_and_given_up) {
    on_own_thread([] {
        SilentNameServer server;
        limit_name_lookups(2 * kSecond);
        EXPECT_EQ(_res.retrans * _res.retry, 2);  // seconds
        EXPECT_EQ(look_up("nowhere.example."), EAI_AGAIN);
        EXPECT_EQ(server.take_tries(), 2U);
    });
}

TEST(NameLookup, limit_is_shared_by_the_servers) {
    on_own_thread([] {
        const SilentNameServer server;
        _res.nscount = 2;
        limit_name_lookups(12 * kSecond);
        EXPECT_EQ(_res.retrans, 3);
    });
}

TEST(NameLookup, host_that_waits_less_is_not_made_to_wait_longer) {
    on_own_thread([] {
        const SilentNameServer server;
        limit_name_lookups(3600 * kSecond);
        EXPECT_EQ(_res.retrans, 5);
    });
}

}  // namespace
}  // namespace zbdkit
