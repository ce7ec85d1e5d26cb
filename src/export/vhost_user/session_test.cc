// SPDX-License-Identifier: Apache-2.0
// What a guest and its VMM see of a server, message by message.
#include "export/vhost_user/session.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include "tests/support/export/server_thread.h"
#include "tests/support/export/test_guest.h"

namespace zbdkit::vhost_user {
namespace {

using test::FakeDisk;
using test::FrontEnd;
using test::make_event;
using test::pattern;
using test::Payload;
using test::ServerThread;
using test::SetupOrder;
using test::take_event;
using test::TestGuest;
namespace request = test::request;

// virtio-blk request types and status bytes. [virtio 1.3, 5.2.6]
constexpr std::uint32_t kIn = 0, kOut = 1, kFlush = 4, kGetId = 8, kAppend = 15, kReport = 16,
                        kReset = 24;
constexpr std::uint8_t kOk = 0, kIoError = 1, kUnsupported = 2, kUnalignedWp = 4;

constexpr std::uint64_t kZoneSectors = FakeDisk::kZoneSize / 512;

Payload u64(std::uint64_t value) { return Payload().u64(value); }
Payload state(std::uint32_t index, std::uint32_t number) {
    return Payload().u32(index).u32(number);
}
Payload config_question(std::uint32_t offset, std::uint32_t size, std::uint32_t flags = 0) {
    const std::vector<std::byte> room(size);
    return Payload().u32(offset).u32(size).u32(flags).add(room);
}
/// Waits until something of another thread is so.
template <class Condition>
bool eventually(Condition condition) {
    for (int i = 0; i < 20'000; ++i) {
        if (condition()) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
}
/// Enough for a server that does nothing wrong to not do it.
void let_time_pass() { std::this_thread::sleep_for(std::chrono::milliseconds(50)); }

class SessionTest : public testing::Test {
  protected:
    ServerThread server;
    TestGuest guest{server.path()};
    FrontEnd& front_end = guest.front_end;
};

// --- what real front ends do ------------------------------------------------------------------

TEST_F(SessionTest, guest_with_qemus_order_writes_and_reads_back) {
    guest.boot(TestGuest::kUsual, SetupOrder::qemu);
    const std::vector<std::byte> data = pattern(4096, 1);

    EXPECT_EQ(guest.write(0, data).status, kOk);
    const TestGuest::Answer read = guest.read(0, 4096);

    EXPECT_EQ(read.status, kOk);
    EXPECT_EQ(read.written, 4097U);
    EXPECT_EQ(read.data, data);
}

TEST_F(SessionTest, guest_with_rust_vmms_order_writes_and_reads_back) {
    guest.boot(TestGuest::kUsual, SetupOrder::rust);
    const std::vector<std::byte> data = pattern(4096, 1);

    EXPECT_EQ(guest.write(0, data).status, kOk);
    EXPECT_EQ(guest.read(0, 4096).data, data);
}

TEST_F(SessionTest, guest_with_a_packed_ring_and_event_index_writes_and_reads_back) {
    guest.boot(TestGuest::kUsual | TestGuest::kPacked | TestGuest::kEventIdx);
    const std::vector<std::byte> data = pattern(4096, 1);

    for (std::uint64_t i = 0; i < 100; ++i) {
        ASSERT_EQ(guest.write(8 * i, data).status, kOk) << i;
    }
    EXPECT_EQ(guest.read(8 * 99, 4096).data, data);
}

TEST_F(SessionTest, zone_operations_reach_the_disk) {
    guest.boot();
    const std::vector<std::byte> data = pattern(4096, 1);

    const TestGuest::Answer first = guest.request(kAppend, kZoneSectors, data, 8);
    const TestGuest::Answer second = guest.request(kAppend, kZoneSectors, data, 8);
    const TestGuest::Answer misplaced = guest.write(kZoneSectors, data);
    const TestGuest::Answer reset = guest.request(kReset, kZoneSectors, {}, 0);
    const TestGuest::Answer again = guest.write(kZoneSectors, data);

    EXPECT_EQ(first.status, kOk);
    EXPECT_EQ(load_le<std::uint64_t>(first.data.data()), kZoneSectors);
    EXPECT_EQ(load_le<std::uint64_t>(second.data.data()), kZoneSectors + 8);
    EXPECT_EQ(misplaced.status, kUnalignedWp);
    EXPECT_EQ(reset.status, kOk);
    EXPECT_EQ(again.status, kOk);
}

TEST_F(SessionTest, zone_report_lists_the_zones) {
    guest.boot();
    guest.write(kZoneSectors, pattern(512, 1));

    const TestGuest::Answer report = guest.request(kReport, 0, {}, 64 + 8 * 64);

    ASSERT_EQ(report.status, kOk);
    EXPECT_EQ(load_le<std::uint64_t>(report.data.data()), 8U);
    EXPECT_EQ(load_le<std::uint64_t>(report.data.data() + 64 + 64 + 16), kZoneSectors + 1);
}

TEST_F(SessionTest, both_queues_serve_the_same_disk) {
    guest.boot();
    guest.start_queue(1, SetupOrder::qemu, 32);
    const std::vector<std::byte> data = pattern(512, 9);

    EXPECT_EQ(guest.write(0, data, 1).status, kOk);
    EXPECT_EQ(guest.read(0, 512, 0).data, data);
    EXPECT_EQ(guest.request(kFlush, 0, {}, 0, 1).status, kOk);
}

TEST_F(SessionTest, front_end_without_protocol_features_needs_no_enable) {
    front_end.send(request::kSetFeatures, u64(TestGuest::kUsual & ~TestGuest::kProtocol));
    front_end.send(request::kSetMemTable, guest.memory_table(), {guest.memory.fd()});
    guest.features = TestGuest::kUsual;
    guest.make_driver(0, 64);
    front_end.send(request::kSetVringNum, state(0, 64));
    front_end.send(request::kSetVringAddr, guest.vring_addr(0));
    front_end.send(request::kSetVringBase, state(0, 0));
    front_end.send(request::kSetVringCall, u64(0), {guest.queues[0].call.get()});
    front_end.send(request::kSetVringKick, u64(0), {guest.queues[0].kick.get()});

    EXPECT_EQ(guest.write(0, pattern(512, 1)).status, kOk);
}

TEST_F(SessionTest, memory_that_comes_last_starts_the_ring) {
    guest.negotiate();
    guest.make_driver(0, 64);
    front_end.send(request::kSetVringKick, u64(0), {guest.queues[0].kick.get()});
    EXPECT_EQ(front_end.acked(request::kSetVringEnable, state(0, 1)), 0U);
    front_end.send(request::kSetVringBase, state(0, 0));
    front_end.send(request::kSetVringAddr, guest.vring_addr(0));
    front_end.send(request::kSetVringNum, state(0, 64));
    const TestGuest::Pending early = guest.add(0, kOut, 0, pattern(512, 1), 0);
    guest.kick(0);

    guest.share_memory();

    EXPECT_EQ(guest.wait_used(0, 1), 1U);
    EXPECT_EQ(guest.answer_of(early).status, kOk);
}

TEST_F(SessionTest, request_that_was_there_before_the_ring_started_needs_no_kick) {
    guest.negotiate();
    guest.share_memory();
    guest.make_driver(0, 64);
    const TestGuest::Pending early = guest.add(0, kOut, 0, pattern(512, 1), 0);
    guest.queues[0].driver->publish();

    guest.start_queue(0);

    EXPECT_EQ(guest.wait_used(0, 1), 1U);
    EXPECT_EQ(guest.answer_of(early).status, kOk);
}

TEST_F(SessionTest, ring_without_kick_descriptor_is_polled) {
    guest.negotiate();
    guest.share_memory();
    guest.make_driver(0, 64);
    front_end.send(request::kSetVringNum, state(0, 64));
    front_end.send(request::kSetVringBase, state(0, 0));
    front_end.send(request::kSetVringAddr, guest.vring_addr(0));
    front_end.send(request::kSetVringKick, u64(0x100));
    EXPECT_EQ(front_end.acked(request::kSetVringEnable, state(0, 1)), 0U);

    const TestGuest::Pending pending = guest.add(0, kOut, 0, pattern(512, 1), 0);
    guest.queues[0].driver->publish();

    EXPECT_EQ(guest.wait_used(0, 1), 1U);
    EXPECT_EQ(guest.answer_of(pending).status, kOk);
    guest.stop_queue(0);
}

TEST_F(SessionTest, ring_without_call_descriptor_sends_none) {
    guest.boot();
    front_end.send(request::kSetVringCall, u64(0x100));
    EXPECT_TRUE(front_end.is_alive());
    static_cast<void>(take_event(guest.queues[0].call, 0));
    const TestGuest::Pending pending = guest.add(0, kOut, 0, pattern(512, 1), 0);
    guest.kick(0);

    EXPECT_TRUE(eventually([&] { return guest.wait_used(0, 1, 0) == 1; }));
    EXPECT_EQ(guest.answer_of(pending).status, kOk);
    EXPECT_FALSE(take_event(guest.queues[0].call, 0));
}

TEST_F(SessionTest, kick_without_a_count_is_no_kick) {
    guest.queues[0].kick = make_event(EFD_NONBLOCK | EFD_SEMAPHORE);
    guest.boot();
    // The front end takes its own kick back, as often as it can: the server finds EAGAIN.
    constexpr std::uint64_t kOne = 1;
    for (int i = 0; i < 2000; ++i) {
        std::uint64_t count = 0;
        ASSERT_EQ(::write(guest.queues[0].kick.get(), &kOne, sizeof kOne), 8);
        static_cast<void>(!::read(guest.queues[0].kick.get(), &count, sizeof count));
    }

    EXPECT_EQ(guest.write(0, pattern(512, 1)).status, kOk);
}

TEST_F(SessionTest, new_kick_and_call_descriptors_take_over_from_the_old_ones) {
    guest.boot();
    EXPECT_EQ(guest.write(0, pattern(512, 1)).status, kOk);
    guest.queues[0].kick = make_event();
    guest.queues[0].call = make_event();

    EXPECT_EQ(front_end.acked(request::kSetVringKick, u64(0), {guest.queues[0].kick.get()}), 0U);
    EXPECT_EQ(front_end.acked(request::kSetVringCall, u64(0), {guest.queues[0].call.get()}), 0U);

    EXPECT_TRUE(take_event(guest.queues[0].call)) << "a new call descriptor is signalled once";
    for (std::uint64_t i = 1; i < 10; ++i) {
        EXPECT_EQ(guest.write(i, pattern(512, 1)).status, kOk);
    }
}

TEST_F(SessionTest, requests_of_one_kick_share_one_call) {
    guest.boot();
    EXPECT_EQ(guest.write(0, pattern(512, 1)).status, kOk);
    static_cast<void>(take_event(guest.queues[0].call, 100));
    for (std::uint64_t i = 1; i <= 15; ++i) guest.add(0, kOut, i, pattern(512, 1), 0);
    guest.kick(0);

    ASSERT_TRUE(eventually([&] { return server.disk().ended == 16; }));
    ASSERT_TRUE(front_end.is_alive());

    std::uint64_t count = 0;
    ASSERT_EQ(::read(guest.queues[0].call.get(), &count, sizeof count), 8);
    EXPECT_EQ(count, 1U);
    EXPECT_EQ(server.counters().chains, 16U);
    EXPECT_EQ(server.counters().calls, 2U);
    EXPECT_EQ(server.counters().kicks, 2U);
}

TEST_F(SessionTest, requests_that_end_in_one_turn_share_one_call) {
    guest.boot();
    EXPECT_EQ(guest.write(0, pattern(512, 1)).status, kOk);
    static_cast<void>(take_event(guest.queues[0].call, 100));
    server.disk().hold = true;
    for (std::uint64_t i = 1; i <= 10; ++i) guest.add(0, kIn, i, {}, 512);
    guest.kick(0);
    ASSERT_TRUE(eventually([&] { return server.disk().arrived == 11; }));

    // All are in one timer step of the disk, so they end within very few turns.
    server.disk().hold = false;
    ASSERT_TRUE(eventually([&] { return server.disk().ended == 11; }));
    ASSERT_TRUE(front_end.is_alive());

    std::uint64_t count = 0;
    ASSERT_EQ(::read(guest.queues[0].call.get(), &count, sizeof count), 8);
    EXPECT_LT(count, 10U);
    EXPECT_EQ(guest.wait_used(0, 10), 10U);
}

TEST_F(SessionTest, more_requests_than_a_batch_are_all_served) {
    guest.negotiate();
    guest.share_memory();
    guest.start_queue(0, SetupOrder::rust, 1024);
    for (std::uint64_t i = 0; i < 300; ++i) guest.add(0, kIn, i, {}, 512);
    guest.kick(0);

    EXPECT_EQ(guest.wait_used(0, 300), 300U);
}

// --- negotiation ------------------------------------------------------------------------------

TEST_F(SessionTest, offered_features_are_those_of_the_device_and_of_the_transport) {
    const std::uint64_t offered = front_end.ask(request::kGetFeatures);

    EXPECT_EQ(offered & TestGuest::kZoned, TestGuest::kZoned);
    EXPECT_EQ(offered & TestGuest::kLogAll, TestGuest::kLogAll);
    EXPECT_EQ(offered & TestGuest::kProtocol, TestGuest::kProtocol);
    // ACCESS_PLATFORM, IN_ORDER, NOTIFICATION_DATA, RING_RESET: QEMU passes on what is offered.
    EXPECT_EQ(offered & ((1ULL << 33) | (1ULL << 35) | (1ULL << 38) | (1ULL << 40)), 0U);
}

TEST_F(SessionTest, protocol_features_are_those_that_work) {
    EXPECT_EQ(front_end.ask(request::kGetProtocolFeatures), (1U << 0) | (1U << 1) | (1U << 3) |
                                                                (1U << 5) | (1U << 9) | (1U << 12) |
                                                                (1U << 13) | (1U << 15));
}

TEST_F(SessionTest, features_that_were_not_offered_are_refused) {
    guest.negotiate();

    EXPECT_NE(front_end.acked(request::kSetFeatures, u64(TestGuest::kUsual | (1ULL << 33))), 0U);
    EXPECT_NE(front_end.acked(request::kSetProtocolFeatures, u64(1ULL << 16)), 0U);

    EXPECT_TRUE(front_end.is_alive());
    EXPECT_EQ(server.device_features(),
              TestGuest::kZoned | TestGuest::kIndirect | TestGuest::kVersion1);
}

TEST_F(SessionTest, features_that_were_not_offered_end_a_connection_that_wants_no_answer) {
    front_end.send(request::kSetFeatures, u64(1ULL << 33));

    EXPECT_TRUE(front_end.is_closed_by_peer());
    EXPECT_TRUE(eventually([&] { return server.counters().protocol_errors == 1; }));
}

TEST_F(SessionTest, other_features_while_a_ring_runs_are_refused) {
    guest.boot();

    EXPECT_NE(front_end.acked(request::kSetFeatures, u64(TestGuest::kUsual | TestGuest::kPacked)),
              0U);

    EXPECT_EQ(guest.write(0, pattern(512, 1)).status, kOk);
}

TEST_F(SessionTest, host_managed_disk_without_zoned_fails_all_and_works_after_a_new_negotiation) {
    guest.boot(TestGuest::kUsual & ~TestGuest::kZoned);
    EXPECT_EQ(guest.read(0, 512).status, kIoError);
    EXPECT_EQ(guest.write(0, pattern(512, 1)).status, kIoError);
    EXPECT_EQ(guest.request(kReport, 0, {}, 128).status, kUnsupported);
    EXPECT_EQ(server.disk().arrived, 0U);
    EXPECT_EQ(server.counters().refused_without_zoned, 1U);

    guest.stop_queue(0);
    guest.queues[0].driver.reset();
    guest.features = TestGuest::kUsual;
    EXPECT_EQ(front_end.acked(request::kSetFeatures, u64(TestGuest::kUsual)), 0U);
    guest.start_queue(0);

    EXPECT_EQ(guest.write(0, pattern(512, 1)).status, kOk);
    EXPECT_EQ(server.counters().refused_without_zoned, 1U);
    EXPECT_EQ(server.counters().connections, 1U);
}

TEST_F(SessionTest, queue_number_and_memory_slots_are_told) {
    EXPECT_EQ(front_end.ask(request::kGetQueueNum), 2U);
    EXPECT_EQ(front_end.ask(request::kGetMaxMemSlots), 509U);
    EXPECT_EQ(front_end.ask(request::kGetMaxMemSlots), 509U);
}

TEST_F(SessionTest, unknown_request_is_answered_non_zero_if_wanted_and_ignored_if_not) {
    guest.negotiate();
    const UniqueFd event = make_event();

    front_end.send(20, u64(1500), {event.get()});
    EXPECT_NE(front_end.acked(20, u64(1500)), 0U);
    EXPECT_NE(front_end.acked(39, u64(0)), 0U) << "SET_STATUS is not offered";

    EXPECT_TRUE(front_end.is_alive());
}

TEST_F(SessionTest, need_reply_without_the_negotiated_feature_gets_no_reply) {
    front_end.send(request::kSetOwner, {}, {}, FrontEnd::kVersion | FrontEnd::kNeedReply);

    EXPECT_EQ(front_end.ask(request::kGetQueueNum), 2U) << "the first reply is that of the second";
}

TEST_F(SessionTest, message_with_its_own_reply_gets_one_reply_only) {
    guest.negotiate();
    front_end.send(request::kGetQueueNum, {}, {}, FrontEnd::kVersion | FrontEnd::kNeedReply);
    EXPECT_EQ(front_end.receive()->number(), 2U);

    EXPECT_EQ(front_end.ask(request::kGetMaxMemSlots), 509U);
}

// --- configuration ----------------------------------------------------------------------------

TEST_F(SessionTest, config_is_answered_before_negotiation_for_any_range) {
    for (const std::uint32_t size : {1U, 8U, 57U, 60U, 96U, 256U}) {
        front_end.send(request::kGetConfig, config_question(0, size, 1));
        const auto reply = front_end.receive();
        ASSERT_TRUE(reply.has_value()) << size;
        ASSERT_EQ(reply->payload.size(), 12 + size);
        EXPECT_EQ(
            std::memcmp(reply->payload.data(), ConstBytes(config_question(0, size, 1)).data(), 12),
            0);
    }
    front_end.send(request::kGetConfig, config_question(92, 4));
    EXPECT_EQ(front_end.receive()->payload[12], std::byte{1}) << "host-managed";
    front_end.send(request::kGetConfig, config_question(96, 160));
    const auto beyond = front_end.receive();
    EXPECT_TRUE(std::all_of(beyond->payload.begin() + 12, beyond->payload.end(),
                            [](std::byte b) { return b == std::byte{0}; }));
}

TEST_F(SessionTest, config_out_of_range_gets_an_empty_reply) {
    front_end.send(request::kGetConfig, config_question(4096, 1));

    const auto reply = front_end.receive();

    ASSERT_TRUE(reply.has_value());
    EXPECT_TRUE(reply->payload.empty());
    EXPECT_TRUE(front_end.is_alive());
}

TEST_F(SessionTest, config_write_of_the_writeback_byte_is_taken_and_others_are_refused) {
    guest.negotiate(TestGuest::kUsual | (1ULL << 11));
    const std::array<std::byte, 1> zero{};
    const auto write = [&](std::uint32_t offset) {
        return front_end.acked(request::kSetConfig,
                               Payload().u32(offset).u32(1).u32(0).add(ConstBytes(zero)));
    };

    EXPECT_EQ(write(32), 0U);
    EXPECT_NE(write(92), 0U);

    front_end.send(request::kGetConfig, config_question(32, 1));
    EXPECT_EQ(front_end.receive()->payload[12], std::byte{0});
}

// --- stopping ---------------------------------------------------------------------------------

TEST_F(SessionTest, stopped_ring_says_where_it_is_and_goes_on_there) {
    guest.boot();
    for (std::uint64_t i = 0; i < 5; ++i) guest.write(i, pattern(512, 1));

    EXPECT_EQ(guest.stop_queue(0), 5U);
    const TestGuest::Pending later = guest.add(0, kOut, 5, pattern(512, 1), 0);
    guest.queues[0].driver->publish();
    front_end.send(request::kSetVringBase, state(0, 5));
    front_end.send(request::kSetVringKick, u64(0), {guest.queues[0].kick.get()});
    front_end.send(request::kSetVringCall, u64(0), {guest.queues[0].call.get()});
    EXPECT_EQ(front_end.acked(request::kSetVringEnable, state(0, 1)), 0U);

    EXPECT_EQ(guest.wait_used(0, 1), 1U);
    EXPECT_EQ(guest.answer_of(later).status, kOk);
}

TEST_F(SessionTest, get_vring_base_waits_for_requests_in_flight_and_not_for_other_rings) {
    guest.boot();
    guest.start_queue(1);
    server.disk().hold = true;
    const TestGuest::Pending slow = guest.add(0, kOut, 0, pattern(512, 1), 0);
    guest.kick(0);
    ASSERT_TRUE(eventually([&] { return server.disk().arrived == 1; }));
    front_end.send(request::kGetVringBase, state(0, 0));
    let_time_pass();
    EXPECT_EQ(guest.answer_of(slow).status, 0xee) << "still in flight";
    EXPECT_EQ(guest.request(kGetId, 0, {}, 20, 1).status, kOk);

    server.disk().hold = false;
    const auto reply = front_end.receive();

    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(reply->number() >> 32, 1U);
    EXPECT_EQ(guest.answer_of(slow).status, kOk);
    EXPECT_EQ(guest.wait_used(0, 1, 0), 1U) << "used before the reply";
}

TEST_F(SessionTest, stopped_ring_is_left_alone) {
    guest.boot();
    guest.stop_queue(0);
    static_cast<void>(take_event(guest.queues[0].call, 100));

    const TestGuest::Pending late = guest.add(0, kOut, 0, pattern(512, 1), 0);
    guest.kick(0);
    let_time_pass();

    EXPECT_TRUE(front_end.is_alive());
    EXPECT_EQ(guest.answer_of(late).status, 0xee);
    EXPECT_FALSE(take_event(guest.queues[0].call, 0));
}

TEST_F(SessionTest, base_of_a_ring_that_never_ran_is_what_was_set) {
    guest.negotiate();
    front_end.send(request::kSetVringBase, state(1, 77));

    EXPECT_EQ(front_end.ask(request::kGetVringBase, state(1, 0)), (77ULL << 32) | 1);
    EXPECT_EQ(front_end.ask(request::kGetVringBase, state(0, 0)), 0U);
}

TEST_F(SessionTest, disabled_ring_executes_nothing_until_it_is_enabled) {
    guest.boot();
    EXPECT_EQ(front_end.acked(request::kSetVringEnable, state(0, 0)), 0U);
    const TestGuest::Pending pending = guest.add(0, kOut, 0, pattern(512, 1), 0);
    guest.kick(0);
    let_time_pass();
    EXPECT_EQ(server.disk().arrived, 0U);

    EXPECT_EQ(front_end.acked(request::kSetVringEnable, state(0, 1)), 0U);

    EXPECT_EQ(guest.wait_used(0, 1), 1U);
    EXPECT_EQ(guest.answer_of(pending).status, kOk);
}

TEST_F(SessionTest, reset_device_stops_the_rings_and_keeps_memory_and_connection) {
    guest.boot();
    guest.write(0, pattern(512, 1));

    EXPECT_EQ(front_end.acked(request::kResetDevice), 0U);

    EXPECT_EQ(server.device_features(), 0U);
    guest.queues[0].driver.reset();
    EXPECT_EQ(front_end.acked(request::kSetFeatures, u64(TestGuest::kUsual)), 0U);
    guest.start_queue(0);
    EXPECT_EQ(guest.write(1, pattern(512, 1)).status, kOk);
}

TEST_F(SessionTest, reset_owner_stops_the_rings_and_other_features_can_be_negotiated) {
    guest.boot();
    EXPECT_EQ(front_end.acked(request::kResetOwner), 0U);
    guest.add(0, kOut, 0, pattern(512, 1), 0);
    guest.kick(0);
    let_time_pass();
    EXPECT_EQ(server.disk().arrived, 0U);

    guest.queues[0].driver.reset();
    guest.features = TestGuest::kUsual | TestGuest::kPacked;
    EXPECT_EQ(front_end.acked(request::kSetFeatures, u64(guest.features)), 0U);
    guest.start_queue(0, SetupOrder::rust);
    EXPECT_EQ(guest.write(0, pattern(512, 1)).status, kOk);
}

TEST_F(SessionTest, ring_that_is_disabled_and_not_stopped_can_be_set_up_anew) {
    guest.boot();
    guest.write(0, pattern(512, 1));
    EXPECT_EQ(front_end.acked(request::kSetVringEnable, state(0, 0)), 0U);

    guest.queues[0].driver.reset();
    guest.features = TestGuest::kUsual | TestGuest::kEventIdx;
    EXPECT_EQ(front_end.acked(request::kSetFeatures, u64(guest.features)), 0U);
    guest.start_queue(0, SetupOrder::rust, 32);

    EXPECT_EQ(guest.write(1, pattern(512, 1)).status, kOk);
}

// --- messages of ours -------------------------------------------------------------------------

class ConfigChangeTest : public SessionTest {
  protected:
    ConfigChangeTest() {
        std::array<int, 2> ends{};
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
        ours.reset(ends[0]);
        theirs.reset(ends[1]);
    }
    UniqueFd ours;
    UniqueFd theirs;
};

TEST_F(ConfigChangeTest, front_end_that_wants_to_be_told_is_told) {
    guest.boot();
    EXPECT_EQ(front_end.acked(request::kSetBackendReqFd, {}, {theirs.get()}), 0U);

    EXPECT_TRUE(server.notify_config_change());

    std::array<std::uint32_t, 3> message{};
    ASSERT_EQ(::recv(ours.get(), message.data(), sizeof message, 0), 12);
    EXPECT_EQ(message, (std::array<std::uint32_t, 3>{2, 1, 0}));
}

TEST_F(ConfigChangeTest, front_end_is_not_spoken_to_while_no_ring_runs) {
    EXPECT_FALSE(server.notify_config_change());
    guest.negotiate();
    EXPECT_EQ(front_end.acked(request::kSetBackendReqFd, {}, {theirs.get()}), 0U);

    EXPECT_FALSE(server.notify_config_change());
}

TEST_F(ConfigChangeTest, front_end_that_never_reads_blocks_nothing) {
    guest.boot();
    EXPECT_EQ(front_end.acked(request::kSetBackendReqFd, {}, {theirs.get()}), 0U);

    int told = 0;
    while (told < 1'000'000 && server.notify_config_change()) ++told;

    EXPECT_GT(told, 0);
    EXPECT_FALSE(server.notify_config_change());
    EXPECT_EQ(guest.write(0, pattern(512, 1)).status, kOk);
}

// --- memory -----------------------------------------------------------------------------------

/// How often this process, front end and server, has the file mapped.
std::size_t mappings_of(int fd) {
    struct stat status = {};
    EXPECT_EQ(::fstat(fd, &status), 0);
    const std::string inode = " " + std::to_string(status.st_ino) + " ";
    std::ifstream maps("/proc/self/maps");
    std::size_t count = 0;
    for (std::string line; std::getline(maps, line);) {
        const bool is_memfd = line.find("/memfd:") != std::string::npos;
        if (is_memfd && line.find(inode) != std::string::npos) ++count;
    }
    return count;
}

TEST_F(SessionTest, memory_slots_come_and_go_while_the_ring_runs) {
    guest.negotiate();
    EXPECT_EQ(front_end.acked(request::kAddMemReg, Payload().u64(0).region(guest.memory.place()),
                              {guest.memory.fd()}),
              0U);
    guest.start_queue(0);
    test::DriverMemory more(kMiB);
    MemoryRegion::Place second = more.place();
    second.guest_address += kGiB;
    second.user_address += kGiB;
    const Payload slot = Payload().u64(0).region(second);
    const std::size_t own_mappings = mappings_of(more.fd());

    EXPECT_EQ(front_end.acked(request::kAddMemReg, slot, {more.fd()}), 0U);
    EXPECT_EQ(guest.write(0, pattern(512, 1)).status, kOk);
    EXPECT_EQ(mappings_of(more.fd()), own_mappings + 1);
    EXPECT_NE(front_end.acked(request::kAddMemReg, slot, {more.fd()}), 0U) << "twice";
    EXPECT_EQ(front_end.acked(request::kRemMemReg, slot, {more.fd()}), 0U);
    EXPECT_EQ(mappings_of(more.fd()), own_mappings) << "an ended request must not keep it";
    EXPECT_NE(front_end.acked(request::kRemMemReg, slot), 0U) << "gone";

    EXPECT_EQ(guest.write(1, pattern(512, 1)).status, kOk);
}

TEST_F(SessionTest, table_is_replaced_while_requests_are_in_flight) {
    guest.boot();
    server.disk().hold = true;
    const TestGuest::Pending slow = guest.add(0, kOut, 0, pattern(512, 1), 0);
    guest.kick(0);
    ASSERT_TRUE(eventually([&] { return server.disk().arrived == 1; }));

    guest.share_memory();
    server.disk().hold = false;

    EXPECT_EQ(guest.wait_used(0, 1), 1U);
    EXPECT_EQ(guest.answer_of(slow).status, kOk);
    EXPECT_EQ(guest.write(1, pattern(512, 1)).status, kOk);
}

TEST_F(SessionTest, ring_pauses_while_its_memory_is_gone_and_goes_on_when_it_is_back) {
    guest.boot();
    guest.write(0, pattern(512, 1));
    test::DriverMemory other(kMiB);
    MemoryRegion::Place elsewhere = other.place();
    elsewhere.guest_address += kGiB;
    elsewhere.user_address += kGiB;
    EXPECT_EQ(front_end.acked(request::kSetMemTable, Payload().u32(1).u32(0).region(elsewhere),
                              {other.fd()}),
              0U);
    guest.add(0, kOut, 1, pattern(512, 1), 0);
    guest.kick(0);
    let_time_pass();
    EXPECT_EQ(server.disk().arrived, 1U);

    guest.share_memory();

    EXPECT_EQ(guest.wait_used(0, 1), 1U);
}

TEST_F(SessionTest, last_slot_can_be_removed) {
    guest.boot();
    const Payload slot = Payload().u64(0).region(guest.memory.place());

    EXPECT_EQ(front_end.acked(request::kRemMemReg, slot), 0U);
    EXPECT_EQ(front_end.acked(request::kAddMemReg, slot, {guest.memory.fd()}), 0U);

    EXPECT_EQ(guest.write(0, pattern(512, 1)).status, kOk);
}

TEST_F(SessionTest, bad_memory_tables_are_refused_and_the_old_one_stays) {
    guest.boot();
    const MemoryRegion::Place good = guest.memory.place();
    const auto refused = [&](const MemoryRegion::Place& place) {
        return front_end.acked(request::kSetMemTable, Payload().u32(1).u32(0).region(place),
                               {guest.memory.fd()}) != 0;
    };
    MemoryRegion::Place beyond = good;
    beyond.size += 4096;
    MemoryRegion::Place shifted = good;
    shifted.fd_offset = 4096;
    MemoryRegion::Place empty = good;
    empty.size = 0;
    MemoryRegion::Place wraps = good;
    wraps.guest_address = ~std::uint64_t{0} - 4096;
    MemoryRegion::Place huge = good;
    huge.size = ~std::uint64_t{0};
    MemoryRegion::Place far = good;
    far.fd_offset = ~std::uint64_t{0} - 100;

    EXPECT_TRUE(refused(beyond));
    EXPECT_TRUE(refused(shifted));
    EXPECT_TRUE(refused(empty));
    EXPECT_TRUE(refused(wraps));
    EXPECT_TRUE(refused(huge));
    EXPECT_TRUE(refused(far));
    EXPECT_NE(
        front_end.acked(request::kSetMemTable, Payload().u32(2).u32(0).region(good).region(good),
                        {guest.memory.fd(), guest.memory.fd()}),
        0U)
        << "overlapping";
    EXPECT_NE(
        front_end.acked(request::kSetMemTable, guest.memory_table(), {guest.queues[0].call.get()}),
        0U)
        << "an eventfd is no memory";

    EXPECT_EQ(guest.write(0, pattern(512, 1)).status, kOk);
}

// --- rings that are wrong ---------------------------------------------------------------------

TEST_F(SessionTest, ring_index_out_of_range_is_refused) {
    guest.negotiate();
    const UniqueFd event = make_event();
    for (const std::uint32_t code :
         {request::kSetVringNum, request::kSetVringBase, request::kSetVringEnable}) {
        EXPECT_NE(front_end.acked(code, state(2, 1)), 0U) << code;
        EXPECT_NE(front_end.acked(code, state(0xffffffff, 1)), 0U) << code;
    }
    EXPECT_NE(front_end.acked(request::kSetVringCall, u64(2), {event.get()}), 0U);
    EXPECT_NE(front_end.acked(request::kSetVringKick, u64(0xff), {event.get()}), 0U);

    EXPECT_TRUE(front_end.is_alive());
}

TEST_F(SessionTest, base_of_a_ring_that_does_not_exist_ends_the_connection) {
    guest.negotiate();
    front_end.send(request::kGetVringBase, state(2, 0), {},
                   FrontEnd::kVersion | FrontEnd::kNeedReply);

    EXPECT_TRUE(front_end.is_closed_by_peer());
}

TEST_F(SessionTest, split_ring_that_is_no_power_of_two_is_refused) {
    guest.negotiate();

    EXPECT_NE(front_end.acked(request::kSetVringNum, state(0, 0)), 0U);
    EXPECT_NE(front_end.acked(request::kSetVringNum, state(0, 96)), 0U);
    EXPECT_NE(front_end.acked(request::kSetVringNum, state(0, 65536)), 0U);
    EXPECT_EQ(front_end.acked(request::kSetVringNum, state(0, 128)), 0U);
}

TEST_F(SessionTest, packed_ring_may_have_any_size) {
    guest.negotiate(TestGuest::kUsual | TestGuest::kPacked);
    guest.share_memory();
    guest.start_queue(0, SetupOrder::qemu, 33);

    for (std::uint64_t i = 0; i < 50; ++i) {
        ASSERT_EQ(guest.write(i, pattern(512, 1)).status, kOk) << i;
    }
}

TEST_F(SessionTest, ring_outside_of_memory_does_not_run_and_its_error_descriptor_tells) {
    guest.boot();
    front_end.send(request::kSetVringNum, state(1, 64));
    front_end.send(request::kSetVringBase, state(1, 0));
    front_end.send(request::kSetVringKick, u64(1), {guest.queues[1].kick.get()});
    // The last descriptors of the table are beyond the end of memory.
    const std::uint64_t end = test::DriverMemory::kUserAddress + 4 * kMiB;
    const std::uint64_t inside = test::DriverMemory::kUserAddress;
    front_end.send(request::kSetVringAddr,
                   Payload().u32(1).u32(0).u64(end - 512).u64(inside).u64(inside).u64(0));

    EXPECT_NE(front_end.acked(request::kSetVringEnable, state(1, 1)), 0U);

    EXPECT_TRUE(take_event(guest.queues[1].error));
    EXPECT_EQ(guest.write(0, pattern(512, 1), 0).status, kOk);
}

TEST_F(SessionTest, size_and_base_of_a_running_ring_cannot_change) {
    guest.boot();

    EXPECT_NE(front_end.acked(request::kSetVringNum, state(0, 32)), 0U);
    EXPECT_NE(front_end.acked(request::kSetVringBase, state(0, 3)), 0U);
    Payload elsewhere;
    elsewhere.u32(0)
        .u32(0)
        .u64(0x7000'0000'1000)
        .u64(0x7000'0000'2000)
        .u64(0x7000'0000'3000)
        .u64(0);
    EXPECT_NE(front_end.acked(request::kSetVringAddr, elsewhere), 0U);

    EXPECT_EQ(guest.write(0, pattern(512, 1)).status, kOk);
}

TEST_F(SessionTest, descriptor_that_is_no_eventfd_is_refused) {
    guest.boot();
    EXPECT_NE(front_end.acked(request::kSetVringCall, u64(0), {guest.memory.fd()}), 0U);
    EXPECT_NE(front_end.acked(request::kSetVringKick, u64(0), {front_end.fd()}), 0U);
    EXPECT_NE(front_end.acked(request::kSetBackendReqFd, {}, {guest.memory.fd()}), 0U);

    EXPECT_EQ(guest.write(0, pattern(512, 1)).status, kOk);
}

TEST_F(SessionTest, broken_ring_stops_alone_and_tells_its_error_descriptor) {
    guest.boot();
    guest.start_queue(1);
    // The available index runs away.
    const std::uint64_t index_at = guest.queues[0].driver->guest_layout().driver + 2;
    store_le<std::uint16_t>(guest.memory.at({index_at, 2}).data(), 5000);
    constexpr std::uint64_t kOne = 1;
    ASSERT_EQ(::write(guest.queues[0].kick.get(), &kOne, sizeof kOne), 8);

    EXPECT_TRUE(take_event(guest.queues[0].error));

    EXPECT_EQ(guest.write(0, pattern(512, 1), 1).status, kOk);
    EXPECT_TRUE(front_end.is_alive());
    guest.stop_queue(0);
    guest.queues[0].driver.reset();
    guest.start_queue(0);
    EXPECT_EQ(guest.write(1, pattern(512, 1), 0).status, kOk) << "a new start mends it";
}

TEST_F(SessionTest, chain_with_an_address_outside_of_memory_comes_back_with_nothing_written) {
    guest.boot();
    guest.queues[0].driver->add({{0x10, 16, false}, {0x20, 1, true}}, test::ChainForm::direct);
    guest.kick(0);

    EXPECT_EQ(guest.wait_used(0, 1), 1U);
    EXPECT_EQ(guest.last_written, 0U);
    EXPECT_EQ(guest.write(0, pattern(512, 1)).status, kOk);
}

// --- messages that are wrong ------------------------------------------------------------------

TEST_F(SessionTest, malformed_messages_are_refused_one_by_one) {
    guest.boot();
    EXPECT_NE(front_end.acked(request::kSetFeatures, Payload().u32(1)), 0U);
    EXPECT_NE(front_end.acked(request::kSetMemTable, guest.memory_table()), 0U) << "no descriptor";
    EXPECT_NE(front_end.acked(request::kSetMemTable, guest.memory_table(),
                              {guest.memory.fd(), guest.memory.fd()}),
              0U);
    EXPECT_NE(front_end.acked(request::kSetVringCall, u64(0)), 0U);
    EXPECT_NE(front_end.acked(request::kAddMemReg, u64(0), {guest.memory.fd()}), 0U);
    EXPECT_NE(front_end.acked(request::kSetVringEnable, state(0, 7)), 0U);
    EXPECT_NE(front_end.acked(request::kSetLogFd), 0U);

    EXPECT_EQ(guest.write(0, pattern(512, 1)).status, kOk);
    EXPECT_EQ(server.counters().protocol_errors, 0U);
}

TEST_F(SessionTest, malformed_message_that_wants_no_answer_ends_the_connection) {
    guest.boot();
    front_end.send(request::kSetVringNum, Payload().u32(0));

    EXPECT_TRUE(front_end.is_closed_by_peer());
    EXPECT_TRUE(eventually([&] { return server.counters().protocol_errors == 1; }));
}

TEST_F(SessionTest, malformed_question_ends_the_connection_as_no_answer_would_be_understood) {
    guest.negotiate();
    front_end.send(request::kGetFeatures, u64(0), {}, FrontEnd::kVersion | FrontEnd::kNeedReply);

    EXPECT_TRUE(front_end.is_closed_by_peer());
}

TEST_F(SessionTest, too_many_descriptors_end_the_connection) {
    const UniqueFd event = make_event();
    front_end.send(request::kSetOwner, {}, std::vector<int>(40, event.get()));

    EXPECT_TRUE(front_end.is_closed_by_peer());
}

TEST_F(SessionTest, descriptors_on_a_message_that_takes_none_are_closed) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe(ends.data()), 0);
    const UniqueFd reader(ends[0]);
    UniqueFd writer(ends[1]);
    front_end.send(request::kSetOwner, {}, {writer.get(), writer.get()});
    EXPECT_TRUE(front_end.is_alive());
    writer.reset();

