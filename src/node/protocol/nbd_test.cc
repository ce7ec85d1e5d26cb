// SPDX-License-Identifier: Apache-2.0
// Against a real server: nbdkit, a process of its own that a test can freeze and kill.
#include "node/protocol/nbd.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/unique_fd.h"
#include "node/protocol/nbd_connection.h"
#include "tests/support/node/listening_port.h"
#include "tests/support/node/nbd_fixture.h"

namespace zbdkit {
namespace {

using test::contains;
using test::kOk;
using test::Nbd;
using test::Pending;

// --- What the server says -----------------------------------------------------------------------

TEST_F(Nbd, export_without_constraints_has_blocks_of_512_and_all_operations) {
    server_.start({"memory", "1M"});
    ASSERT_EQ(open(), "");
    EXPECT_EQ(node_->info().size, 1048576U);
    EXPECT_EQ(node_->info().block_size, 512U);
    EXPECT_EQ(node_->info().physical_block_size, 4096U);
    EXPECT_EQ(node_->info().memory_alignment, 1U);
    EXPECT_FALSE(node_->info().read_only);
    EXPECT_EQ(node_->info().ops,
              (OpSet{Op::read, Op::write, Op::write_zeroes, Op::discard, Op::flush}));
    EXPECT_EQ(node_->describe(), server_.uri());
}

TEST_F(Nbd, block_sizes_of_the_server_become_those_of_the_node) {
    server_.start({"--filter=blocksize-policy", "memory", "1M", "blocksize-minimum=2K",
                   "blocksize-preferred=16K", "blocksize-maximum=1M"});
    ASSERT_EQ(open(), "");
    EXPECT_EQ(node_->info().block_size, 2048U);
    EXPECT_EQ(node_->info().physical_block_size, 16384U);
    EXPECT_EQ(answer_of(range_request(Op::discard, {512, 512})), Errc::misaligned);
}

TEST_F(Nbd, request_above_the_largest_the_server_takes_is_split) {
    server_.start({"--filter=blocksize-policy", "memory", "4M", "blocksize-preferred=4K",
                   "blocksize-maximum=64K", "blocksize-error-policy=error"});
    ASSERT_EQ(open(), "");
    EXPECT_EQ(write({512, 1'000'448}, 0x5a), kOk);
    EXPECT_EQ(count({0, kMiB}, 0x5a), 1'000'448U);
}

TEST_F(Nbd, size_off_the_block_grid_leaves_out_the_rest) {
    server_.start({"memory", "1300"});
    ASSERT_EQ(open(), "");
    EXPECT_EQ(node_->info().size, 1024U);
}

TEST_F(Nbd, export_smaller_than_a_block_is_refused) {
    server_.start({"memory", "100"});
    EXPECT_TRUE(contains(open(), "the export of 100 bytes has no block of 512 bytes"));
}

TEST_F(Nbd, read_only_export_is_opened_for_reading_only) {
    server_.start({"-r", "memory", "1M"});
    const std::string message = open();
    EXPECT_TRUE(contains(message, "expected read-only=on")) << message;
    ASSERT_EQ(open(",read-only=on"), "");
    EXPECT_EQ(count({0, 4096}, 0), 4096U);
    EXPECT_EQ(write({0, 4096}, 1), Errc::read_only);
}

TEST_F(Nbd, writable_export_opened_for_reading_refuses_writes) {
    server_.start({"memory", "1M"});
    ASSERT_EQ(open(",read-only=on"), "");
    EXPECT_EQ(write({0, 4096}, 1), Errc::read_only);
}

TEST_F(Nbd, server_without_trim_has_no_discard) {
    server_.start({"eval", "get_size=echo 1M", "pread=head -c $3 /dev/zero", "can_write=exit 0",
                   "pwrite=cat >/dev/null"});
    ASSERT_EQ(open(), "");
    EXPECT_FALSE(node_->info().ops.has(Op::discard));
    EXPECT_EQ(answer_of(range_request(Op::discard, {0, 4096})), Errc::not_supported);
    EXPECT_EQ(count({0, 4096}, 0), 4096U);
}

// --- Requests -----------------------------------------------------------------------------------

TEST_F(Nbd, what_is_written_is_read_back) {
    server_.start({"memory", "1M"});
    ASSERT_EQ(open(), "");
    EXPECT_EQ(write({4096, 8192}, 0x5a), kOk);
    EXPECT_EQ(count({0, 16384}, 0x5a), 8192U);
    EXPECT_EQ(count({4096, 8192}, 0x5a), 8192U);
}

TEST_F(Nbd, segments_of_any_length_and_place_are_one_request) {
    server_.start({"--filter=log", "memory", "1M", log_option()});
    ASSERT_EQ(open(), "");
    AlignedBuffer buffer(4096);
    std::ranges::fill(buffer.bytes().subspan(0, 4096), std::byte{1});
    std::ranges::fill(buffer.bytes().subspan(7, 100), std::byte{2});
    const std::vector<iovec> segments = {segment_of(buffer.bytes().subspan(7, 100)),
                                         segment_of(buffer.bytes().subspan(1001, 412))};
    EXPECT_EQ(answer_of(write_request({512, 512}, segments)), kOk);
    EXPECT_EQ(count({512, 512}, 2), 100U);
    EXPECT_EQ(count({512, 512}, 1), 412U);

    std::ranges::fill(buffer.bytes(), std::byte{0});
    EXPECT_EQ(answer_of(read_request({512, 512}, segments)), kOk);
    EXPECT_EQ(std::ranges::count(buffer.bytes(), std::byte{2}), 100);
    EXPECT_EQ(std::ranges::count(buffer.bytes(), std::byte{1}), 412);
    const std::string log = log_of_server();
    EXPECT_TRUE(contains(log, "Write id=1 offset=0x200 count=0x200")) << log;
}

TEST_F(Nbd, many_requests_at_once_that_fill_the_socket_all_end) {
    server_.start({"memory", "64M"});
    ASSERT_EQ(open(",connections=1"), "");
    std::vector<std::unique_ptr<Pending>> writes;
    for (std::uint8_t i = 0; i < 32; ++i) {
        writes.push_back(std::make_unique<Pending>(2 * kMiB));
        start_write(*writes.back(), i * 2 * kMiB, i);
    }
    finish();
    for (std::uint8_t i = 0; i < 32; ++i) {
        EXPECT_EQ(writes[i]->answer(), kOk);
        EXPECT_EQ(count({i * 2 * kMiB, 2 * kMiB}, i), 2 * kMiB);
    }
}

TEST_F(Nbd, zeroes_and_discards_reach_their_range_and_no_more) {
    server_.start({"memory", "1M"});
    ASSERT_EQ(open(), "");
    ASSERT_EQ(write({0, 65536}, 0xff), kOk);
    EXPECT_EQ(answer_of(range_request(Op::write_zeroes, {4096, 8192})), kOk);
    EXPECT_EQ(count({0, 65536}, 0xff), 57344U);
    EXPECT_EQ(count({4096, 8192}, 0), 8192U);
    EXPECT_EQ(answer_of(range_request(Op::discard, {32768, 4096})), kOk);
    EXPECT_EQ(count({32768, 4096}, 0), 4096U);
}

TEST_F(Nbd, server_without_zero_gets_zeroes_written) {
    server_.start({"--filter=log", "--filter=nozero", "memory", "8M", log_option()});
    ASSERT_EQ(open(), "");
    ASSERT_EQ(write({0, 4 * kMiB}, 0xff), kOk);
    EXPECT_EQ(answer_of(range_request(Op::write_zeroes, {4096, 3 * kMiB})), kOk);
    EXPECT_EQ(count({0, 4 * kMiB}, 0), 3 * kMiB);
    EXPECT_FALSE(contains(log_of_server(), "Zero"));
}

TEST_F(Nbd, empty_requests_succeed_and_are_not_sent) {
    server_.start({"--filter=log", "memory", "1M", log_option()});
    ASSERT_EQ(open(), "");
    EXPECT_EQ(answer_of(write_request({512, 0}, {})), kOk);
    EXPECT_EQ(answer_of(range_request(Op::discard, {512, 0})), kOk);
    const std::string log = log_of_server();
    EXPECT_FALSE(contains(log, "Write")) << log;
    EXPECT_FALSE(contains(log, "Trim")) << log;
}

TEST_F(Nbd, fua_goes_with_the_write_where_the_server_has_it) {
    server_.start({"--filter=log", "--filter=fua", "memory", "1M", "fuamode=native", log_option()});
    ASSERT_EQ(open(), "");
    EXPECT_EQ(write({0, 512}, 1, true), kOk);
    const std::string log = log_of_server();
    EXPECT_TRUE(contains(log, "fua=1")) << log;
    EXPECT_FALSE(contains(log, "Flush")) << log;
}

TEST_F(Nbd, flush_follows_the_write_where_the_server_has_no_fua) {
    server_.start({"--filter=log", "--filter=fua", "memory", "1M", log_option()});
    ASSERT_EQ(open(), "");
    EXPECT_EQ(write({0, 512}, 1, true), kOk);
    const std::string log = log_of_server();
    EXPECT_TRUE(contains(log, "fua=0")) << log;
    EXPECT_TRUE(contains(log, "Flush")) << log;
    EXPECT_FALSE(contains(log, "fua=1")) << log;
}

TEST_F(Nbd, errors_of_the_server_keep_their_meaning) {
    server_.start({"--filter=error", "memory", "1M", "error-pread=EIO", "error-pread-rate=100%",
                   "error-pwrite=ENOSPC", "error-pwrite-rate=100%", "error-trim=EPERM",
                   "error-trim-rate=100%", "error-zero=ENOMEM", "error-zero-rate=100%"});
    ASSERT_EQ(open(), "");
    AlignedBuffer buffer(512);
    const iovec segment = segment_of(buffer.bytes());
    EXPECT_EQ(answer_of(read_request({0, 512}, IoSegments(&segment, 1))), Errc::io);
    EXPECT_EQ(write({0, 512}, 1), Errc::no_space);
    EXPECT_EQ(answer_of(range_request(Op::discard, {0, 512})), Errc::read_only);
    EXPECT_EQ(answer_of(range_request(Op::write_zeroes, {0, 512})), Errc::io);
    EXPECT_EQ(flush(), kOk);
}

// Nothing is sent then, and so nothing answers.
TEST_F(Nbd, command_that_libnbd_refuses_ends_with_its_error) {
    server_.start({"memory", "1M"});
    NbdServer server{.uri = server_.uri(), .connect_timeout_ns = 10'000'000'000};
    auto opened = reactor_.run_to_end(NbdConnection::open(reactor_, pool_, server));
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    AlignedBuffer buffer(512);
    const NbdCommand beyond{.op = NbdOp::read, .range = {kMiB, 512}, .memory = buffer.data()};
    const NbdConnection::Answer refused = reactor_.run_to_end((*opened)->run(beyond));
    EXPECT_EQ(refused.end, NbdEnd::none);
    EXPECT_EQ(refused.os_errno, EINVAL);
    const NbdCommand within{.op = NbdOp::read, .range = {0, 512}, .memory = buffer.data()};
    EXPECT_EQ(reactor_.run_to_end((*opened)->run(within)).os_errno, 0);
}

// --- Several connections ------------------------------------------------------------------------

TEST_F(Nbd, server_that_allows_several_connections_gets_as_many_as_asked_for) {
    server_.start({"--filter=log", "memory", "1M", log_option()});
    ASSERT_EQ(open(",connections=3"), "");
    EXPECT_EQ(write({0, 512}, 1), kOk);
    EXPECT_EQ(write({512, 512}, 2), kOk);
    EXPECT_EQ(write({1024, 512}, 3), kOk);
    EXPECT_EQ(flush(), kOk);
    EXPECT_EQ(count({1024, 512}, 3), 512U);
    const std::string log = log_of_server();
    EXPECT_TRUE(contains(log, "connection=1 Write")) << log;
    EXPECT_TRUE(contains(log, "connection=2 Write")) << log;
    EXPECT_TRUE(contains(log, "connection=3 Write")) << log;
    EXPECT_FALSE(contains(log, "connection=4")) << log;
}

TEST_F(Nbd, server_that_does_not_allow_several_connections_gets_one) {
    server_.start({"--filter=log", "--filter=multi-conn", "memory", "1M", "multi-conn-mode=disable",
                   log_option()});
    ASSERT_EQ(open(",connections=3"), "");
    EXPECT_EQ(write({0, 512}, 1), kOk);
    EXPECT_FALSE(contains(log_of_server(), "connection=2"));
}

// --- Connecting ---------------------------------------------------------------------------------

TEST_F(Nbd, export_is_the_one_of_the_option_and_not_of_the_uri) {
    server_.start(
        {"--filter=exportname", "memory", "1M", "exportname=disk", "exportname-strict=true"});
    const std::string missing = open();
    EXPECT_TRUE(contains(missing, server_.uri())) << missing;
    const std::string other = open(",export=other");
    EXPECT_TRUE(contains(other, "(export 'other')': the server refuses the export: ")) << other;
    ASSERT_EQ(open(",export=disk"), "");
    EXPECT_EQ(node_->info().size, 1048576U);
}

TEST_F(Nbd, no_server_is_said_with_its_address) {
    const std::string message = open();
    EXPECT_TRUE(contains(message, "cannot connect to NBD server '" + server_.uri() + "': "));
    EXPECT_TRUE(contains(message, "No such file or directory")) << message;
}

/// A port of this host that listens, and answers nothing as nobody accepts.
struct SilentPort {
    SilentPort() : socket(test::listening_port("127.0.0.1")) {
        uri = "nbd://127.0.0.1:" + std::to_string(test::port_of(socket)) + "/";
    }
    UniqueFd socket;
    std::string uri;
};

TEST_F(Nbd, dead_port_is_said_with_its_address) {
    SilentPort port;
    port.socket.reset();
    const auto node = try_open("uri=" + port.uri);
    ASSERT_FALSE(node.has_value());
    EXPECT_TRUE(contains(node.error().message, port.uri)) << node.error().message;
    EXPECT_TRUE(contains(node.error().message, "Connection refused")) << node.error().message;
}

TEST_F(Nbd, server_that_says_nothing_is_given_up_after_the_connect_timeout) {
    const SilentPort port;
    const auto node = try_open("uri=" + port.uri + ",connect-timeout=1");
    ASSERT_FALSE(node.has_value());
    EXPECT_EQ(node.error().message,
              "cannot connect to NBD server '" + port.uri + "': no answer within 1 s");
}

TEST_F(Nbd, name_that_nobody_has_is_said_with_the_address) {
    const std::string message = refusal_of("uri=nbd://host.invalid/disk");
    EXPECT_TRUE(contains(message, "cannot connect to NBD server 'nbd://host.invalid/disk': "));
    EXPECT_TRUE(contains(message, "getaddrinfo: hostname \"host.invalid\"")) << message;
}

TEST_F(Nbd, server_on_an_ipv6_address_is_reached) {
    if (!test::listening_port("::1")) GTEST_SKIP() << "this host has no IPv6 address";
    server_.start_on("::1", {"memory", "1M"});
    auto node = try_open("uri=nbd://[::1]:" + std::to_string(server_.port()) + "/");
    ASSERT_TRUE(node.has_value()) << node.error().message;
    node_ = std::move(*node);
    EXPECT_EQ(write({0, 4096}, 0x5a), kOk);
    EXPECT_EQ(count({0, 4096}, 0x5a), 4096U);
}

TEST_F(Nbd, addresses_that_are_none_are_refused) {
    const std::vector<std::string> bad = {
        "http://host/",      "nbd:unix:/path", "/path",         "nbd+unix:///x",
        "nbd://host:port:/", "nbd://[/",       "nbds+unix:///", "nbd+unix:///?socket=",
    };
    for (const std::string& uri : bad) {
        const auto node = try_open("uri=" + uri);
        ASSERT_FALSE(node.has_value()) << uri;
        EXPECT_TRUE(contains(node.error().message, "'" + uri + "'")) << node.error().message;
    }
    EXPECT_TRUE(contains(try_open("export=x").error().message, "uri"));
}

TEST_F(Nbd, options_out_of_range_are_refused_before_anything_is_connected) {
    EXPECT_TRUE(contains(open(",connections=0"), "option 'connections': expected 1 to 16"));
    EXPECT_TRUE(contains(open(",connections=17"), "connections"));
    EXPECT_TRUE(contains(open(",connect-timeout=0"), "connect-timeout"));
    EXPECT_TRUE(contains(open(",reconnect-delay=x"), "reconnect-delay"));
    EXPECT_TRUE(contains(open(",request-timeout=-1"), "request-timeout"));
}

// --- A server that dies -------------------------------------------------------------------------

TEST_F(Nbd, server_that_dies_fails_what_is_in_flight_and_all_that_follows) {
    server_.start({"memory", "64M"});
    ASSERT_EQ(open(), "");
    server_.freeze();
    Pending read(4096);
    Pending write_small(4096);
    Pending write_large(16 * kMiB);
    Pending flush_all(0);
    start_read(read, 0);
    start_write(write_small, 4096, 1);
    start_write(write_large, kMiB, 2);
    start(flush_all, flush_request());
    EXPECT_FALSE(read.is_done);
    server_.kill();
    finish();
    EXPECT_EQ(read.answer(), Errc::io);
    EXPECT_EQ(write_small.answer(), Errc::io);
    EXPECT_EQ(write_large.answer(), Errc::io);
    EXPECT_EQ(flush_all.answer(), Errc::io);
    server_.start({"memory", "64M"});
    EXPECT_EQ(write({0, 512}, 1), Errc::io);
    EXPECT_EQ(flush(), Errc::io);
}

TEST_F(Nbd, node_of_a_server_that_died_idle_fails_the_next_request) {
    server_.start({"memory", "1M"});
    ASSERT_EQ(open(), "");
    server_.kill();
    EXPECT_EQ(write({0, 512}, 1), Errc::io);
}

TEST_F(Nbd, node_goes_without_close_where_nothing_is_in_flight) {
    server_.start({"memory", "1M"});
    ASSERT_EQ(open(",request-timeout=1000"), "");
    EXPECT_EQ(write({0, 512}, 1), kOk);
    node_.reset();
    ASSERT_EQ(open(), "");
}

TEST_F(Nbd, close_does_not_wait_for_a_server_that_does_not_answer) {
    server_.start({"memory", "1M"});
    ASSERT_EQ(open(",connections=1"), "");
    server_.freeze();
    EXPECT_TRUE(reactor_.run_to_end(node_->close()).has_value());
    EXPECT_EQ(write({0, 512}, 1), Errc::shutting_down);
    node_.reset();
}

TEST_F(Nbd, requests_in_flight_are_sent_again_to_the_server_that_came_back) {
    make_image(64 * kMiB);
    server_.start({"file", image()});
    ASSERT_EQ(open(",reconnect-delay=60"), "");
    ASSERT_EQ(write({0, 4096}, 0x11), kOk);
    ASSERT_EQ(flush(), kOk);
    server_.freeze();
    Pending read(4096);
    Pending write_small(4096);
    Pending write_large(16 * kMiB);
    start_read(read, 0);
    start_write(write_small, 4096, 0x22);
    start_write(write_large, kMiB, 0x33);
    server_.kill();
    server_.start({"file", image()});
    finish();
    EXPECT_EQ(read.answer(), kOk);
    EXPECT_EQ(read.buffer.bytes()[4095], std::byte{0x11});
    EXPECT_EQ(write_small.answer(), kOk);
    EXPECT_EQ(write_large.answer(), kOk);
    EXPECT_EQ(count({4096, 4096}, 0x22), 4096U);
    EXPECT_EQ(count({kMiB, 16 * kMiB}, 0x33), 16 * kMiB);
    EXPECT_EQ(flush(), kOk);
}

TEST_F(Nbd, server_that_dies_again_and_again_loses_no_write_in_flight) {
    make_image(4 * kMiB);
    server_.start({"file", image()});
    ASSERT_EQ(open(",reconnect-delay=60"), "");
    for (std::uint8_t round = 1; round <= 5; ++round) {
        std::vector<std::unique_ptr<Pending>> writes;
        for (std::uint64_t i = 0; i < 16; ++i) {
            writes.push_back(std::make_unique<Pending>(64 * kKiB));
            start_write(*writes.back(), i * 64 * kKiB, round);
        }
        run_until(writes.front()->is_done);
        server_.kill();
        server_.start({"file", image()});
        finish();
        for (const std::unique_ptr<Pending>& write : writes) EXPECT_EQ(write->answer(), kOk);
        EXPECT_EQ(count({0, kMiB}, round), kMiB);
    }
}

TEST_F(Nbd, requests_wait_for_a_server_that_is_away_for_a_while) {
    make_image(kMiB);
    server_.start({"file", image()});
    ASSERT_EQ(open(",reconnect-delay=60"), "");
    server_.kill();
    Pending first(4096);
    Pending second(4096);
    start_write(first, 0, 0x11);
    start_write(second, 4096, 0x22);
    // An attempt has failed when the wait for the next one begins.
    const std::uint64_t start_ns = reactor_.now_ns();
    while (reactor_.now_ns() < start_ns + 60'000'000) reactor_.turn(true);
    EXPECT_FALSE(first.is_done);
    server_.start({"file", image()});
    finish();
    EXPECT_EQ(first.answer(), kOk);
    EXPECT_EQ(second.answer(), kOk);
    EXPECT_EQ(count({4096, 4096}, 0x22), 4096U);
}

TEST_F(Nbd, server_that_does_not_come_back_fails_the_requests_after_the_delay) {
    server_.start({"memory", "1M"});
    ASSERT_EQ(open(",reconnect-delay=1"), "");
    server_.kill();
    const std::uint64_t start_ns = reactor_.now_ns();
    EXPECT_EQ(write({0, 512}, 1), Errc::io);
    EXPECT_GE(reactor_.now_ns() - start_ns, 1'000'000'000U);
    server_.start({"memory", "1M"});
    EXPECT_EQ(write({0, 512}, 1), Errc::io);
}

TEST_F(Nbd, server_that_comes_back_smaller_is_refused) {
    make_image(2 * kMiB);
    server_.start({"file", image()});
    ASSERT_EQ(open(",reconnect-delay=60"), "");
    server_.freeze();
    Pending write_low(4096);
    start_write(write_low, 0, 0x11);
    server_.kill();
    make_image(kMiB);
    server_.start({"file", image()});
    finish();
    ASSERT_FALSE(write_low.result.has_value());
    EXPECT_STREQ(write_low.result.error().text, "the NBD server came back with another export");
    EXPECT_EQ(write({0, 4096}, 1), Errc::io);
}

TEST_F(Nbd, server_that_comes_back_read_only_is_refused) {
    make_image(kMiB);
    server_.start({"file", image()});
    ASSERT_EQ(open(",reconnect-delay=60"), "");
    server_.kill();
    server_.start({"-r", "file", image()});
    EXPECT_EQ(write({0, 4096}, 1), Errc::io);
}

TEST_F(Nbd, server_that_is_shutting_down_is_lost) {
    server_.start(
        {"--filter=error", "memory", "1M", "error-pwrite=ESHUTDOWN", "error-pwrite-rate=100%"});
    ASSERT_EQ(open(), "");
    EXPECT_EQ(write({0, 512}, 1), Errc::io);
    EXPECT_EQ(count({0, 512}, 0), 0U);
}

TEST_F(Nbd, request_that_every_server_dies_of_fails_and_the_others_do_not) {
    server_.start(
        {"--filter=error", "memory", "1M", "error-pwrite=ESHUTDOWN", "error-pwrite-rate=100%"});
    ASSERT_EQ(open(",reconnect-delay=60"), "");
    AlignedBuffer buffer(512);
    const iovec segment = segment_of(buffer.bytes());
    const Result<void> written = submit(write_request({0, 512}, IoSegments(&segment, 1)));
    ASSERT_FALSE(written.has_value());
    EXPECT_STREQ(written.error().text,
                 "the NBD server ends the connection whenever it gets this request");
    EXPECT_EQ(count({0, 512}, 0), 512U);
}

// --- Flushes and lost writes --------------------------------------------------------------------

TEST_F(Nbd, first_flush_fails_after_writes_that_were_not_flushed_were_lost) {
    make_image(kMiB);
    server_.start({"file", image()});
    ASSERT_EQ(open(",reconnect-delay=60"), "");
    ASSERT_EQ(write({0, 4096}, 0x11), kOk);
    server_.kill();
    server_.start({"file", image()});
    ASSERT_EQ(count({4096, 4096}, 0), 4096U);  // finds the loss, and connects again
    const Result<void> first = submit(flush_request());
    ASSERT_FALSE(first.has_value());
    EXPECT_EQ(first.error().code, Errc::io);
    EXPECT_STREQ(first.error().text, "writes that were not flushed are lost with the NBD server");
    EXPECT_EQ(flush(), kOk);
}

TEST_F(Nbd, flush_that_finds_the_loss_fails_too) {
    make_image(kMiB);
    server_.start({"file", image()});
    ASSERT_EQ(open(",reconnect-delay=60"), "");
    ASSERT_EQ(write({0, 4096}, 0x11), kOk);
    server_.freeze();
    Pending one(0);
    Pending other(0);
    start(one, flush_request());
    start(other, flush_request());
    server_.kill();
    server_.start({"file", image()});
    finish();
    EXPECT_EQ(one.answer(), Errc::io);
    EXPECT_EQ(other.answer(), Errc::io);
}

TEST_F(Nbd, flush_succeeds_after_a_loss_of_nothing_but_flushed_and_durable_writes) {
    make_image(kMiB);
    server_.start({"file", image()});
    ASSERT_EQ(open(",reconnect-delay=60"), "");
    ASSERT_EQ(write({0, 4096}, 0x11), kOk);
    ASSERT_EQ(flush(), kOk);
    ASSERT_EQ(write({4096, 4096}, 0x22, true), kOk);
    server_.freeze();
    Pending in_flight(0);
    start(in_flight, flush_request());
    server_.kill();
    server_.start({"file", image()});
    finish();
    EXPECT_EQ(in_flight.answer(), kOk);
    EXPECT_EQ(flush(), kOk);
}

TEST_F(Nbd, flush_of_writes_that_were_in_flight_at_the_loss_covers_them) {
    make_image(kMiB);
    server_.start({"file", image()});
    ASSERT_EQ(open(",reconnect-delay=60"), "");
    server_.freeze();
    Pending in_flight(4096);
    start_write(in_flight, 0, 0x11);
    server_.kill();
    server_.start({"file", image()});
    finish();
    EXPECT_EQ(in_flight.answer(), kOk);
    EXPECT_EQ(flush(), kOk);
}

// --- A server that does not answer --------------------------------------------------------------

TEST_F(Nbd, request_without_an_answer_in_time_loses_the_connection) {
    server_.start({"memory", "1M"});
    ASSERT_EQ(open(",request-timeout=1"), "");
    ASSERT_EQ(write({0, 4096}, 1), kOk);
    server_.freeze();
    EXPECT_EQ(write({0, 4096}, 2), Errc::io);
    server_.thaw();
    EXPECT_EQ(write({0, 4096}, 2), Errc::io);
}

// The server may still carry out what it was sent, when there are newer bytes.
TEST_F(Nbd, reads_without_an_answer_in_time_are_sent_again_and_writes_are_not) {
    server_.start({"memory", "1M"});
    ASSERT_EQ(open(",request-timeout=1,reconnect-delay=60"), "");
    server_.freeze();
    Pending read(4096);
    Pending in_flight(4096);
    start_read(read, 0);
    start_write(in_flight, 4096, 0x22);
    run_until(in_flight.is_done);
    EXPECT_STREQ(in_flight.result.error().text, "the NBD server did not answer in time");
    EXPECT_FALSE(read.is_done);
    server_.thaw();
    finish();
    EXPECT_EQ(read.answer(), kOk);
    EXPECT_EQ(write({8192, 4096}, 0x33), kOk);
}

}  // namespace
}  // namespace zbdkit
