// SPDX-License-Identifier: Apache-2.0
// What peers do that are no vhost-user-blk server, or not a good one. The good ones: bench_test.cc.
#include "bench/front_end.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <functional>
#include <thread>

#include "tests/support/export/server_thread.h"

namespace zbdkit::bench {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kLongNs = 20'000'000'000;
constexpr std::uint64_t kShortNs = 50'000'000;

/// Listens, takes one connection and does with it what it is told.
class Peer {
  public:
    explicit Peer(std::function<void(int)> act) {
        listener_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path().c_str(), path().size());
        const void* generic = &address;
        EXPECT_EQ(::bind(listener_.get(), static_cast<const sockaddr*>(generic), sizeof address),
                  0);
        EXPECT_EQ(::listen(listener_.get(), 1), 0);
        thread_ = std::thread([this, act = std::move(act)] {
            const UniqueFd connection(::accept(listener_.get(), nullptr, nullptr));
            act(connection.get());
        });
    }
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;
    ~Peer() { thread_.join(); }
    [[nodiscard]] std::string path() const { return folder_.file("peer.sock"); }

  private:
    test::TempFolder folder_;
    UniqueFd listener_;
    std::thread thread_;
};

/// Answers each question with numbers, one after the other.
void answer(int connection, const std::vector<std::uint64_t>& numbers) {
    for (const std::uint64_t number : numbers) {
        vhost_user::Header header;
        std::byte payload[256];
        if (::recv(connection, &header, sizeof header, MSG_WAITALL) != sizeof header) return;
        if (header.size != 0) {
            [[maybe_unused]] const auto got = ::recv(connection, payload, header.size, MSG_WAITALL);
        }
        header.flags = 5;
        header.size = sizeof number;
        [[maybe_unused]] ssize_t sent = ::send(connection, &header, sizeof header, MSG_NOSIGNAL);
        sent = ::send(connection, &number, sizeof number, MSG_NOSIGNAL);
    }
}

void wait_for_end(int connection) {
    std::byte byte{};
    while (::recv(connection, &byte, 1, 0) > 0) {
    }
}

std::string negotiation_with(const std::string& path, const FrontEnd::Wishes& wishes,
                             std::uint64_t timeout_ns = kLongNs) {
    Outcome<FrontEnd> front_end = FrontEnd::connect(path, timeout_ns);
    if (!front_end) return front_end.error().message;
    const Outcome<FrontEnd::Device> device = front_end->negotiate(wishes);
    return device ? "negotiated" : device.error().message;
}

TEST(FrontEnd, nobody_listens) {
    const test::TempFolder folder;
    EXPECT_THAT(negotiation_with(folder.file("none.sock"), {}),
                HasSubstr("expected the socket of a vhost-user-blk server"));
}

TEST(FrontEnd, a_path_that_is_too_long) {
    EXPECT_THAT(negotiation_with(std::string(200, 'x'), {}), HasSubstr("expected at most 107"));
}

TEST(FrontEnd, a_peer_that_says_nothing) {
    Peer peer(wait_for_end);
    EXPECT_THAT(negotiation_with(peer.path(), {}, kShortNs),
                HasSubstr("no answer to GET_FEATURES within 50 ms"));
}

TEST(FrontEnd, a_peer_that_hangs_up) {
    Peer peer([](int connection) { answer(connection, {}); });
    EXPECT_THAT(negotiation_with(peer.path(), {}), HasSubstr("the server hung up at GET_FEATURES"));
}

TEST(FrontEnd, a_peer_that_speaks_something_else) {
    Peer peer([](int connection) {
        constexpr std::string_view kText = "SSH-2.0-OpenSSH_9.2p1\r\n";
        [[maybe_unused]] const auto sent =
            ::send(connection, kText.data(), kText.size(), MSG_NOSIGNAL);
        wait_for_end(connection);
    });
    EXPECT_THAT(negotiation_with(peer.path(), {}), HasSubstr("is no vhost-user message"));
}

TEST(FrontEnd, a_server_without_version_1) {
    Peer peer([](int connection) { answer(connection, {std::uint64_t{1} << 30}); });
    EXPECT_THAT(negotiation_with(peer.path(), {}), HasSubstr("expected VERSION_1"));
}

TEST(FrontEnd, a_server_without_a_configuration_space) {
    constexpr std::uint64_t kFeatures = (std::uint64_t{1} << 30) | (std::uint64_t{1} << 32);
    Peer peer([](int connection) { answer(connection, {kFeatures, 0}); });
    EXPECT_THAT(negotiation_with(peer.path(), {}), HasSubstr("no configuration space"));
}

TEST(FrontEnd, a_configuration_of_the_wrong_size) {
    constexpr std::uint64_t kFeatures = (std::uint64_t{1} << 30) | (std::uint64_t{1} << 32);
    Peer peer([](int connection) {
        // CONFIG and REPLY_ACK; nothing is said to SET_PROTOCOL_FEATURES.
        answer(connection, {kFeatures, (1 << 9) | (1 << 3)});
        std::byte told[20];
        [[maybe_unused]] auto got = ::recv(connection, told, sizeof told, MSG_WAITALL);
        answer(connection, {0});
    });
    EXPECT_THAT(negotiation_with(peer.path(), {}),
                HasSubstr("8 bytes of configuration, expected 72"));
}

TEST(FrontEnd, too_many_queues) {
    test::ServerThread server;
    EXPECT_THAT(negotiation_with(server.path(), {.queue_count = 3}),
                HasSubstr("3 queues: the server has up to 2"));
}

TEST(FrontEnd, no_packed_rings) {
    test::ServerThread server({.device = {.serial = "fake", .packed = false}});
    EXPECT_THAT(negotiation_with(server.path(), {.packed = true}),
                HasSubstr("does not offer packed rings"));
}

TEST(FrontEnd, a_zoned_disk_tells_of_its_zones) {
    test::ServerThread server;
    Outcome<FrontEnd> front_end = FrontEnd::connect(server.path(), kLongNs);
    ASSERT_TRUE(front_end.has_value());
    const Outcome<FrontEnd::Device> device = front_end->negotiate({});
    ASSERT_TRUE(device.has_value()) << device.error().message;
    EXPECT_TRUE(device->has(blk_feature::kZoned));
    EXPECT_EQ(device->config.capacity, test::FakeDisk::kSize / 512);
    EXPECT_EQ(device->config.zone_sectors, test::FakeDisk::kZoneSize / 512);
    EXPECT_EQ(front_end->server_pid(), ::getpid());
}

}  // namespace
}  // namespace zbdkit::bench
