// SPDX-License-Identifier: Apache-2.0
// Daemon: the life of `zbdkit serve` on its reactor: open the nodes, bind the sockets, serve until
// a signal comes, drain, close. Whatever was opened is closed in good order on every way out, so
// that no image is left marked as in use by an error.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "app/export_options.h"
#include "app/stop_signals.h"
#include "base/error.h"
#include "base/options.h"
#include "block/driver.h"
#include "export/vhost_user/server.h"
#include "graph/backend.h"
#include "graph/graph.h"
#include "graph/objects.h"
#include "io/file_io.h"
#include "io/sync.h"
#include "io/task.h"

namespace zbdkit::app {

struct DaemonPlan {
    std::vector<ObjectPlan> objects;  ///< made before the nodes
    std::vector<OptionValues> nodes;  ///< each with a node-name
    std::vector<ExportPlan> exports;
};

class Daemon {
  public:
    Daemon(OpenContext& context, DaemonPlan plan, StopSignals& signals);
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;
    ~Daemon();

    /// Runs the whole life. Errors: what could not be opened, bound or closed.
    [[nodiscard]] Task<Outcome<void>> run();

  private:
    struct Disk {
        ExportPlan plan;
        std::unique_ptr<BlockBackend> backend;
        std::unique_ptr<vhost_user::Server> server;
    };

    [[nodiscard]] Task<Outcome<void>> start();
    [[nodiscard]] Outcome<void> add_disk(const ExportPlan& plan);
    void announce() const;
    [[nodiscard]] Task<void> serve_until_stopped();
    [[nodiscard]] Task<void> run_server(vhost_user::Server& server);
    [[nodiscard]] Task<void> wait_for_signal(ReadinessWaiter& waiter);
    [[nodiscard]] Task<Outcome<void>> close_all();

    OpenContext& context_;
    DaemonPlan plan_;
    StopSignals& signals_;
    NamedNodes nodes_;
    std::vector<Disk> disks_;
    AsyncEvent stopping_;
};

}  // namespace zbdkit::app
