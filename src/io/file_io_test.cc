// SPDX-License-Identifier: Apache-2.0
#include "io/file_io.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/io/manual_engine.h"
#include "tests/support/io/temp_file.h"
#include "tests/support/io/uring_reactor.h"

namespace zbdkit {
namespace {

using test::content_of;
using test::temp_file;
using test::UringReactor;

iovec segment(std::string& text) { return {text.data(), text.size()}; }

struct ManualReactor : Reactor {
    ManualReactor() : Reactor(std::make_unique<test::ManualEngine>()) {}
    test::ManualEngine& manual() { return static_cast<test::ManualEngine&>(engine()); }
};

/// A transfer over the manual engine, whose operations the test ends one by one.
class ManualTransfer {
  public:
    ManualTransfer(ManualReactor& reactor, Task<Result<void>> task) : reactor_(reactor) {
        scope_.spawn(keep(std::move(task), &result_));
    }

    /// The operation in flight.
    IoOp& op() { return *reactor_.manual().in_flight.front(); }
    void end_op(std::int32_t result) {
        reactor_.manual().end(op(), result);
        reactor_.turn(false);
    }
    [[nodiscard]] bool has_ended() const { return scope_.running() == 0; }
    [[nodiscard]] const Result<void>& result() const { return result_; }

  private:
    static Task<void> keep(Task<Result<void>> task, Result<void>* slot) {
        *slot = co_await std::move(task);
    }

