// SPDX-License-Identifier: Apache-2.0
// Daemon: the life of `zbdkit serve`: starts its io threads, has the disks of each thread opened,
// says what is served, waits for a signal, and has all of them drained and closed. It runs on the
// main reactor, which serves disks as well; it reaches the other threads through their reactors
// alone, and never blocks the main one.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "app/disk_group.h"
#include "app/disk_placement.h"
#include "app/stop_signals.h"
#include "base/error.h"
#include "block/driver.h"
#include "io/blocking_pool.h"
#include "io/file_io.h"
#include "io/io_thread.h"
#include "io/sync.h"
#include "io/task.h"

namespace zbdkit::app {

class Daemon {
  public:
    /// @param context  of the main thread
    Daemon(OpenContext& context, DaemonPlan plan, StopSignals& signals);
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;
    ~Daemon();

    /// Runs the whole life. Errors: what could not be started, opened, bound or closed.
    [[nodiscard]] Task<Outcome<void>> run();

  private:
    /// A thread beside the main one, with what nodes are opened with there. The pool is its own,
    /// since the reactor that a pool resumes callers on must outlive it.
    struct IoWorkshop {
        explicit IoWorkshop(std::unique_ptr<IoThread> started);
        std::unique_ptr<IoThread> thread;
        BlockingPool pool;
        OpenContext context;
    };
    /// The disks of one thread.
    struct Seat {
        std::unique_ptr<IoWorkshop> workshop;  // null: on the main thread
        std::unique_ptr<DiskGroup> group;
    };
    using Step = Task<Outcome<void>> (DiskGroup::*)();

    [[nodiscard]] Outcome<void> make_seats();
    [[nodiscard]] Task<Outcome<void>> run_step(Seat& seat, Step step);
    void begin_stop(Seat& seat);
    [[nodiscard]] Task<Outcome<void>> start();
    [[nodiscard]] std::vector<const DiskLines*> all_lines() const;
    void announce() const;
    [[nodiscard]] Task<void> serve_until_stopped();
    [[nodiscard]] Task<void> serve_group(Seat& seat);
    [[nodiscard]] Task<void> wait_for_signal(ReadinessWaiter& waiter);
    [[nodiscard]] Task<Outcome<void>> check_unused();
    [[nodiscard]] Task<Outcome<void>> close_all();

    OpenContext& context_;
    DaemonPlan plan_;
    StopSignals& signals_;
    std::vector<Seat> seats_;
    AsyncEvent stopping_;
    std::size_t serving_ = 0;  // groups that serve
    Outcome<void> served_;     // the first failure of one
};

}  // namespace zbdkit::app
