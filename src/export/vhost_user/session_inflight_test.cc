// SPDX-License-Identifier: Apache-2.0
// Requests that outlive a server. A server cannot be killed within a test, so its death is a copy
// of all that outlives it, the guest's memory and the inflight region, taken while requests were on
// their way; the next server gets the copy. tests/crash kills real ones.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "export/vhost_user/inflight.h"
#include "tests/support/export/server_thread.h"
#include "tests/support/export/test_guest.h"

namespace zbdkit::vhost_user {
namespace {

using test::FakeDisk;
using test::pattern;
using test::Payload;
using test::ServerThread;
using test::TestGuest;
namespace request = test::request;

constexpr std::uint32_t kOut = 1, kAppend = 15, kClose = 20;
constexpr std::uint8_t kOk = 0, kInvalidZone = 3, kUnalignedWp = 4;
constexpr std::uint64_t kZone = FakeDisk::kZoneSize;

template <class Condition>
bool eventually(Condition condition) {
    for (int i = 0; i < 20'000; ++i) {
        if (condition()) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
}

/// The parameter: packed.
class SessionInflightTest : public testing::TestWithParam<bool> {
  protected:
    void SetUp() override {
        guest.negotiate(features());
        guest.get_inflight();
        EXPECT_EQ(guest.set_inflight(), 0U);
        start();
    }
    [[nodiscard]] static std::uint64_t features() {
        return TestGuest::kUsual | (GetParam() ? TestGuest::kPacked : 0);
    }
    void start() {
        guest.share_memory();
        guest.start_queue(0);
    }

    /// An append to zone 1, on its way.
    TestGuest::Pending append(std::uint8_t seed = 1) {
        const auto pending = guest.add(0, kAppend, kZone / 512, pattern(4096, seed), 8);
        guest.kick(0);
        return pending;
    }
    /// The server dies, as far as anybody can tell who outlives it.
    void kill() {
        const std::vector<std::byte> memory(guest.memory.bytes().begin(),
                                            guest.memory.bytes().end());
        std::vector<std::byte> region(guest.inflight.size);
        EXPECT_EQ(::pread(guest.inflight.fd.get(), region.data(), region.size(), 0),
                  static_cast<ssize_t>(region.size()));
        server->disk().hold = false;
        server->disk().hold_ends = false;
        server->stop();
        std::ranges::copy(memory, guest.memory.bytes().begin());
        EXPECT_EQ(::pwrite(guest.inflight.fd.get(), region.data(), region.size(), 0),
                  static_cast<ssize_t>(region.size()));
        server = std::make_unique<ServerThread>();
    }
    /// The next server finds that much written in zone 1.
    void come_back(std::uint64_t written) {
        server->on_reactor([&] { server->disk().set_written(1, written); });
        guest.reconnect(server->path());
        guest.negotiate(features());
        EXPECT_EQ(guest.set_inflight(), 0U);
        start();
    }
    [[nodiscard]] std::uint64_t written() {
        return server->on_reactor([this] { return server->disk().written(1); });
    }
    /// Where an append says that its data is.
    [[nodiscard]] std::uint64_t place_of(const TestGuest::Pending& pending) const {
        return load_le<std::uint64_t>(guest.answer_of(pending).data.data()) * 512;
    }
    /// The slot of the first request of queue 0.
    void forge_slot(std::uint64_t place, std::uint64_t length) {
        const WriteSlot slot{place, length};
        const auto entries = static_cast<off_t>(2 * 64 * sizeof(WriteSlot));
        const auto at = static_cast<off_t>(guest.inflight.size) - entries;
        for (off_t entry = 0; entry < 64; ++entry) {
            EXPECT_EQ(::pwrite(guest.inflight.fd.get(), &slot, sizeof slot, at + entry * 16), 16);
        }
    }

    std::unique_ptr<ServerThread> server = std::make_unique<ServerThread>();
    TestGuest guest{server->path()};
};

INSTANTIATE_TEST_SUITE_P(Rings, SessionInflightTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "packed" : "split"; });

TEST_P(SessionInflightTest, requests_that_did_not_reach_the_disk_are_done_by_the_next_server) {
    server->disk().hold = true;
    const auto first = append(1);
    const auto second = append(2);
    ASSERT_TRUE(eventually([&] { return server->disk().arrived == 2; }));

    kill();
    come_back(0);

    ASSERT_EQ(guest.wait_used(0, 2), 2U);
    EXPECT_EQ(place_of(first), kZone);
    EXPECT_EQ(place_of(second), kZone + 4096);
    EXPECT_EQ(written(), 8192U);
    EXPECT_EQ(server->counters().chains_again, 2U);
}

TEST_P(SessionInflightTest, append_that_landed_is_answered_with_its_place_and_not_done_again) {
    server->disk().hold_ends = true;
    const auto pending = append();
    ASSERT_TRUE(eventually([&] { return server->disk().performed == 1; }));

    kill();
    come_back(16384);

    ASSERT_EQ(guest.wait_used(0, 1), 1U);
    EXPECT_EQ(guest.answer_of(pending).status, kOk);
    EXPECT_EQ(place_of(pending), kZone);
    EXPECT_EQ(written(), 16384U);
}

TEST_P(SessionInflightTest, append_that_the_pointer_passed_is_not_done_again) {
    server->disk().hold = true;
    const auto pending = append();
    ASSERT_TRUE(eventually([&] { return server->disk().arrived == 1; }));
    kill();
    forge_slot(kZone + 8192 + 1, 4096);

    come_back(12288);

    ASSERT_EQ(guest.wait_used(0, 1), 1U);
    EXPECT_EQ(place_of(pending), kZone + 8192);
    EXPECT_EQ(written(), 12288U);
}

TEST_P(SessionInflightTest, append_that_the_pointer_did_not_reach_is_done_where_there_is_room) {
    server->disk().hold = true;
    const auto pending = append();
    ASSERT_TRUE(eventually([&] { return server->disk().arrived == 1; }));
    kill();
    forge_slot(kZone + 8192 + 1, 4096);

    come_back(4096);

    ASSERT_EQ(guest.wait_used(0, 1), 1U);
    EXPECT_EQ(place_of(pending), kZone + 4096);
    EXPECT_EQ(written(), 8192U);
}

TEST_P(SessionInflightTest, torn_append_goes_on_where_it_stopped) {
    server->disk().hold = true;
    const auto pending = append();
    ASSERT_TRUE(eventually([&] { return server->disk().arrived == 1; }));
    kill();
    forge_slot(kZone + 8192 + 1, 4096);

    come_back(8192 + 1024);

    ASSERT_EQ(guest.wait_used(0, 1), 1U);
    EXPECT_EQ(place_of(pending), kZone + 8192);
    EXPECT_EQ(written(), 12288U);
    const std::vector<std::byte> all = pattern(4096, 1);
    EXPECT_TRUE(std::ranges::equal(guest.read((kZone + 9216) / 512, 3072).data,
                                   std::span(all).subspan(1024)));
}

TEST_P(SessionInflightTest, write_in_order_that_landed_is_not_done_again) {
    server->disk().hold = true;
    const auto pending = guest.add(0, kOut, kZone / 512, pattern(4096, 1), 0);
    guest.kick(0);
    ASSERT_TRUE(eventually([&] { return server->disk().arrived == 1; }));
    kill();
    forge_slot(kZone + 1, 4096);

    come_back(4096);

    ASSERT_EQ(guest.wait_used(0, 1), 1U);
    EXPECT_EQ(guest.answer_of(pending).status, kOk);
    EXPECT_EQ(written(), 4096U);
}

TEST_P(SessionInflightTest, write_that_never_had_a_place_gets_its_error) {
    server->disk().hold = true;
    const auto pending = guest.add(0, kOut, kZone / 512, pattern(4096, 1), 0);
    guest.kick(0);
    ASSERT_TRUE(eventually([&] { return server->disk().arrived == 1; }));

    kill();
    come_back(4096);

    ASSERT_EQ(guest.wait_used(0, 1), 1U);
    EXPECT_EQ(guest.answer_of(pending).status, kUnalignedWp);
}

TEST_P(SessionInflightTest, close_that_left_its_zone_empty_is_answered) {
    server->disk().hold = true;
    const auto pending = guest.add(0, kClose, kZone / 512, {}, 0);
    guest.kick(0);
    ASSERT_TRUE(eventually([&] { return server->disk().arrived == 1; }));

    kill();
    come_back(0);

    ASSERT_EQ(guest.wait_used(0, 1), 1U);
    EXPECT_EQ(guest.answer_of(pending).status, kOk);
    EXPECT_EQ(guest.request(kClose, kZone / 512, {}, 0).status, kInvalidZone);
}

TEST_P(SessionInflightTest, two_deaths_in_a_row_are_survived) {
    server->disk().hold = true;
    const auto pending = append();
    ASSERT_TRUE(eventually([&] { return server->disk().arrived == 1; }));
    kill();
    server->disk().hold = true;
    come_back(0);
    ASSERT_TRUE(eventually([&] { return server->disk().arrived == 1; }));

    kill();
    come_back(0);

    ASSERT_EQ(guest.wait_used(0, 1), 1U);
    EXPECT_EQ(place_of(pending), kZone);
    EXPECT_EQ(written(), 4096U);
}

TEST_P(SessionInflightTest, server_that_stops_in_good_order_leaves_nothing) {
    EXPECT_EQ(guest.write(0, pattern(512, 1)).status, kOk);
    server->stop();
    server = std::make_unique<ServerThread>();

    come_back(0);

    EXPECT_EQ(guest.read(0, 512).status, kOk);
    EXPECT_EQ(server->counters().chains_again, 0U);
}

TEST_P(SessionInflightTest, ring_that_contradicts_its_region_does_not_run_and_the_session_goes_on) {
    kill();
    const std::uint8_t version = 7;
    EXPECT_EQ(::pwrite(guest.inflight.fd.get(), &version, 1, 8), 1);
    guest.reconnect(server->path());
    guest.negotiate(features());
    EXPECT_EQ(guest.set_inflight(), 0U);
    guest.share_memory();
    guest.front_end.send(request::kSetVringNum, Payload().u32(0).u32(64));
    guest.front_end.send(request::kSetVringBase, Payload().u32(0).u32(0));
    guest.front_end.send(request::kSetVringAddr, guest.vring_addr(0));
    guest.front_end.send(request::kSetVringKick, Payload().u64(0), {guest.queues[0].kick.get()});

    EXPECT_NE(guest.front_end.acked(request::kSetVringEnable, Payload().u32(0).u32(1)), 0U);

    EXPECT_TRUE(test::take_event(guest.queues[0].error));
    EXPECT_TRUE(guest.front_end.is_alive());
}

TEST_P(SessionInflightTest, region_that_is_too_small_is_refused) {
    ServerThread other;
    guest.reconnect(other.path());
    guest.negotiate(features());
    guest.inflight.queue_size = 1024;

    EXPECT_NE(guest.set_inflight(), 0U);

    EXPECT_TRUE(guest.front_end.is_alive());
}

TEST_P(SessionInflightTest, region_that_is_refused_leaves_the_one_before) {
    EXPECT_EQ(guest.front_end.acked(request::kSetVringEnable, Payload().u32(0).u32(0)), 0U);
    guest.inflight.queue_size = 1024;
    EXPECT_NE(guest.set_inflight(), 0U);
    guest.inflight.queue_size = 64;
    EXPECT_EQ(guest.front_end.acked(request::kSetVringEnable, Payload().u32(0).u32(1)), 0U);
    server->disk().hold_ends = true;
    const auto pending = append();
    ASSERT_TRUE(eventually([&] { return server->disk().performed == 1; }));

    kill();
    come_back(4096);

    ASSERT_EQ(guest.wait_used(0, 1), 1U);
    EXPECT_EQ(place_of(pending), kZone);
    EXPECT_EQ(written(), 4096U);
}

TEST_P(SessionInflightTest, region_cannot_be_changed_while_a_ring_runs) {
    EXPECT_NE(guest.set_inflight(), 0U);

    EXPECT_EQ(guest.write(0, pattern(512, 1)).status, kOk);
}

TEST_P(SessionInflightTest, reset_ends_what_the_region_says) {
    EXPECT_EQ(guest.front_end.acked(request::kResetDevice), 0U);
    EXPECT_EQ(guest.set_inflight(), 0U);
    EXPECT_TRUE(guest.front_end.is_alive());
}

TEST(SessionInflight, region_is_offered_in_the_size_of_the_question) {
    ServerThread server;
    TestGuest guest(server.path());
    Payload specified;
    specified.u64(0).u64(0).u16(2).u16(64);

    guest.front_end.send(request::kGetInflightFd, specified);
    const auto reply = guest.front_end.receive();

    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(reply->payload.size(), 20U);
    EXPECT_EQ(load_le<std::uint64_t>(reply->payload.data()),
              inflight_size({.queue_count = 2, .queue_size = 64}));
    EXPECT_EQ(reply->fds.size(), 1U);
}

TEST(SessionInflight, region_for_more_queues_than_there_are_is_not_made) {
    ServerThread server;
    TestGuest guest(server.path());
    Payload question;
    question.u64(0).u64(0).u16(3).u16(64).u32(0);

    guest.front_end.send(request::kGetInflightFd, question);

    EXPECT_TRUE(guest.front_end.is_closed_by_peer());
}

}  // namespace
}  // namespace zbdkit::vhost_user
