// SPDX-License-Identifier: Apache-2.0
// The daemon in this process, with disks on two io threads and on the main one, and their front
// ends on threads of their own, all at a time. What nodes or exports of two threads share without
// saying so ThreadSanitizer sees here.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <latch>
#include <string>
#include <thread>
#include <vector>

#include "app/check.h"
#include "app/create.h"
#include "app/serve.h"
#include "base/unique_fd.h"
#include "bench/bench.h"
#include "tests/support/export/server_thread.h"
#include "tests/support/seed.h"

namespace zbdkit::app {
namespace {

using bench::Operation;

/// Keeps the signals of a daemon from all threads made from now on, as a program of its own would.
class BlockedSignals {
  public:
    BlockedSignals() {
        sigset_t set;
        sigemptyset(&set);
        for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, number);
        ::pthread_sigmask(SIG_BLOCK, &set, &before_);
    }
    BlockedSignals(const BlockedSignals&) = delete;
    BlockedSignals& operator=(const BlockedSignals&) = delete;
    ~BlockedSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  private:
    sigset_t before_{};
};

/// What a daemon takes for its service manager.
class ServiceManager {
  public:
    explicit ServiceManager(const std::string& path)
        : fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
        path.copy(address.sun_path, sizeof address.sun_path - 1);
        const timeval limit = {.tv_sec = 60, .tv_usec = 0};
        ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        EXPECT_EQ(::bind(fd_.get(), as_sockaddr(&address), sizeof address), 0);
        ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
    }
    ServiceManager(const ServiceManager&) = delete;
    ServiceManager& operator=(const ServiceManager&) = delete;
    ~ServiceManager() { ::unsetenv("NOTIFY_SOCKET"); }

    /// The next thing that the daemon says.
    [[nodiscard]] std::string receive() const {
        std::array<char, 100> text{};
        const ssize_t length = ::recv(fd_.get(), text.data(), text.size(), 0);
        return length < 0 ? "nothing" : std::string(text.data(), static_cast<std::size_t>(length));
    }

  private:
    static const sockaddr* as_sockaddr(const void* address) {
        return static_cast<const sockaddr*>(address);
    }
    UniqueFd fd_;
};

/// How far the test is: its threads wait for each other by these.
struct Course {
    explicit Course(std::ptrdiff_t disks) : under_load(disks) {}
    std::latch ready{1};
    std::latch under_load;  // all disks
};

struct Disk {
    std::string name;
    std::string node;       ///< options of --blockdev
    std::string io_thread;  ///< "": the main thread
    Operation operation;
};

class IoThreads : public testing::Test {
  protected:
    [[nodiscard]] std::string image(const std::string& name) const {
        return folder_.file(name + ".zbd");
    }
    [[nodiscard]] std::string socket(const Disk& disk) const { return folder_.file(disk.name); }

    /// A zoned image, throttled, but only to have a group: one for each thread.
    Disk zoned(const std::string& name, const std::string& io_thread, const std::string& group) {
        EXPECT_EQ(run_create({.filename = image(name), .size = "64M"}), 0);
        return {name,
                fmt::format("driver=throttle,node-name={},throttle-group={},file.driver=zoned,"
                            "file.file.driver=file,file.file.filename={}",
                            name, group, image(name)),
                io_thread, Operation::append};
    }
    static Disk memory(const std::string& name, const std::string& io_thread) {
        return {name, fmt::format("driver=memory,node-name={},size=16M", name), io_thread,
                Operation::mixed};
    }

    [[nodiscard]] ServeArguments arguments(const std::vector<Disk>& disks) const {
        ServeArguments serve;
        serve.log_level = "off";
        serve.objects = {"iothread,id=t0", "iothread,id=t1",
                         "throttle-group,id=g0,x-iops-total=1000000",
                         "throttle-group,id=g1,x-iops-total=1000000"};
        for (const Disk& disk : disks) {
            serve.blockdevs.push_back(disk.node);
            const std::string thread =
                disk.io_thread.empty() ? "" : fmt::format(",iothread={}", disk.io_thread);
            serve.exports.push_back(
                fmt::format("id={},node-name={},addr.path={},writable=on,"
                            "num-queues=2{}",
                            disk.name, disk.name, socket(disk), thread));
        }
        return serve;
    }

    /// A short load that must go well, and then one that lasts until the daemon ends.
    void load(const Disk& disk, Course& course) const {
        course.ready.wait();
        bench::Settings settings;
        settings.socket_path = socket(disk);
        settings.operation = disk.operation;
        settings.depth = 8;
        settings.queue_count = 2;
        settings.warm_up_ns = 1'000'000;
        settings.run_ns = 100'000'000;
        settings.timeout_ns = 60'000'000'000;
        settings.wait = bench::Wait::event;
        settings.verify = true;
        settings.seed = test::seed();
        settings = bench::check_settings(settings).value();
        const Outcome<bench::Results> done = bench::run(settings, [](const bench::Plan&) {});
        EXPECT_TRUE(done.has_value()) << disk.name << ": " << done.error().message;
        if (done) {
            EXPECT_GT(done->blocks_verified, 0U) << disk.name;
        }
        settings.run_ns = 100'000'000'000;
        bool under_load = false;
        const auto note = [&course, &under_load](const bench::Plan&) {
            under_load = true;
            course.under_load.count_down();
        };
        const Outcome<bench::Results> cut_off = bench::run(settings, note);
        EXPECT_FALSE(cut_off.has_value()) << disk.name << ": it served on after the signal";
        if (!under_load) course.under_load.count_down();  // so that the test ends, failed
    }

    test::TempFolder folder_;
};

TEST_F(IoThreads, disks_are_served_at_a_time_and_closed_after_a_signal_under_load) {
    const std::vector<Disk> disks = {zoned("a", "t0", "g0"), memory("b", "t0"),
                                     zoned("c", "t1", "g1"), memory("d", "t1"), memory("e", "")};
    const BlockedSignals blocked;
    const ServiceManager manager(folder_.file("notify"));
    Course course(static_cast<std::ptrdiff_t>(disks.size()));
    std::vector<std::thread> threads;
    for (const Disk& disk : disks) {
        threads.emplace_back([this, &disk, &course] { load(disk, course); });
    }
    threads.emplace_back([&manager, &course] {
        EXPECT_EQ(manager.receive(), "READY=1");
        course.ready.count_down();
        course.under_load.wait();
        ::kill(::getpid(), SIGTERM);
    });
    EXPECT_EQ(run_serve(arguments(disks)), 0);
    for (std::thread& thread : threads) thread.join();
    for (const Disk& disk : disks) {
        EXPECT_FALSE(std::filesystem::exists(socket(disk))) << disk.name;
    }
    EXPECT_EQ(run_check({.disk = {.filename = image("a")}}), 0);
    EXPECT_EQ(run_check({.disk = {.filename = image("c")}}), 0);
}

}  // namespace
}  // namespace zbdkit::app