    std::byte byte{};
    EXPECT_EQ(::read(reader.get(), &byte, 1), 0) << "all write ends are closed";
}

TEST_F(SessionTest, garbage_ends_the_connection) {
    front_end.send_bytes(pattern(64, 3));

    EXPECT_TRUE(front_end.is_closed_by_peer());
}

// --- dirty log --------------------------------------------------------------------------------

class LogTest : public SessionTest {
  protected:
    static constexpr std::uint64_t kLogSize =
        (test::DriverMemory::kGuestAddress + 4 * kMiB) / 4096 / 8;

    LogTest() : log_fd(::memfd_create("log", MFD_CLOEXEC)) {
        EXPECT_EQ(::ftruncate(log_fd.get(), kLogSize), 0);
    }
    bool is_dirty(std::uint64_t guest_address) const {
        std::byte byte{};
        const std::uint64_t page = guest_address / 4096;
        EXPECT_EQ(::pread(log_fd.get(), &byte, 1, static_cast<off_t>(page / 8)), 1);
        return (std::to_integer<unsigned>(byte) >> (page % 8) & 1) != 0;
    }
    UniqueFd log_fd;
};

TEST_F(LogTest, pages_that_requests_write_are_marked_when_logging_is_switched_on) {
    guest.boot();
    static_cast<void>(guest.memory.allocate(8192));  // away from the ring
    const TestGuest::Pending before = guest.add(0, kIn, 0, {}, 512);
    guest.kick(0);
    guest.wait_used(0, 1);
    static_cast<void>(guest.memory.allocate(8192));
    EXPECT_EQ(front_end.ask(request::kSetLogBase, Payload().u64(kLogSize).u64(0), {log_fd.get()}),
              0U);
    EXPECT_EQ(front_end.acked(request::kSetFeatures, u64(TestGuest::kUsual | TestGuest::kLogAll)),
              0U);
    EXPECT_EQ(front_end.acked(request::kSetVringAddr, guest.vring_addr(0, true)), 0U);

    const TestGuest::Pending during = guest.add(0, kIn, 0, {}, 512);
    guest.kick(0);
    guest.wait_used(0, 1);
    EXPECT_EQ(front_end.acked(request::kSetFeatures, u64(TestGuest::kUsual)), 0U);
    static_cast<void>(guest.memory.allocate(8192));
    const TestGuest::Pending after = guest.add(0, kIn, 0, {}, 512);
    guest.kick(0);
    guest.wait_used(0, 1);

    EXPECT_FALSE(is_dirty(before.data_at));
    EXPECT_TRUE(is_dirty(during.data_at));
    EXPECT_TRUE(is_dirty(during.status_at));
    EXPECT_TRUE(is_dirty(guest.queues[0].driver->guest_layout().device)) << "the used ring";
    EXPECT_FALSE(is_dirty(after.data_at));
    EXPECT_EQ(guest.answer_of(during).status, kOk);
}

TEST_F(LogTest, log_longer_than_its_file_is_refused) {
    guest.negotiate();

    EXPECT_NE(
        front_end.acked(request::kSetLogBase, Payload().u64(kLogSize + 1).u64(0), {log_fd.get()}),
        0U);
    EXPECT_TRUE(front_end.is_alive());
}

TEST_F(LogTest, log_descriptor_is_accepted) {
    guest.negotiate();
    const UniqueFd event = make_event();

    EXPECT_EQ(front_end.acked(request::kSetLogFd, {}, {event.get()}), 0U);
}

}  // namespace
}  // namespace zbdkit::vhost_user