    ManualReactor& reactor_;
    TaskScope scope_;
    Result<void> result_;
};

TEST(ReadExactly, all_segments_are_filled) {
    UringReactor reactor;
    const UniqueFd file = temp_file("0123456789");
    std::string first(3, '-');
    std::string second(4, '-');
    const std::array segments = {segment(first), segment(second)};
    EXPECT_TRUE(reactor.run_to_end(read_exactly(reactor, file.get(), 2, segments)));
    EXPECT_EQ(first, "234");
    EXPECT_EQ(second, "5678");
}

TEST(ReadExactly, beyond_the_end_of_the_file_is_zeroes) {
    UringReactor reactor;
    const UniqueFd file = temp_file("0123456789");
    std::string first(3, '-');
    std::string second(4, '-');
    const std::array segments = {segment(first), segment(second)};
    EXPECT_TRUE(reactor.run_to_end(read_exactly(reactor, file.get(), 8, segments)));
    EXPECT_EQ(first, std::string("89\0", 3));
    EXPECT_EQ(second, std::string(4, '\0'));
}

TEST(ReadExactly, wholly_beyond_the_end_is_zeroes) {
    UringReactor reactor;
    const UniqueFd file = temp_file("0123456789");
    std::string buffer(4, '-');
    const std::array segments = {segment(buffer)};
    EXPECT_TRUE(reactor.run_to_end(read_exactly(reactor, file.get(), 1 << 20, segments)));
    EXPECT_EQ(buffer, std::string(4, '\0'));
}

TEST(ReadExactly, no_segments_succeed_without_io) {
    UringReactor reactor;
    EXPECT_TRUE(reactor.run_to_end(read_exactly(reactor, -1, 0, {})));
}

TEST(ReadExactly, bad_descriptor_is_an_io_error_with_its_errno) {
    UringReactor reactor;
    std::string buffer(4, '-');
    const std::array segments = {segment(buffer)};
    const Result<void> result = reactor.run_to_end(read_exactly(reactor, -1, 0, segments));
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, Errc::io);
    EXPECT_EQ(result.error().os_errno, EBADF);
    EXPECT_STREQ(result.error().text, "read failed");
}

TEST(ReadExactly, short_read_is_continued_where_it_stopped) {
    ManualReactor reactor;
    std::string first(3, '-');
    std::string second(5, '-');
    const std::array segments = {segment(first), segment(second)};
    ManualTransfer read(reactor, read_exactly(reactor, 0, 100, segments));
    EXPECT_EQ(read.op().range, (ByteRange{100, 8}));
    read.end_op(5);
    EXPECT_EQ(read.op().range, (ByteRange{105, 3}));
    EXPECT_EQ(read.op().segment_count, 1U);
    EXPECT_EQ(read.op().segments->iov_base, second.data() + 2);
    EXPECT_FALSE(read.has_ended());
    read.end_op(3);
    EXPECT_TRUE(read.has_ended());
    EXPECT_TRUE(read.result().has_value());
}

TEST(ReadExactly, interrupted_read_is_started_again) {
    ManualReactor reactor;
    std::string buffer(4, '-');
    const std::array segments = {segment(buffer)};
    ManualTransfer read(reactor, read_exactly(reactor, 0, 0, segments));
    read.end_op(-EINTR);
    read.end_op(-EAGAIN);
    EXPECT_EQ(read.op().range, (ByteRange{0, 4}));
    read.end_op(4);
    EXPECT_TRUE(read.result().has_value());
}

TEST(ReadExactly, endless_interruptions_are_an_error) {
    ManualReactor reactor;
    std::string buffer(4, '-');
    const std::array segments = {segment(buffer)};
    ManualTransfer read(reactor, read_exactly(reactor, 0, 0, segments));
    for (int i = 0; i < 17; ++i) read.end_op(-EAGAIN);
    ASSERT_TRUE(read.has_ended());
    EXPECT_EQ(read.result().error().os_errno, EAGAIN);
}

TEST(ReadExactly, direct_read_over_an_end_off_the_sector_grid_is_zero_filled) {
    UringReactor reactor;
    const UniqueFd file = temp_file(std::string(5000, 'x'));
    const std::string path = "/proc/self/fd/" + std::to_string(file.get());
    const UniqueFd direct(::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
    if (!direct) GTEST_SKIP() << "no O_DIRECT on the file system of the temporary folder";
    alignas(4096) static std::array<char, 8192> buffer;
    buffer.fill('-');
    const std::array<iovec, 1> segments = {{{buffer.data(), buffer.size()}}};
    EXPECT_TRUE(reactor.run_to_end(read_exactly(reactor, direct.get(), 0, segments)));
    EXPECT_EQ(buffer.at(4999), 'x');
    EXPECT_EQ(buffer.at(5000), '\0');
    EXPECT_EQ(buffer.at(8191), '\0');
}

TEST(ReadExactly, what_is_there_at_once_is_read_without_an_operation) {
    ManualReactor reactor;
    std::string first(2, '-');
    std::string second(3, '-');
    const std::array segments = {segment(first), segment(second)};
    AtOnce at_once = AtOnce::always;
    int attempts = 0;
    reactor.manual().attempt_with = [&](IoOp& op) {
        EXPECT_EQ(op.at_once, &at_once);
        // A part is there, and then the rest of it.
        EXPECT_EQ(op.range, attempts == 0 ? ByteRange(7, 5) : ByteRange(10, 2));
        op.result = attempts == 0 ? 3 : 2;
        ++attempts;
        return true;
    };
    const Result<void> read = reactor.run_to_end(read_exactly(reactor, 3, 7, segments, &at_once));
    EXPECT_TRUE(read.has_value());
    EXPECT_EQ(attempts, 2);
    EXPECT_TRUE(reactor.manual().in_flight.empty());
}

TEST(WriteExactly, all_segments_are_written) {
    UringReactor reactor;
    const UniqueFd file = temp_file("0123456789");
    std::string first = "abc";
    std::string second = "defg";
    const std::array segments = {segment(first), segment(second)};
    EXPECT_TRUE(reactor.run_to_end(write_exactly(reactor, file.get(), 5, segments)));
    EXPECT_EQ(content_of(file), "01234abcdefg");
}

TEST(WriteExactly, more_segments_than_one_operation_takes_are_all_written) {
    UringReactor reactor;
    const UniqueFd file = temp_file();
    std::string text(3000, '\0');
    for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i % 23);
    std::vector<iovec> segments;
    for (char& letter : text) segments.push_back({&letter, 1});
    EXPECT_TRUE(reactor.run_to_end(write_exactly(reactor, file.get(), 0, segments)));
    EXPECT_EQ(content_of(file), text);
}

TEST(WriteExactly, write_without_progress_is_an_io_error) {
    ManualReactor reactor;
    std::string text = "abc";
    const std::array segments = {segment(text)};
    ManualTransfer write(reactor, write_exactly(reactor, 0, 0, segments));
    write.end_op(0);
    ASSERT_TRUE(write.has_ended());
    EXPECT_EQ(write.result().error().code, Errc::io);
}

TEST(WriteExactly, full_device_is_no_space) {
    UringReactor reactor;
    const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
    if (!full) GTEST_SKIP() << "no /dev/full here";
    std::string text = "abc";
    const std::array segments = {segment(text)};
    const Result<void> result = reactor.run_to_end(write_exactly(reactor, full.get(), 0, segments));
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, Errc::no_space);
    EXPECT_STREQ(result.error().text, "write failed");
}

TEST(SyncData, file_is_synced) {
    UringReactor reactor;
    const UniqueFd file = temp_file("x");
    EXPECT_TRUE(reactor.run_to_end(sync_data(reactor, file.get())));
}

TEST(SyncData, descriptor_that_cannot_sync_is_an_error) {
    UringReactor reactor;
    const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
    const Result<void> result = reactor.run_to_end(sync_data(reactor, event.get()));
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().os_errno, EINVAL);
}

