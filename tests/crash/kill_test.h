// SPDX-License-Identifier: Apache-2.0
// A daemon on a real image is killed with SIGKILL at any moment, under load or while it starts, and
// started again, time after time; some lives end well instead. After each, every zone is judged by
// line 4 of the crash contract: what was completed is there, and zones are as they were. Chance
// chooses the disk, which may be a host-aware one, and for each life a split or a packed ring, and
// whether the driver switches the write cache off.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/crash/daemon.h"
#include "tests/crash/image.h"
#include "tests/crash/ledger.h"
#include "tests/crash/load.h"
#include "tests/sim/random.h"
#include "tests/support/export/server_thread.h"

namespace zbdkit::crash {

class KillTest {
  public:
    struct Options {
        std::string zbdkit;  ///< the program
        std::uint64_t kills = 20;
        std::uint64_t seed = 0;
        Medium medium = Medium::file;
        std::string folder{};  ///< for the image; "" makes one, and removes it
        std::string canary{};  ///< "", "old-image" or "other-boot"
        bool direct = false;
    };

    explicit KillTest(const Options& options);

    /// @return why the test cannot be done where the image would be, or ""
    [[nodiscard]] std::string why_not() const;
    void run();

  private:
    /// Keeps the image, to be looked at.
    [[noreturn]] static void report_and_end(void* context, const std::string& text);
    void make_image();
    /// The daemon serves, and all that is owed is there.
    void start_and_judge();
    void kill_daemon();
    void live_and_die();
    void live_and_stop();
    void count(const Load& load);
    void die_while_starting();
    void lose_something();

    Options options_;
    sim::Random random_;
    test::TempFolder temporary_;
    std::vector<std::string> layout_;
    Image image_;
    std::string socket_;
    std::string log_;
    Daemon daemon_;
    std::unique_ptr<Ledger> ledger_;  ///< made when the first client knows the layout
    std::unique_ptr<DiskClient> client_;
    // What was met.
    std::uint64_t answers_ = 0;
    std::uint64_t resets_of_all_ = 0;
    std::uint64_t stops_ = 0;
    std::uint64_t kills_while_starting_ = 0;
    std::uint64_t lives_ = 0;
    std::uint64_t packed_lives_ = 0;
    std::uint64_t write_through_lives_ = 0;
};

}  // namespace zbdkit::crash
