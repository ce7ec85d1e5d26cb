// SPDX-License-Identifier: Apache-2.0
// DiskGroup: the disks that one thread serves: opens their nodes, exports them, serves, drains and
// closes them. Whatever was opened is closed in good order on every way out, so that no
// image is left marked as in use by an error. One reactor; the daemon reads lines() and
// idle_nodes() between the calls.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "app/disk_export.h"
#include "app/disk_placement.h"
#include "base/error.h"
#include "block/driver.h"
#include "graph/backend.h"
#include "graph/graph.h"
#include "io/sync.h"
#include "io/task.h"

namespace zbdkit::app {

/// What is said of a disk.
struct DiskLines {
    std::size_t place = 0;  ///< of its export among all of them
    std::string serving;    ///< what is served, and how to use it
    std::string warning;    ///< "": none
    std::string served;     ///< what came of it, after serve()
};

class DiskGroup {
  public:
    /// @param context  of the thread; outlives the group
    DiskGroup(OpenContext& context, DiskGroupPlan plan);
    DiskGroup(const DiskGroup&) = delete;
    DiskGroup& operator=(const DiskGroup&) = delete;
    ~DiskGroup();

    /// Makes the objects, opens the nodes and listens. Errors: what could not be; close() is due
    /// then as well.
    [[nodiscard]] Task<Outcome<void>> start();
    /// Whether all disks may end. Errors: the first that may not, and why.
    [[nodiscard]] Task<Outcome<void>> check_unused();
    /// Serves until stop(), or until every export has ended by itself, and finishes what is in
    /// flight. A disk whose export has ended is closed.
    /// Errors: the first of an export that left something behind.
    [[nodiscard]] Task<Outcome<void>> serve();
    /// Ends serve(). Thread: that of the reactor.
    void stop() { stopping_.set(); }
    /// Closes all that start() opened. Errors: the first of those that could not be.
    [[nodiscard]] Task<Outcome<void>> close();

    /// In the order of the exports.
    [[nodiscard]] const std::vector<DiskLines>& lines() const { return lines_; }
    /// Names of nodes that nobody took.
    [[nodiscard]] std::vector<std::string> idle_nodes() const { return nodes_.free_names(); }

  private:
    struct Disk {
        std::unique_ptr<BlockBackend> backend;
        std::unique_ptr<DiskExport> exported;
        bool is_closed = false;
        Outcome<void> outcome{};  // of the export
    };

    [[nodiscard]] Task<Outcome<void>> add_disk(const ExportPlan& plan);
    [[nodiscard]] Outcome<std::unique_ptr<BlockNode>> take_root(const ExportPlan& plan);
    [[nodiscard]] Task<void> run_export(Disk& disk, DiskLines& lines);
    [[nodiscard]] Task<void> stop_when_told();
    [[nodiscard]] static Task<Outcome<void>> close_disk(Disk& disk);

    OpenContext& context_;
    DiskGroupPlan plan_;
    NamedNodes nodes_;
    std::vector<std::unique_ptr<Disk>> disks_;  // none moves: exports point to their backends
    std::vector<DiskLines> lines_;              // of disks_
    AsyncEvent stopping_;
};

}  // namespace zbdkit::app
