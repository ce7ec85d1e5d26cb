// SPDX-License-Identifier: Apache-2.0
#include "io/uring_engine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/iovec.h"
#include "tests/support/io/temp_file.h"
#include "tests/support/io/unread_socket.h"
#include "tests/support/io/uring_reactor.h"

namespace zbdkit {
namespace {

using test::content_of;
using test::temp_file;
using test::UnreadSocket;
using test::uring_engine;

constexpr std::uint64_t kMillisecond = 1'000'000;

/// An operation that counts how often it completed.
struct CountedOp : IoOp {
    int completions = 0;

    CountedOp() {
        complete = [](IoOp& op) { ++static_cast<CountedOp&>(op).completions; };
    }
};

iovec segment(std::string& text) { return {text.data(), text.size()}; }

/// Polls until `op` has completed.
void finish(IoEngine& engine, CountedOp& op) {
    while (op.completions == 0) engine.poll(IoEngine::kForever);
}

/// One operation from submission to completion.
std::int32_t result_of(IoEngine& engine, CountedOp& op) {
    engine.submit(op);
    finish(engine, op);
    return op.result;
}

CountedOp transfer_op(IoKind kind, int fd, std::uint64_t offset, std::span<const iovec> segments) {
    CountedOp op;
    op.kind = kind;
    op.fd = fd;
    op.range = {offset, total_length(segments)};
    op.segments = segments.data();
    op.segment_count = static_cast<unsigned>(segments.size());
    return op;
}

CountedOp poll_op(int fd, unsigned events) {
    CountedOp op;
    op.kind = IoKind::poll;
    op.fd = fd;
    op.poll_events = events;
    return op;
}

UniqueFd make_eventfd(unsigned count = 0) { return UniqueFd(::eventfd(count, EFD_CLOEXEC)); }

TEST(UringEngine, one_segment_is_read) {
    const auto engine = uring_engine();
    const UniqueFd file = temp_file("0123456789");
    std::string buffer(4, '-');
    const std::array segments = {segment(buffer)};
    CountedOp op = transfer_op(IoKind::read, file.get(), 3, segments);
    EXPECT_EQ(result_of(*engine, op), 4);
    EXPECT_EQ(buffer, "3456");
}

TEST(UringEngine, several_segments_are_read) {
    const auto engine = uring_engine();
    const UniqueFd file = temp_file("0123456789");
    std::string first(2, '-');
    std::string second(3, '-');
    const std::array segments = {segment(first), segment(second)};
    CountedOp op = transfer_op(IoKind::read, file.get(), 1, segments);
    EXPECT_EQ(result_of(*engine, op), 5);
    EXPECT_EQ(first, "12");
    EXPECT_EQ(second, "345");
}

TEST(UringEngine, read_at_the_end_is_short) {
    const auto engine = uring_engine();
    const UniqueFd file = temp_file("0123456789");
    std::string buffer(8, '-');
    const std::array segments = {segment(buffer)};
    CountedOp op = transfer_op(IoKind::read, file.get(), 7, segments);
    EXPECT_EQ(result_of(*engine, op), 3);
    EXPECT_EQ(buffer, "789-----");
}

/// A file that is memory and nothing else.
UniqueFd memory_file(std::string_view content) {
    UniqueFd file(::memfd_create("zbdkit-test", MFD_CLOEXEC));
    EXPECT_EQ(::pwrite(file.get(), content.data(), content.size(), 0),
              static_cast<ssize_t>(content.size()));
    return file;
}

TEST(UringEngine, at_once_is_done_without_a_poll) {
    const auto engine = uring_engine();
    const UniqueFd file = memory_file("0123456789");
    AtOnce at_once = AtOnce::always;
    std::string text = "ab";
    std::string buffer(4, '-');
    const std::array to_write = {segment(text)};
    const std::array to_read = {segment(buffer)};
    CountedOp write = transfer_op(IoKind::write, file.get(), 3, to_write);
    CountedOp read = transfer_op(IoKind::read, file.get(), 2, to_read);
    write.at_once = read.at_once = &at_once;
    EXPECT_TRUE(engine->attempt(write));
    EXPECT_TRUE(engine->attempt(read));
    EXPECT_EQ(write.result, 2);
    EXPECT_EQ(read.result, 4);
    EXPECT_EQ(buffer, "2ab5");
    EXPECT_EQ(write.completions + read.completions, 0);
}

TEST(UringEngine, nothing_is_attempted_that_is_not_allowed) {
    const auto engine = uring_engine();
    const UniqueFd file = memory_file("0123456789");
    AtOnce at_once = AtOnce::never;
    std::string buffer(4, '-');
    const std::array segments = {segment(buffer)};
    CountedOp op = transfer_op(IoKind::read, file.get(), 2, segments);
    EXPECT_FALSE(engine->attempt(op));
    op.at_once = &at_once;
    EXPECT_FALSE(engine->attempt(op));
    EXPECT_EQ(buffer, "----");
}

TEST(UringEngine, file_that_cannot_tell_whether_it_waits_is_not_asked_again) {
    const auto engine = uring_engine();
    const UniqueFd file = memory_file("0123456789");  // no RWF_NOWAIT, up to Linux 6.18 at least
    AtOnce at_once = AtOnce::if_ready;
    std::string buffer(4, '-');
    const std::array segments = {segment(buffer)};
    CountedOp op = transfer_op(IoKind::read, file.get(), 2, segments);
    op.at_once = &at_once;
    const bool is_done = engine->attempt(op);
    EXPECT_EQ(at_once, is_done ? AtOnce::if_ready : AtOnce::never);
    EXPECT_EQ(buffer, is_done ? "2345" : "----");
}

TEST(UringEngine, failed_attempt_leaves_the_error_to_the_operation) {
    const auto engine = uring_engine();
    AtOnce at_once = AtOnce::always;
    std::string buffer(4, '-');
    const std::array segments = {segment(buffer)};
    CountedOp op = transfer_op(IoKind::read, 1 << 20, 0, segments);
    op.at_once = &at_once;
    EXPECT_FALSE(engine->attempt(op));
    EXPECT_EQ(at_once, AtOnce::always);
    EXPECT_EQ(result_of(*engine, op), -EBADF);
}

TEST(UringEngine, segments_are_written) {
    const auto engine = uring_engine();
    const UniqueFd file = temp_file("0123456789");
    std::string first = "ab";
    std::string second = "cde";
    const std::array segments = {segment(first), segment(second)};
    CountedOp op = transfer_op(IoKind::write, file.get(), 2, segments);
    EXPECT_EQ(result_of(*engine, op), 5);
    EXPECT_EQ(content_of(file), "01abcde789");
}

TEST(UringEngine, sync_succeeds) {
    const auto engine = uring_engine();
    const UniqueFd file = temp_file("x");
    CountedOp op;
    op.kind = IoKind::sync_data;
    op.fd = file.get();
    EXPECT_EQ(result_of(*engine, op), 0);
}

TEST(UringEngine, fallocate_extends_the_file) {
    const auto engine = uring_engine();
    const UniqueFd file = temp_file("x");
    CountedOp op;
    op.kind = IoKind::fallocate;
    op.fd = file.get();
    op.range = {4096, 8192};
    EXPECT_EQ(result_of(*engine, op), 0);
    struct stat status{};
    ASSERT_EQ(::fstat(file.get(), &status), 0);
    EXPECT_EQ(status.st_size, 12288);
}

TEST(UringEngine, bad_descriptor_fails_with_its_errno) {
    const auto engine = uring_engine();
    std::string buffer(4, '-');
    const std::array segments = {segment(buffer)};
    CountedOp op = transfer_op(IoKind::read, -1, 0, segments);
    EXPECT_EQ(result_of(*engine, op), -EBADF);
}

TEST(UringEngine, failed_operation_does_not_hold_up_those_behind_it) {
    const auto engine = uring_engine();
    const UniqueFd file = temp_file("0123456789");
    std::string buffer(4, '-');
    const std::array segments = {segment(buffer)};
    CountedOp bad = transfer_op(IoKind::read, -1, 0, segments);
    CountedOp good = transfer_op(IoKind::read, file.get(), 0, segments);
    engine->submit(bad);
    engine->submit(good);
    finish(*engine, bad);
    finish(*engine, good);
    EXPECT_EQ(bad.result, -EBADF);
    EXPECT_EQ(good.result, 4);
}

TEST(UringEngine, completion_never_comes_from_submit) {
    const auto engine = uring_engine();
    const UniqueFd file = temp_file("x");
    CountedOp op;
    op.kind = IoKind::sync_data;
    op.fd = file.get();
    engine->submit(op);
    EXPECT_EQ(op.completions, 0);
    finish(*engine, op);
}

TEST(UringEngine, more_operations_than_entries_all_complete_once) {
    const auto engine = uring_engine(4);
    const UniqueFd file = temp_file("0123456789");
    std::string buffer(10, '-');
    const std::array segments = {segment(buffer)};
    std::vector<CountedOp> ops(1000, transfer_op(IoKind::read, file.get(), 0, segments));
    for (CountedOp& op : ops) engine->submit(op);
    for (CountedOp& op : ops) finish(*engine, op);
    EXPECT_TRUE(std::ranges::all_of(ops, [](const CountedOp& op) { return op.completions == 1; }));
    EXPECT_TRUE(std::ranges::all_of(ops, [](const CountedOp& op) { return op.result == 10; }));
}

TEST(UringEngine, more_polls_than_completion_slots_all_complete_once) {
    const auto engine = uring_engine(1);
    const UniqueFd event = make_eventfd();
    std::vector<CountedOp> ops(100, poll_op(event.get(), POLLIN));
    for (CountedOp& op : ops) engine->submit(op);
    engine->poll(0);
    ASSERT_EQ(::eventfd_write(event.get(), 1), 0);
    for (CountedOp& op : ops) finish(*engine, op);
    EXPECT_TRUE(std::ranges::all_of(ops, [](const CountedOp& op) { return op.completions == 1; }));
}

/// Submits itself again from its own completion.
struct RepeatedOp : IoOp {
    IoEngine& engine;
    int left;

