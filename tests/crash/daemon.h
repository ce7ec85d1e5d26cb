// SPDX-License-Identifier: Apache-2.0
// `zbdkit serve` as a child process that can be killed, and other commands of zbdkit. One thread.
// Nothing is left behind: a child dies with this process.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

namespace zbdkit::crash {

/// Runs a command, which must not fail. Its output goes to `log`.
void run_to_end(const std::vector<std::string>& words, const std::string& log);

class Daemon {
  public:
    struct Options {
        std::string zbdkit;  ///< the program
        std::string image;
        std::string socket;
        std::string log;
        std::vector<std::string> more{};  ///< options of `zbdkit serve`
    };

    explicit Daemon(Options options) : options_(std::move(options)) {}
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;
    ~Daemon();

    /// Serves another image from the next start on.
    void set_image(std::string image) { options_.image = std::move(image); }
    /// Does not wait until it serves.
    void start();
    /// SIGKILL, and waits until it is gone.
    void kill();
    /// SIGTERM, and waits until it is gone, which it must be with status 0.
    void stop();

  private:
    Options options_;
    pid_t pid_ = 0;
};

}  // namespace zbdkit::crash
