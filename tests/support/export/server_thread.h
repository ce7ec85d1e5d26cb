// SPDX-License-Identifier: Apache-2.0
// A vhost-user server with a fake disk on a thread of its own, at a socket in a folder of its own,
// so that a test can be its front end with plain blocking calls.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <semaphore>
#include <string>
#include <thread>
#include <type_traits>

#include "base/assert.h"
#include "export/vhost_user/server.h"
#include "tests/support/export/fake_disk.h"

namespace zbdkit::test {

/// A folder that goes with everything in it.
class TempFolder {
  public:
    TempFolder();
    TempFolder(const TempFolder&) = delete;
    TempFolder& operator=(const TempFolder&) = delete;
    ~TempFolder();
    [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }

  private:
    std::string path_;
};

class ServerThread {
  public:
    struct Options {
        ZoneModel model = ZoneModel::host_managed;
        BlkDevice::Options device{.serial = "fake", .queue_count = 2};
    };

    ServerThread() : ServerThread(Options()) {}
    explicit ServerThread(const Options& options);
    ServerThread(const ServerThread&) = delete;
    ServerThread& operator=(const ServerThread&) = delete;
    ~ServerThread() { stop(); }

    /// Asks the server to stop, without waiting.
    void begin_stop();
    /// Stops the server and waits until it has. Twice is harmless.
    void stop();

    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] FakeDisk& disk() { return *disk_; }
    [[nodiscard]] vhost_user::ServerCounters counters() {
        return on_reactor([this] { return server_->counters(); });
    }
    [[nodiscard]] std::uint64_t device_features() {
        return on_reactor([this] { return server_->device().features(); });
    }

    bool notify_config_change() {
        return on_reactor([this] { return server_->notify_config_change(); });
    }

    /// Runs `work` on the server's thread and waits for its result.
    template <class Work>
    std::invoke_result_t<Work> on_reactor(Work work) {
        std::packaged_task<std::invoke_result_t<Work>()> task(std::move(work));
        auto result = task.get_future();
        ZBDKIT_ASSERT(post([&task] { task(); }));
        return result.get();
    }

  private:
    void serve(const Options& options);
    /// False once the server has ended, and then `work` does not run.
    bool post(std::move_only_function<void()> work);

    TempFolder folder_;
    std::string path_ = folder_.file("disk.sock");
    std::mutex post_lock_;        // the reactor outlives each call of its post()
    Reactor* reactor_ = nullptr;  // these three live on the thread's stack
    FakeDisk* disk_ = nullptr;
    vhost_user::Server* server_ = nullptr;
    std::binary_semaphore ready_{0};
    std::thread thread_;
};

}  // namespace zbdkit::test