    RepeatedOp(IoEngine& owner, int times) : engine(owner), left(times) {
        complete = [](IoOp& op) {
            auto& self = static_cast<RepeatedOp&>(op);
            --self.left;
            if (self.left > 0) self.engine.submit(self);
        };
    }
};

TEST(UringEngine, completion_may_submit) {
    const auto engine = uring_engine(1);
    const UniqueFd file = temp_file("x");
    RepeatedOp op(*engine, 100);
    op.kind = IoKind::sync_data;
    op.fd = file.get();
    engine->submit(op);
    while (op.left > 0) engine->poll(IoEngine::kForever);
    EXPECT_EQ(op.left, 0);
}

TEST(UringEngine, poll_of_a_ready_descriptor_completes_with_the_events) {
    const auto engine = uring_engine();
    const UniqueFd event = make_eventfd(1);
    CountedOp op = poll_op(event.get(), POLLIN);
    EXPECT_EQ(result_of(*engine, op), POLLIN);
}

TEST(UringEngine, poll_waits_until_the_descriptor_is_ready) {
    const auto engine = uring_engine();
    const UniqueFd event = make_eventfd();
    CountedOp op = poll_op(event.get(), POLLIN);
    engine->submit(op);
    engine->poll(0);
    EXPECT_EQ(op.completions, 0);
    const std::jthread writer([&] { (void)::eventfd_write(event.get(), 1); });
    finish(*engine, op);
    EXPECT_EQ(op.result, POLLIN);
}

TEST(UringEngine, cancelled_poll_completes_once_as_cancelled) {
    const auto engine = uring_engine();
    const UniqueFd event = make_eventfd();
    CountedOp op = poll_op(event.get(), POLLIN);
    engine->submit(op);
    engine->poll(0);
    engine->cancel(op);
    finish(*engine, op);
    engine->poll(0);
    EXPECT_EQ(op.result, -ECANCELED);
    EXPECT_EQ(op.completions, 1);
}

TEST(UringEngine, poll_cancelled_before_it_reached_the_kernel_completes_as_cancelled) {
    const auto engine = uring_engine();
    const UniqueFd event = make_eventfd();
    CountedOp op = poll_op(event.get(), POLLIN);
    engine->submit(op);
    engine->cancel(op);
    EXPECT_EQ(op.completions, 0);
    finish(*engine, op);
    EXPECT_EQ(op.result, -ECANCELED);
}

TEST(UringEngine, cancel_finds_a_way_when_polls_fill_the_ring) {
    const auto engine = uring_engine(1);
    const UniqueFd event = make_eventfd();
    std::vector<CountedOp> ops(10, poll_op(event.get(), POLLIN));
    for (CountedOp& op : ops) engine->submit(op);
    engine->poll(0);
    for (CountedOp& op : ops) engine->cancel(op);
    for (CountedOp& op : ops) finish(*engine, op);
    EXPECT_TRUE(
        std::ranges::all_of(ops, [](const CountedOp& op) { return op.result == -ECANCELED; }));
    EXPECT_TRUE(std::ranges::all_of(ops, [](const CountedOp& op) { return op.completions == 1; }));
}

TEST(UringEngine, cancel_of_a_poll_that_became_ready_completes_once) {
    const auto engine = uring_engine();
    const UniqueFd event = make_eventfd();
    for (int round = 0; round < 100; ++round) {
        CountedOp op = poll_op(event.get(), POLLIN);
        engine->submit(op);
        engine->poll(0);
        ASSERT_EQ(::eventfd_write(event.get(), 1), 0);
        engine->cancel(op);
        finish(*engine, op);
        engine->poll(0);
        EXPECT_TRUE(op.result == POLLIN || op.result == -ECANCELED) << op.result;
        EXPECT_EQ(op.completions, 1);
        eventfd_t count = 0;
        ASSERT_EQ(::eventfd_read(event.get(), &count), 0);
    }
}

// --- commands to a driver ------------------------------------------------------------------------

/// A command that counts how often it completed, and keeps what its word said then.
struct CountedCommand : CommandOp {
    int completions = 0;
    std::uint64_t word = 7;
    std::uint64_t word_at_completion = 7;

