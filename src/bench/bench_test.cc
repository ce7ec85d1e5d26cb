// SPDX-License-Identifier: Apache-2.0
// Whole measurements of our own server on a thread: every operation, and what may go wrong.
#include "bench/bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <string>
#include <thread>
#include <tuple>

#include "tests/support/export/server_thread.h"
#include "tests/support/seed.h"

namespace zbdkit::bench {
namespace {

using test::FakeDisk;
using test::ServerThread;
using testing::HasSubstr;

/// Short, but with enough requests to fill zones of the fake disk, which have 256 blocks.
Settings quick(const ServerThread& server, Operation operation) {
    Settings settings;
    settings.socket_path = server.path();
    settings.operation = operation;
    settings.depth = 8;
    settings.run_ns = 60'000'000;
    settings.warm_up_ns = 5'000'000;
    settings.timeout_ns = 20'000'000'000;
    settings.seed = test::seed();
    return settings;
}

ServerThread::Options plain() { return {.model = ZoneModel::none}; }

Outcome<Results> measure(const Settings& settings) {
    const Outcome<Settings> checked = check_settings(settings);
    if (!checked) return std::unexpected(checked.error());
    return run(*checked, [](const Plan&) {});
}

std::string failure_of(const Settings& settings) {
    const Outcome<Results> results = measure(settings);
    return results ? "no failure" : results.error().message;
}

constexpr Operation kAllOperations[] = {Operation::read,     Operation::write,
                                        Operation::randread, Operation::randwrite,
                                        Operation::append,   Operation::mixed};

// --- every operation --------------------------------------------------------------------------

class BenchTest : public testing::TestWithParam<std::tuple<Operation, bool, Wait, bool>> {
  protected:
    [[nodiscard]] Settings settings(const ServerThread& server) const {
        Settings settings = quick(server, std::get<0>(GetParam()));
        settings.packed = std::get<1>(GetParam());
        settings.wait = std::get<2>(GetParam());
        settings.verify = std::get<3>(GetParam());
        settings.queue_count = 2;
        settings.zone_count = 4;
        return settings;
    }
};
INSTANTIATE_TEST_SUITE_P(All, BenchTest,
                         testing::Combine(testing::ValuesIn(kAllOperations), testing::Bool(),
                                          testing::Values(Wait::poll, Wait::event),
                                          testing::Bool()));

TEST_P(BenchTest, of_a_zoned_disk) {
    ServerThread server;
    const Outcome<Results> results = measure(settings(server));
    ASSERT_TRUE(results.has_value()) << results.error().message;
    EXPECT_GT(results->meter.requests, 0U);
    EXPECT_GT(results->meter.elapsed_ns, 0U);
    EXPECT_LE(results->meter.latency.count(), results->meter.requests);
    EXPECT_EQ(results->plan.zone_count, 4U);
    // Nothing beyond the zones in use was touched.
    for (std::uint32_t zone = 4; zone < FakeDisk::kZoneCount; ++zone) {
        EXPECT_EQ(server.on_reactor([&] { return server.disk().written(zone); }), 0U);
    }
}

class PlainBenchTest : public BenchTest {};
INSTANTIATE_TEST_SUITE_P(All, PlainBenchTest,
                         testing::Combine(testing::Values(Operation::read, Operation::write,
                                                          Operation::randread, Operation::randwrite,
                                                          Operation::mixed),
                                          testing::Bool(), testing::Values(Wait::poll, Wait::event),
                                          testing::Bool()));

TEST_P(PlainBenchTest, of_a_plain_disk) {
    ServerThread server(plain());
    Settings wished = settings(server);
    wished.zone_count.reset();
    wished.range = 1 << 20;
    const Outcome<Results> results = measure(wished);
    ASSERT_TRUE(results.has_value()) << results.error().message;
    EXPECT_GT(results->meter.requests, 0U);
    EXPECT_EQ(results->plan.range, 1U << 20);
    EXPECT_EQ(results->blocks_verified > 0, wished.verify);
}

TEST(Bench, reads_of_a_zoned_disk_are_filled_first) {
    ServerThread server;
    Settings settings = quick(server, Operation::randread);
    settings.zone_first = 2;
    settings.zone_count = 2;
    const Outcome<Results> results = measure(settings);
    ASSERT_TRUE(results.has_value()) << results.error().message;
    EXPECT_EQ(results->plan.bytes_filled, 2 * FakeDisk::kZoneSize);
    EXPECT_EQ(server.on_reactor([&] { return server.disk().written(2); }), FakeDisk::kZoneSize);
    EXPECT_EQ(server.on_reactor([&] { return server.disk().written(1); }), 0U);
}

TEST(Bench, full_zones_are_reset_and_counted) {
    ServerThread server;
    Settings settings = quick(server, Operation::append);
    settings.zone_count = 1;
    settings.block_size = 64 * 1024;  // 16 fill the zone
    const Outcome<Results> results = measure(settings);
    ASSERT_TRUE(results.has_value()) << results.error().message;
    EXPECT_GT(results->meter.resets, 0U);
}

TEST(Bench, a_client_that_polls_gets_hardly_a_call) {
    ServerThread server(plain());
    const Outcome<Results> results = measure(quick(server, Operation::randread));
    ASSERT_TRUE(results.has_value()) << results.error().message;
    EXPECT_LE(results->meter.calls, 1U);
    EXPECT_GT(results->meter.kicks, 0U);
}

TEST(Bench, a_client_that_sleeps_is_called) {
    ServerThread server(plain());
    Settings settings = quick(server, Operation::randread);
    settings.wait = Wait::event;
    settings.depth = 1;
    const Outcome<Results> results = measure(settings);
    ASSERT_TRUE(results.has_value()) << results.error().message;
    EXPECT_GT(results->meter.calls, 0U);
    EXPECT_LE(results->meter.calls, results->meter.requests + 1);
}

TEST(Bench, what_the_server_used_is_known) {
    ServerThread server(plain());
    const Outcome<Results> results = measure(quick(server, Operation::randread));
    ASSERT_TRUE(results.has_value()) << results.error().message;
    EXPECT_EQ(results->server_pid, ::getpid());
    EXPECT_GT(results->meter.server.cpu_ns.value_or(0), 0U);
    EXPECT_GT(results->meter.client_cpu_ns, 0U);
}

// --- what is wrong with the disk --------------------------------------------------------------

class SpoiltDiskTest : public testing::TestWithParam<Operation> {};
INSTANTIATE_TEST_SUITE_P(All, SpoiltDiskTest, testing::ValuesIn(kAllOperations));

TEST_P(SpoiltDiskTest, verify_finds_a_flipped_byte) {
    ServerThread server;
    server.disk().spoil_reads = true;
    Settings settings = quick(server, GetParam());
    settings.verify = true;
    EXPECT_THAT(failure_of(settings),
                AllOf(HasSubstr("read at sector "), HasSubstr("found its stamp with other bytes")));
}

TEST(Bench, a_write_that_is_lost_is_found) {
    ServerThread server(plain());
    Settings settings = quick(server, Operation::write);
    settings.range = 4 * settings.block_size;
    settings.depth = 1;
    settings.verify = true;
    server.disk().lose_writes = true;
    EXPECT_THAT(failure_of(settings), AllOf(HasSubstr("read at sector 0 (byte 0): expected write "),
                                            HasSubstr("found no stamp")));
}

TEST(Bench, an_error_of_the_disk_ends_it) {
    ServerThread server(plain());
    server.disk().fail_all = true;
    Settings settings = quick(server, Operation::read);
    settings.depth = 1;
    EXPECT_EQ(failure_of(settings), "read at sector 0 (byte 0): the server answered IOERR (1)");
}

// --- what is wrong with the server ------------------------------------------------------------

TEST(Bench, a_server_that_ends_is_noticed) {
    for (const Wait wait : {Wait::poll, Wait::event}) {
        ServerThread server(plain());
        Settings settings = quick(server, Operation::randread);
        settings.wait = wait;
        settings.run_ns = 600'000'000'000;
        auto measured = std::async(std::launch::async, [&] { return failure_of(settings); });
        while (server.disk().ended < 100) std::this_thread::yield();
        server.stop();
        EXPECT_THAT(measured.get(), HasSubstr("the server hung up"));
    }
}

TEST(Bench, a_server_that_does_nothing_is_given_up) {
    for (const Wait wait : {Wait::poll, Wait::event}) {
        ServerThread server(plain());
        server.disk().hold = true;
        Settings settings = quick(server, Operation::randread);
        settings.wait = wait;
        settings.timeout_ns = 50'000'000;
        EXPECT_EQ(failure_of(settings), "no request has ended for 50 ms, 8 are in flight");
        server.disk().hold = false;
    }
}

// --- what cannot be measured ------------------------------------------------------------------

TEST(Bench, a_range_beyond_the_disk) {
    ServerThread server(plain());
    Settings settings = quick(server, Operation::randread);
    settings.range = 16 << 20;
    EXPECT_EQ(failure_of(settings),
              "range of 16 MiB: expected one block of 4 KiB at least and 8 MiB at most, which the "
              "disk has");
}

TEST(Bench, append_without_zones) {
    ServerThread server(plain());
    EXPECT_THAT(failure_of(quick(server, Operation::append)),
                HasSubstr("append needs a host-managed disk"));
}

TEST(Bench, zones_of_a_plain_disk_and_a_range_of_zones) {
    ServerThread plain_server(plain());
    Settings settings = quick(plain_server, Operation::randread);
    settings.zone_count = 1;
    EXPECT_THAT(failure_of(settings), HasSubstr("--zones and --zone-first need a host-managed"));
    ServerThread zoned_server;
    settings = quick(zoned_server, Operation::randread);
    settings.range = 4096;
    EXPECT_THAT(failure_of(settings), HasSubstr("--range needs a disk without zones"));
}

TEST(Bench, more_zones_than_there_are) {
    ServerThread server;
    Settings settings = quick(server, Operation::randread);
    settings.zone_first = 6;
    settings.zone_count = 3;
    EXPECT_EQ(failure_of(settings), "3 zones from zone 6 on: the disk has 2 sequential ones there");
    settings.zone_first = 100;
    EXPECT_EQ(failure_of(settings),
              "3 zones from zone 100 on: the disk has 0 sequential ones there");
}

TEST(Bench, an_append_larger_than_the_disk_takes) {
    ServerThread server;
    Settings settings = quick(server, Operation::append);
    settings.block_size = 128 * 1024;
    EXPECT_THAT(failure_of(settings), HasSubstr("the disk takes appends of up to 65536 bytes"));
}

TEST(Bench, more_queues_than_zones_to_write) {
    ServerThread server;
    Settings settings = quick(server, Operation::randwrite);
    settings.queue_count = 2;
    settings.zone_count = 1;
    EXPECT_THAT(failure_of(settings), HasSubstr("expected a zone for each queue"));
    settings.operation = Operation::append;
    EXPECT_EQ(failure_of(settings), "no failure");
}

TEST(Bench, writes_to_a_read_only_disk) {
    ServerThread server({.model = ZoneModel::none,
                         .device = {.serial = "fake", .queue_count = 2, .writable = false}});
    EXPECT_EQ(failure_of(quick(server, Operation::mixed)), "the disk is read-only");
    EXPECT_EQ(failure_of(quick(server, Operation::randread)), "no failure");
}

TEST(BenchSettings, what_cannot_be_right) {
    const auto refusal = [](auto change) {
        Settings settings;
        change(settings);
        const Outcome<Settings> checked = check_settings(settings);
        return checked ? "fine" : checked.error().message;
    };
    EXPECT_EQ(refusal([](Settings& s) { s.block_size = 1000; }),
              "--block-size 1000: expected a multiple of 512, at most 16 MiB");
    EXPECT_EQ(refusal([](Settings& s) { s.depth = 0; }), "--depth 0: expected 1 to 10922");
    EXPECT_EQ(refusal([](Settings& s) { s.queue_count = 0; }), "--queues 0: expected 1 to 256");
    EXPECT_EQ(refusal([](Settings& s) { s.queue_size = 64; }),
              "--queue-size 64: expected at least 96: 3 descriptors for each of 32 requests");
    EXPECT_THAT(refusal([](Settings& s) { s.queue_size = 100; }), HasSubstr("a power of two"));
    EXPECT_EQ(refusal([](Settings& s) {
                  s.queue_size = 100;
                  s.packed = true;
              }),
              "fine");
    EXPECT_EQ(refusal([](Settings& s) { s.read_percent = 101; }),
              "--read-percent 101: expected 0 to 100");
    EXPECT_EQ(refusal([](Settings& s) { s.run_ns = 0; }), "--seconds 0: expected more than 0");
    EXPECT_EQ(refusal([](Settings& s) { s.timeout_ns = 0; }), "--timeout 0: expected more than 0");
}

TEST(BenchSettings, the_ring_is_as_large_as_the_depth_needs) {
    Settings settings;
    EXPECT_EQ(check_settings(settings)->queue_size, 128U);
    settings.depth = 64;
    EXPECT_EQ(check_settings(settings)->queue_size, 256U);
}

}  // namespace
}  // namespace zbdkit::bench
