// SPDX-License-Identifier: Apache-2.0
#include "export/vhost_user/socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <utility>

#include "io/scope.h"
#include "tests/support/export/front_end.h"
#include "tests/support/io/uring_reactor.h"

namespace zbdkit::vhost_user {
namespace {

using test::FrontEnd;
using test::make_event;
using test::Payload;
namespace request = test::request;

Task<void> receive_into(MessageSocket* socket,
                        std::optional<Outcome<std::optional<Received>>>* to) {
    Outcome<std::optional<Received>> received = co_await socket->receive();
    to->emplace(std::move(received));
}

class SocketTest : public testing::Test {
  protected:
    SocketTest() : SocketTest(make_pair()) {}
    explicit SocketTest(std::array<int, 2> fds)
        : socket(reactor, UniqueFd(fds[0])), peer(UniqueFd(fds[1])) {}
    static std::array<int, 2> make_pair() {
        std::array<int, 2> fds{};
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
        ::fcntl(fds[0], F_SETFL, O_NONBLOCK);
        return fds;
    }
    Outcome<std::optional<Received>> receive() { return reactor.run_to_end(socket.receive()); }

    test::UringReactor reactor;
    MessageSocket socket;
    FrontEnd peer;
};

TEST_F(SocketTest, message_with_payload_and_descriptor_arrives_whole) {
    const UniqueFd event = make_event();
    peer.send(request::kSetVringKick, Payload().u64(1), {event.get()});

    Outcome<std::optional<Received>> received = receive();

    ASSERT_TRUE(received && *received);
    EXPECT_EQ((*received)->header.request, 12U);
    EXPECT_EQ((*received)->payload.size(), 8U);
    ASSERT_EQ((*received)->fds.size(), 1U);
    EXPECT_NE((*received)->fds[0].get(), event.get());
    EXPECT_EQ(::fcntl((*received)->fds[0].get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

TEST_F(SocketTest, message_in_pieces_is_put_together) {
    const Payload message = Payload().u32(2).u32(1).u32(8).u64(0x55);
    const ConstBytes bytes = message;
    std::optional<Outcome<std::optional<Received>>> result;
    TaskScope scope;
    scope.spawn(receive_into(&socket, &result));
    for (const std::byte& byte : bytes) {
        peer.send_bytes(ConstBytes(&byte, 1));
        reactor.turn(true);
    }
    while (!result) reactor.turn(true);

    ASSERT_TRUE(*result && **result);
    EXPECT_EQ((**result)->payload.size(), 8U);
}

TEST_F(SocketTest, messages_in_one_piece_are_taken_apart) {
    peer.send_bytes(Payload().u32(1).u32(1).u32(0).u32(17).u32(1).u32(0));

    EXPECT_EQ((*receive())->header.request, 1U);
    EXPECT_EQ((*receive())->header.request, 17U);
}

TEST_F(SocketTest, end_between_messages_is_nothing) {
    peer.close();

    const Outcome<std::optional<Received>> received = receive();

    ASSERT_TRUE(received.has_value());
    EXPECT_FALSE(received->has_value());
}

TEST_F(SocketTest, end_within_a_header_is_an_error) {
    peer.send_bytes(Payload().u32(1).u32(1));
    peer.close();

    EXPECT_EQ(receive().error().message, "the connection ended in the middle of a header");
}

TEST_F(SocketTest, end_within_a_payload_is_an_error_that_names_the_message) {
    peer.send_bytes(Payload().u32(2).u32(1).u32(8).u32(0));
    peer.close();

    EXPECT_EQ(receive().error().message, "the connection ended in the middle of SET_FEATURES");
}

TEST_F(SocketTest, payload_that_never_begins_is_an_error) {
    peer.send_bytes(Payload().u32(2).u32(1).u32(8));
    peer.close();

    EXPECT_FALSE(receive().has_value());
}

TEST_F(SocketTest, oversized_message_is_an_error) {
    peer.send_bytes(Payload().u32(2).u32(1).u32(4097));

    EXPECT_NE(receive().error().message.find("4097"), std::string::npos);
}

TEST_F(SocketTest, thirty_two_descriptors_arrive) {
    const UniqueFd event = make_event();
    peer.send(request::kGetFeatures, {}, std::vector<int>(32, event.get()));

    EXPECT_EQ((*receive())->fds.size(), 32U);
}

TEST_F(SocketTest, more_descriptors_are_an_error_and_closed) {
    const UniqueFd event = make_event();
    const int free_before = ::fcntl(event.get(), F_DUPFD, 0);
    ::close(free_before);
    peer.send(request::kGetFeatures, {}, std::vector<int>(33, event.get()));

    const Outcome<std::optional<Received>> received = receive();

    ASSERT_FALSE(received.has_value());
    EXPECT_NE(received.error().message.find("more than 32 file descriptors"), std::string::npos);
    const int free_after = ::fcntl(event.get(), F_DUPFD, 0);
    ::close(free_after);
    EXPECT_EQ(free_after, free_before);
}

TEST_F(SocketTest, more_descriptors_spread_over_a_message_are_an_error) {
    const UniqueFd event = make_event();
    peer.send_bytes(Payload().u32(2).u32(1).u32(8), std::vector<int>(20, event.get()));
    peer.send_bytes(Payload().u64(0), std::vector<int>(20, event.get()));

    EXPECT_FALSE(receive().has_value());
}

TEST_F(SocketTest, stop_ends_a_present_and_every_later_receive) {
    std::optional<Outcome<std::optional<Received>>> result;
    TaskScope scope;
    scope.spawn(receive_into(&socket, &result));
    reactor.turn(false);

    socket.stop();
    while (!result) reactor.turn(true);

    ASSERT_TRUE(result->has_value());
    EXPECT_FALSE((*result)->has_value());
    EXPECT_TRUE(socket.is_stopped());
    EXPECT_FALSE(receive()->has_value());
}

TEST_F(SocketTest, reply_is_sent_whole_to_a_slow_reader) {
    constexpr std::size_t kMuch = 4 << 20;  // more than a socket buffers
    const std::vector<std::byte> bytes(kMuch, std::byte{7});
    const ConstBytes view(bytes);
    std::optional<Outcome<bool>> sent;
    TaskScope scope;
    constexpr auto send = [](MessageSocket* to, ConstBytes what,
                             std::optional<Outcome<bool>>* result) -> Task<void> {
        Outcome<bool> outcome = co_await to->send(what);
        result->emplace(std::move(outcome));
    };
    scope.spawn(send(&socket, view, &sent));
    ASSERT_FALSE(sent.has_value());

    std::size_t got = 0;
    std::vector<std::byte> room(65536);
    while (got < kMuch) {
        const ssize_t some = ::recv(peer.fd(), room.data(), room.size(), MSG_DONTWAIT);
        if (some > 0) got += static_cast<std::size_t>(some);
        if (!sent) reactor.turn(false);
    }
    while (!sent) reactor.turn(true);

    EXPECT_TRUE(sent->value());
}

TEST_F(SocketTest, peer_that_left_replies_unread_is_gone_and_no_error) {
    const std::array<std::byte, 8> bytes{};
    const ConstBytes view(bytes);
    EXPECT_TRUE(reactor.run_to_end(socket.send(view)).value());
    peer.close();

    const Outcome<std::optional<Received>> received = receive();

    ASSERT_TRUE(received.has_value());
    EXPECT_FALSE(received->has_value());
}

TEST_F(SocketTest, sending_to_a_closed_peer_says_that_it_is_gone_without_a_signal) {
    peer.close();
    const std::array<std::byte, 8> bytes{};
    const ConstBytes view(bytes);

    EXPECT_FALSE(reactor.run_to_end(socket.send(view)).value());
}

TEST_F(SocketTest, peer_process_is_known) { EXPECT_EQ(socket.peer_pid(), ::getpid()); }

}  // namespace
}  // namespace zbdkit::vhost_user
