// SPDX-License-Identifier: Apache-2.0
// The socket and the connections on it, one after the other.
#include "export/vhost_user/server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>

#include "export/vhost_user/listener.h"
#include "tests/support/export/server_thread.h"
#include "tests/support/export/test_guest.h"

namespace zbdkit::vhost_user {
namespace {

using test::FrontEnd;
using test::pattern;
using test::Payload;
using test::ServerThread;
using test::TempFolder;
using test::TestGuest;
namespace request = test::request;

constexpr std::uint32_t kOut = 1;

template <class Condition>
bool eventually(Condition condition) {
    for (int i = 0; i < 20'000; ++i) {
        if (condition()) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
}

bool exists(const std::string& path) {
    struct stat status{};
    return ::lstat(path.c_str(), &status) == 0;
}

/// A socket file that nobody listens on, as a killed server leaves it.
void leave_stale_socket(const std::string& path) {
    const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    const void* generic = &address;
    ASSERT_EQ(::bind(socket.get(), static_cast<const sockaddr*>(generic), sizeof address), 0);
}

/// A socket that listens although the process that said so is gone.
UniqueFd orphaned_socket(const std::string& path) {
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    const void* generic = &address;
    EXPECT_EQ(::bind(socket.get(), static_cast<const sockaddr*>(generic), sizeof address), 0);
    const pid_t child = ::fork();
    if (child == 0) ::_exit(::listen(socket.get(), 4));
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    return socket;
}

class ListenerTest : public testing::Test {
  protected:
    static std::string message_of(const Outcome<Listener>& listener) {
        return listener ? "listens" : listener.error().message;
    }
    TempFolder folder;
    std::string path = folder.file("s");
};

TEST_F(ListenerTest, socket_is_there_while_it_listens_and_gone_after) {
    {
        const Outcome<Listener> listener = Listener::open(path);
        ASSERT_TRUE(listener.has_value()) << message_of(listener);
        EXPECT_TRUE(exists(path));
    }
    EXPECT_FALSE(exists(path));
}

TEST_F(ListenerTest, socket_is_never_open_to_others) {
    const mode_t before = ::umask(0);
    const Outcome<Listener> listener = Listener::open(path);
    ::umask(before);
    ASSERT_TRUE(listener.has_value());

    struct stat status{};
    ASSERT_EQ(::lstat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0660U);
}

TEST_F(ListenerTest, stale_socket_is_replaced) {
    leave_stale_socket(path);

    const Outcome<Listener> listener = Listener::open(path);

    ASSERT_TRUE(listener.has_value()) << message_of(listener);
    EXPECT_EQ(FrontEnd(path).fd() >= 0, true);
}

TEST_F(ListenerTest, live_socket_is_refused_and_stays) {
    const Outcome<Listener> first = Listener::open(path);
    ASSERT_TRUE(first.has_value());

    EXPECT_EQ(message_of(Listener::open(path)), "a live server listens on " + path);
    EXPECT_TRUE(exists(path));
}

TEST_F(ListenerTest, socket_that_outlives_its_process_for_a_moment_is_replaced) {
    UniqueFd orphan = orphaned_socket(path);
    std::thread kernel([&orphan] {
        const UniqueFd probe(::accept(orphan.get(), nullptr, nullptr));
        orphan.reset();
    });

    const Outcome<Listener> listener = Listener::open(path);
    kernel.join();

    ASSERT_TRUE(listener.has_value()) << message_of(listener);
    EXPECT_EQ(FrontEnd(path).fd() >= 0, true);
}

TEST_F(ListenerTest, socket_that_others_inherited_is_refused_and_stays) {
    const UniqueFd orphan = orphaned_socket(path);

    EXPECT_EQ(message_of(Listener::open(path)), "a live server listens on " + path);
    EXPECT_TRUE(exists(path));
}

TEST_F(ListenerTest, file_that_is_no_socket_is_refused_and_stays) {
    std::ofstream(path) << "precious";

    EXPECT_EQ(message_of(Listener::open(path)),
              path +
                  " exists and is no socket; expected a free path or a socket that nobody "
                  "listens on");
    EXPECT_TRUE(exists(path));
}

TEST_F(ListenerTest, path_that_is_too_long_or_empty_is_refused) {
    const std::string longest = folder.file(std::string(107 - folder.file("").size(), 'x'));
    EXPECT_TRUE(Listener::open(longest).has_value());

    const std::string message = message_of(Listener::open(longest + "x"));

    EXPECT_NE(message.find("has 108 bytes, expected at most 107"), std::string::npos) << message;
    EXPECT_EQ(message_of(Listener::open("")), "the socket path is empty");
}

TEST_F(ListenerTest, folder_that_does_not_exist_is_an_error_that_names_the_path) {
    const std::string nowhere = folder.file("none/s");

    EXPECT_EQ(message_of(Listener::open(nowhere)),
              "cannot bind socket " + nowhere + ": No such file or directory");
}

TEST_F(ListenerTest, socket_of_somebody_else_is_not_removed) {
    Outcome<Listener> listener = Listener::open(path);
    ASSERT_TRUE(listener.has_value());
    ASSERT_EQ(::rename(path.c_str(), folder.file("moved").c_str()), 0);
    leave_stale_socket(path);

    listener->close();

    EXPECT_TRUE(exists(path));
}

TEST(Server, stop_without_a_front_end_removes_the_socket) {
    ServerThread server;
    EXPECT_TRUE(exists(server.path()));

    server.stop();

    EXPECT_FALSE(exists(server.path()));
}

TEST(Server, stop_drains_requests_in_flight_and_closes_the_connection) {
    ServerThread server;
    TestGuest guest(server.path());
    guest.boot();
    server.disk().hold = true;
    const TestGuest::Pending slow = guest.add(0, kOut, 0, pattern(512, 1), 0);
    guest.kick(0);
    ASSERT_TRUE(eventually([&] { return server.disk().arrived == 1; }));

    server.begin_stop();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(guest.answer_of(slow).status, 0xee);
    server.disk().hold = false;
    server.stop();

    EXPECT_EQ(guest.answer_of(slow).status, 0);
    EXPECT_EQ(guest.wait_used(0, 1, 0), 1U);
    EXPECT_TRUE(guest.front_end.is_closed_by_peer());
}

TEST(Server, front_end_can_leave_and_come_back) {
    ServerThread server;
    for (std::uint64_t i = 0; i < 5; ++i) {
        TestGuest guest(server.path());
        guest.boot();
        ASSERT_EQ(guest.write(i, pattern(512, static_cast<std::uint8_t>(i))).status, 0);
        ASSERT_EQ(guest.read(0, 512).data, pattern(512, 0));
    }

    EXPECT_EQ(server.counters().connections, 5U);
    EXPECT_EQ(server.counters().protocol_errors, 0U);
}

TEST(Server, device_is_reset_between_front_ends) {
    ServerThread server;
    {
        TestGuest guest(server.path());
        guest.boot();
        EXPECT_NE(server.device_features(), 0U);
    }

    EXPECT_TRUE(eventually([&] { return server.device_features() == 0; }));
}

TEST(Server, front_end_that_leaves_with_slow_requests_is_drained_before_the_next) {
    ServerThread server;
    {
        TestGuest guest(server.path());
        guest.boot();
        server.disk().hold = true;
        for (std::uint64_t i = 0; i < 8; ++i) guest.add(0, kOut, i, pattern(512, 1), 0);
        guest.kick(0);
        ASSERT_TRUE(eventually([&] { return server.disk().arrived == 8; }));
    }
    std::thread later([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        server.disk().hold = false;
    });
    TestGuest next(server.path());
    next.boot();
    later.join();

    EXPECT_EQ(server.disk().ended, 8U);
    EXPECT_EQ(next.read(0, 512).status, 0);
}

TEST(Server, second_front_end_is_closed_while_the_first_stays) {
    ServerThread server;
    TestGuest first(server.path());
    first.boot();

    FrontEnd second(server.path());
    EXPECT_TRUE(second.is_closed_by_peer());

    EXPECT_EQ(first.write(0, pattern(512, 1)).status, 0);
    EXPECT_EQ(server.counters().connections, 1U);
}

TEST(Server, front_end_that_hangs_in_mid_message_can_be_stopped) {
    ServerThread server;
    FrontEnd front_end(server.path());
    front_end.send_bytes(Payload().u32(2).u32(1).u32(8).u32(0));
    ASSERT_TRUE(eventually([&] { return server.counters().connections == 1; }));

    server.stop();

    EXPECT_TRUE(front_end.is_closed_by_peer());
}

TEST(Server, front_end_that_leaves_in_mid_message_makes_room_for_the_next) {
    ServerThread server;
    {
        FrontEnd front_end(server.path());
        front_end.send_bytes(Payload().u32(2).u32(1).u32(8).u32(0));
    }
    TestGuest guest(server.path());
    guest.boot();

    EXPECT_EQ(guest.write(0, pattern(512, 1)).status, 0);
    EXPECT_EQ(server.counters().protocol_errors, 1U);
}

TEST(Server, broken_front_end_costs_its_own_connection_only) {
    ServerThread one;
    ServerThread other;
    TestGuest good(other.path());
    good.boot();

    for (int i = 0; i < 20; ++i) {
        FrontEnd bad(one.path());
        bad.send_bytes(pattern(200, static_cast<std::uint8_t>(i)));
        EXPECT_TRUE(bad.is_closed_by_peer());
        ASSERT_EQ(good.write(static_cast<std::uint64_t>(i), pattern(512, 1)).status, 0);
    }

    TestGuest next(one.path());
    next.boot();
    EXPECT_EQ(next.write(0, pattern(512, 1)).status, 0);
    EXPECT_EQ(other.counters().protocol_errors, 0U);
}

TEST(Server, memory_that_is_truncated_under_the_ring_ends_nothing_but_the_ring) {
    ServerThread server;
    {
        TestGuest guest(server.path());
        guest.boot();
        EXPECT_EQ(guest.write(0, pattern(512, 1)).status, 0);
        // Now the file shrinks; what the guest has mapped itself is not touched any more.
        ASSERT_EQ(::ftruncate(guest.memory.fd(), 0), 0);
        constexpr std::uint64_t kOne = 1;
        ASSERT_EQ(::write(guest.queues[0].kick.get(), &kOne, sizeof kOne), 8);
        EXPECT_TRUE(test::take_event(guest.queues[0].error));
        EXPECT_TRUE(guest.front_end.is_alive());
    }
    TestGuest next(server.path());
    next.boot();
    EXPECT_EQ(next.write(1, pattern(512, 1)).status, 0);
}

}  // namespace
}  // namespace zbdkit::vhost_user