TEST(FallocateRange, punched_range_reads_as_zeroes) {
    UringReactor reactor;
    const UniqueFd file = temp_file(std::string(12288, 'x'));
    const Result<void> result = reactor.run_to_end(fallocate_range(
        reactor, file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, {4096, 4096}));
    ASSERT_TRUE(result.has_value());
    EXPECT_EQ(content_of(file),
              std::string(4096, 'x') + std::string(4096, '\0') + std::string(4096, 'x'));
}

TEST(FallocateRange, empty_range_is_refused_by_the_kernel) {
    UringReactor reactor;
    const UniqueFd file = temp_file("x");
    const Result<void> result = reactor.run_to_end(fallocate_range(reactor, file.get(), 0, {0, 0}));
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().os_errno, EINVAL);
}

Task<int> count_events(ReadinessWaiter& waiter, int fd) {
    int count = 0;
    while (true) {
        const bool is_ready = co_await waiter.wait(POLLIN);
        if (!is_ready) co_return count;
        eventfd_t value = 0;
        (void)::eventfd_read(fd, &value);
        ++count;
        waiter.stop();
    }
}

TEST(ReadinessWaiter, ready_descriptor_ends_the_wait) {
    UringReactor reactor;
    const UniqueFd event(::eventfd(1, EFD_CLOEXEC));
    ReadinessWaiter waiter(reactor, event.get());
    EXPECT_EQ(reactor.run_to_end(count_events(waiter, event.get())), 1);
}

Task<bool> wait_once(ReadinessWaiter& waiter) {
    const bool is_ready = co_await waiter.wait(POLLIN);
    co_return is_ready;
}

TEST(ReadinessWaiter, stop_ends_a_wait_with_false) {
    UringReactor reactor;
    const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
    ReadinessWaiter waiter(reactor, event.get());
    reactor.post([&] { reactor.post([&] { waiter.stop(); }); });
    EXPECT_FALSE(reactor.run_to_end(wait_once(waiter)));
}

TEST(ReadinessWaiter, wait_after_stop_returns_false_at_once) {
    UringReactor reactor;
    const UniqueFd event(::eventfd(1, EFD_CLOEXEC));
    ReadinessWaiter waiter(reactor, event.get());
    waiter.stop();
    waiter.stop();
    EXPECT_FALSE(reactor.run_to_end(wait_once(waiter)));
}

struct NudgedWait {
    bool first = true;
    bool second = false;
};
Task<NudgedWait> wait_twice(Reactor& reactor, ReadinessWaiter& waiter, int fd,
                            std::uint64_t pause_ns) {
    const bool first = co_await waiter.wait(POLLIN);
    (void)::eventfd_write(fd, 1);
    co_await reactor.sleep_ns(pause_ns);
    const bool second = co_await waiter.wait(POLLIN);
    co_return NudgedWait{first, second};
}

/// Nudges the first of two waits; the descriptor is ready `pause_ns` before the second.
NudgedWait nudge_first(std::uint64_t pause_ns) {
    UringReactor reactor;
    const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
    ReadinessWaiter waiter(reactor, event.get());
    reactor.post([&] { reactor.post([&] { waiter.nudge(); }); });
    return reactor.run_to_end(wait_twice(reactor, waiter, event.get(), pause_ns));
}

TEST(ReadinessWaiter, nudge_ends_a_wait_with_false_and_the_next_one_goes_on) {
    const NudgedWait found = nudge_first(0);
    EXPECT_FALSE(found.first);
    EXPECT_TRUE(found.second);
}

TEST(ReadinessWaiter, what_becomes_ready_between_waits_is_told_by_the_next) {
    const NudgedWait found = nudge_first(2'000'000);
    EXPECT_FALSE(found.first);
    EXPECT_TRUE(found.second);
}

Task<NudgedWait> stop_between_waits(ReadinessWaiter& waiter) {
    const bool first = co_await waiter.wait(POLLIN);
    waiter.stop();
    const bool second = co_await waiter.wait(POLLIN);
    co_return NudgedWait{first, second};
}

TEST(ReadinessWaiter, stop_after_a_nudge_is_waited_for) {
    UringReactor reactor;
    const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
    ReadinessWaiter waiter(reactor, event.get());
    reactor.post([&] { reactor.post([&] { waiter.nudge(); }); });
    const NudgedWait found = reactor.run_to_end(stop_between_waits(waiter));
    EXPECT_FALSE(found.first);
    EXPECT_FALSE(found.second);
}

TEST(ReadinessWaiter, broken_descriptor_counts_as_ready) {
    UringReactor reactor;
    ReadinessWaiter waiter(reactor, -1);
    EXPECT_TRUE(reactor.run_to_end(wait_once(waiter)));
}

}  // namespace
}  // namespace zbdkit