    CountedCommand(int to, std::uint32_t which) {
        kind = IoKind::command;
        fd = to;
        code = which;
        complete = [](IoOp& op) {
            auto& self = static_cast<CountedCommand&>(op);
            ++self.completions;
            self.word_at_completion = self.word;
        };
    }
    void clear_word(const UniqueFd& from) {
        clears = &word;
        zeroes = from.get();
    }
};
std::int32_t result_of(IoEngine& engine, CountedCommand& op) {
    engine.submit(op);
    while (op.completions == 0) engine.poll(IoEngine::kForever);
    return op.result;
}
UniqueFd open_zeroes() { return UniqueFd(::open("/dev/zero", O_RDONLY | O_CLOEXEC)); }

class UringEngineCommand : public testing::Test {
  protected:
    void SetUp() override {
        if (!socket.takes_commands()) GTEST_SKIP() << "the kernel's sockets take no commands";
    }
    CountedCommand unread() const { return {socket.fd(), UnreadSocket::kUnreadCommand}; }

    const UnreadSocket socket{"hello"};
    const UniqueFd zeroes = open_zeroes();
};

TEST_F(UringEngineCommand, goes_to_the_driver_which_answers) {
    const auto engine = uring_engine();
    CountedCommand op = unread();
    EXPECT_EQ(result_of(*engine, op), 5);
    EXPECT_EQ(op.completions, 1);
    EXPECT_EQ(op.word, 7U);
}

TEST_F(UringEngineCommand, that_the_driver_does_not_know_fails_with_its_errno) {
    const auto engine = uring_engine();
    CountedCommand op(socket.fd(), 0xffff);
    EXPECT_EQ(result_of(*engine, op), -EOPNOTSUPP);
}

TEST_F(UringEngineCommand, to_a_file_without_commands_fails) {
    const auto engine = uring_engine();
    const UniqueFd file = temp_file("x");
    CountedCommand op(file.get(), 0);
    EXPECT_EQ(result_of(*engine, op), -EOPNOTSUPP);
}

TEST_F(UringEngineCommand, finds_its_word_cleared_when_it_completes) {
    const auto engine = uring_engine();
    CountedCommand op = unread();
    op.clear_word(zeroes);
    EXPECT_EQ(result_of(*engine, op), 5);
    EXPECT_EQ(op.word_at_completion, 0U);
}

TEST_F(UringEngineCommand, that_fails_has_its_word_cleared_too) {
    const auto engine = uring_engine();
    CountedCommand op(socket.fd(), 0xffff);
    op.clear_word(zeroes);
    EXPECT_EQ(result_of(*engine, op), -EOPNOTSUPP);
    EXPECT_EQ(op.word_at_completion, 0U);
}

TEST_F(UringEngineCommand, leaves_its_word_alone_until_it_is_handed_over) {
    const auto engine = uring_engine();
    CountedCommand op = unread();
    op.clear_word(zeroes);
    engine->submit(op);
    EXPECT_EQ(op.word, 7U);
    while (op.completions == 0) engine->poll(IoEngine::kForever);
    EXPECT_EQ(op.word, 0U);
}

/// A word and its command are two entries; of three that are wanted in the first round the wake-up
/// has one.
TEST_F(UringEngineCommand, finds_room_for_its_word_in_the_smallest_queue) {
    const auto engine = uring_engine(2);
    CountedCommand op = unread();
    op.clear_word(zeroes);
    EXPECT_EQ(result_of(*engine, op), 5);
    EXPECT_EQ(op.word_at_completion, 0U);
}

TEST_F(UringEngineCommand, behind_an_odd_number_of_entries_takes_its_word_along) {
    const auto engine = uring_engine(4);
    const UniqueFd event = make_eventfd(1);
    std::vector<CountedOp> polls(2, poll_op(event.get(), POLLIN));
    CountedCommand op = unread();
    op.clear_word(zeroes);
    for (CountedOp& poll : polls) engine->submit(poll);
    EXPECT_EQ(result_of(*engine, op), 5);
    EXPECT_EQ(op.word_at_completion, 0U);
    for (CountedOp& poll : polls) finish(*engine, poll);
}

TEST_F(UringEngineCommand, many_all_complete_once_with_their_words_cleared) {
    const auto engine = uring_engine(4);
    std::vector<CountedCommand> ops(500, unread());
    for (CountedCommand& op : ops) op.clear_word(zeroes);
    for (CountedCommand& op : ops) engine->submit(op);
    for (CountedCommand& op : ops) {
        while (op.completions == 0) engine->poll(IoEngine::kForever);
    }
    const auto is_right = [](const CountedCommand& op) {
        return op.completions == 1 && op.result == 5 && op.word_at_completion == 0;
    };
    EXPECT_TRUE(std::ranges::all_of(ops, is_right));
}

TEST(IoEngineCommands, places_are_bounded_and_come_back) {
    const auto engine = uring_engine(2);
    EXPECT_TRUE(engine->reserve_commands(0));
    EXPECT_FALSE(engine->reserve_commands(1025));
    EXPECT_TRUE(engine->reserve_commands(1000));
    EXPECT_FALSE(engine->reserve_commands(25));
    EXPECT_TRUE(engine->reserve_commands(24));
    EXPECT_FALSE(engine->reserve_commands(1));
    engine->release_commands(1000);
    EXPECT_FALSE(engine->reserve_commands(1001));
    EXPECT_TRUE(engine->reserve_commands(1000));
}

// --- waiting -------------------------------------------------------------------------------------

TEST(UringEngine, wait_ends_at_its_deadline) {
    const auto engine = uring_engine();
    const std::uint64_t start = engine->now_ns();
    engine->poll(start + 20 * kMillisecond);
    const std::uint64_t waited = engine->now_ns() - start;
    EXPECT_GE(waited, 20 * kMillisecond);
    EXPECT_LT(waited, 2000 * kMillisecond);
}

TEST(UringEngine, deadline_is_waited_for_once_when_the_wait_also_submits) {
    const auto engine = uring_engine();
    const UniqueFd event = make_eventfd();
    engine->poll(0);
    CountedOp op = poll_op(event.get(), POLLIN);
    engine->submit(op);
    const std::uint64_t start = engine->now_ns();
    engine->poll(start + 300 * kMillisecond);
    EXPECT_LT(engine->now_ns() - start, 580 * kMillisecond);
    engine->cancel(op);
    finish(*engine, op);
}

TEST(UringEngine, deadline_in_the_past_does_not_wait) {
    const auto engine = uring_engine();
    engine->poll(1);
    engine->poll(0);
    SUCCEED();
}

TEST(UringEngine, wake_before_poll_is_not_lost) {
    const auto engine = uring_engine();
    engine->wake();
    engine->poll(IoEngine::kForever);
    SUCCEED();
}

TEST(UringEngine, wake_ends_a_wait) {
    const auto engine = uring_engine();
    const std::jthread waker([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        engine->wake();
    });
    engine->poll(IoEngine::kForever);
    SUCCEED();
}

TEST(UringEngine, each_of_many_wakes_is_seen) {
    const auto engine = uring_engine();
    constexpr int kRounds = 20'000;
    std::atomic<int> asked = 0;
    std::atomic<int> seen = 0;
    const std::jthread waker([&] {
        for (int i = 1; i <= kRounds; ++i) {
            asked.store(i);
            engine->wake();
            while (seen.load() < i) std::this_thread::yield();
        }
    });
    while (seen.load() < kRounds) {
        engine->poll(IoEngine::kForever);
        seen.store(asked.load());
    }
    SUCCEED();
}

TEST(UringEngine, made_on_another_thread_belongs_to_the_one_that_polls) {
    const auto engine = uring_engine();
    const UniqueFd file = temp_file("x");
    std::int32_t result = -1;
    std::thread owner([&] {
        CountedOp op;
        op.kind = IoKind::sync_data;
        op.fd = file.get();
        result = result_of(*engine, op);
    });
    owner.join();
    EXPECT_EQ(result, 0);
}

TEST(UringEngine, signal_during_a_wait_only_ends_it) {
    struct sigaction action{};
    action.sa_handler = [](int) {};
    struct sigaction before{};
    ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
    const auto engine = uring_engine();
    const pthread_t owner = ::pthread_self();
    std::atomic<bool> ended = false;
    const std::jthread sender([&] {
        while (!ended.load()) {
            ::pthread_kill(owner, SIGUSR1);
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    });
    engine->poll(engine->now_ns() + 1000 * kMillisecond);
    ended.store(true);
    ::sigaction(SIGUSR1, &before, nullptr);
    SUCCEED();
}

TEST(UringEngine, without_descriptors_the_error_says_what_and_why) {
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
    const Outcome<std::unique_ptr<IoEngine>> engine = make_uring_engine();
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    ASSERT_FALSE(engine.has_value());
    EXPECT_EQ(engine.error().message,
              "cannot make an eventfd: Too many open files: too many open files; try a larger "
              "RLIMIT_NOFILE (ulimit -n)");
}

TEST(UringEngineDeathTest, too_many_segments_abort) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    const auto engine = uring_engine();
    std::string buffer(1, '-');
    const std::vector<iovec> segments(kMaxSegments + 1, segment(buffer));
    CountedOp op = transfer_op(IoKind::write, 0, 0, segments);
    EXPECT_DEATH(engine->submit(op), "kMaxSegments");
}

TEST(UringEngineDeathTest, word_to_clear_without_zeroes_aborts) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    const auto engine = uring_engine();
    CountedCommand op(0, 0);
    op.clears = &op.word;
    EXPECT_DEATH(engine->submit(op), "zeroes");
}

TEST(UringEngineDeathTest, word_to_clear_in_a_queue_of_one_entry_aborts) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    const UniqueFd zeroes = open_zeroes();
    CountedCommand op(0, 0);
    op.clear_word(zeroes);
    EXPECT_DEATH(
        {
            const auto engine = uring_engine(1);
            engine->submit(op);
            engine->poll(0);
        },
        "ring_entries");
}

TEST(UringEngineDeathTest, destroyed_with_an_operation_in_flight_aborts) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    const UniqueFd event = make_eventfd();
    CountedOp op = poll_op(event.get(), POLLIN);
    EXPECT_DEATH(
        {
            const auto engine = uring_engine();
            engine->submit(op);
            engine->poll(0);
        },
        "in_flight_");
}

}  // namespace
}  // namespace zbdkit
