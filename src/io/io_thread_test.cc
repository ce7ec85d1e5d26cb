// SPDX-License-Identifier: Apache-2.0
#include "io/io_thread.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>

#include <array>
#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "io/file_io.h"
#include "tests/support/io/temp_file.h"
#include "tests/support/io/uring_reactor.h"

namespace zbdkit {
namespace {

using test::UringReactor;

std::unique_ptr<IoThread> started(const std::string& id) {
    Outcome<std::unique_ptr<IoThread>> thread = IoThread::start(id);
    EXPECT_TRUE(thread.has_value()) << thread.error().message;
    return std::move(*thread);
}

TEST(IoThread, thread_has_the_name_of_its_id) {
    const std::unique_ptr<IoThread> thread = started("a-very-long-name");
    std::promise<std::string> name;
    thread->reactor().post([&name] {
        std::array<char, 16> text{};
        ::pthread_getname_np(::pthread_self(), text.data(), text.size());
        name.set_value(text.data());
    });
    EXPECT_EQ(name.get_future().get(), "zbdkit/a-very-l");
}

TEST(IoThread, what_was_posted_is_done_before_the_thread_ends) {
    std::atomic<int> done = 0;
    std::unique_ptr<IoThread> thread = started("t0");
    for (int i = 0; i < 1000; ++i) thread->reactor().post([&done] { ++done; });
    thread.reset();
    EXPECT_EQ(done, 1000);
}

struct Where {
    std::thread::id work;
    std::thread::id after;
};

/// Sleeps, so that the coroutine goes through several turns of its reactor.
Task<void> note_thread(Reactor& reactor, std::thread::id& id) {
    co_await reactor.sleep_ns(1000);
    id = std::this_thread::get_id();
}

Task<Where> look_where(Reactor& home, IoThread& thread) {
    Where where;
    IoThread::Call call =
        thread.run(home, [&thread, &where] { return note_thread(thread.reactor(), where.work); });
    co_await call;
    where.after = std::this_thread::get_id();
    co_return where;
}

TEST(IoThread, coroutine_runs_there_and_the_caller_continues_at_home) {
    UringReactor home;
    const std::unique_ptr<IoThread> thread = started("t0");
    const Where where = home.run_to_end(look_where(home, *thread));
    EXPECT_NE(where.work, std::thread::id());
    EXPECT_NE(where.work, std::this_thread::get_id());
    EXPECT_EQ(where.after, std::this_thread::get_id());
}

Task<void> write_byte(Reactor& reactor, int fd, std::uint64_t offset) {
    std::byte value{static_cast<unsigned char>(offset)};
    const iovec segment = {&value, 1};
    const Result<void> written =
        co_await write_exactly(reactor, fd, offset, IoSegments(&segment, 1));
    EXPECT_TRUE(written.has_value());
}

Task<void> write_many(Reactor& reactor, int fd, std::uint64_t first, std::uint64_t count) {
    TaskScope scope;
    for (std::uint64_t i = 0; i < count; ++i) scope.spawn(write_byte(reactor, fd, first + i));
    co_await scope.join();
}

Task<void> write_on(Reactor& home, IoThread& thread, int fd, std::uint64_t first) {
    IoThread::Call call = thread.run(
        home, [&thread, fd, first] { return write_many(thread.reactor(), fd, first, 100); });
    co_await call;
}

/// On two threads and at home, all at a time.
Task<void> write_everywhere(Reactor& home, IoThread& one, IoThread& other, int fd) {
    TaskScope scope;
    scope.spawn(write_on(home, one, fd, 0));
    scope.spawn(write_on(home, other, fd, 100));
    scope.spawn(write_many(home, fd, 200, 50));
    co_await scope.join();
}

TEST(IoThread, threads_do_io_at_a_time_and_all_of_it_ends) {
    UringReactor home;
    const std::unique_ptr<IoThread> one = started("t0");
    const std::unique_ptr<IoThread> other = started("t1");
    const UniqueFd file = test::temp_file();
    for (int round = 0; round < 20; ++round) {
        home.run_to_end(write_everywhere(home, *one, *other, file.get()));
    }
    const std::string bytes = test::content_of(file);
    ASSERT_EQ(bytes.size(), 250U);
    for (std::size_t i = 0; i < bytes.size(); ++i) EXPECT_EQ(bytes[i], static_cast<char>(i)) << i;
}

/// No descriptors left for the length of a test.
class NoDescriptors {
  public:
    NoDescriptors() {
        ::getrlimit(RLIMIT_NOFILE, &before_);
        const rlimit none = {.rlim_cur = 0, .rlim_max = before_.rlim_max};
        ::setrlimit(RLIMIT_NOFILE, &none);
    }
    NoDescriptors(const NoDescriptors&) = delete;
    NoDescriptors& operator=(const NoDescriptors&) = delete;
    ~NoDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

  private:
    rlimit before_{};
};

TEST(IoThread, io_uring_that_cannot_be_made_is_said_with_the_id) {
    std::string message;
    {
        const NoDescriptors none;
        const Outcome<std::unique_ptr<IoThread>> thread = IoThread::start("t7");
        ASSERT_FALSE(thread.has_value());
        message = thread.error().message;
    }
    EXPECT_EQ(message,
              "iothread 't7': cannot make an eventfd: Too many open files: too many open files; "
              "try a larger RLIMIT_NOFILE (ulimit -n)");
}

}  // namespace
}  // namespace zbdkit
