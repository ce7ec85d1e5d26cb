// SPDX-License-Identifier: Apache-2.0
// Which thread serves which disk: that of the export, with all nodes and objects that it needs. A
// graph belongs to one thread, so what exports of two threads need is refused here. Decides by the
// options alone; nothing is open yet.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "app/export_options.h"
#include "base/error.h"
#include "base/options.h"
#include "graph/objects.h"

namespace zbdkit::app {

/// What is to be served, as it was asked for.
struct ServePlan {
    std::vector<ObjectPlan> objects;
    std::vector<OptionValues> nodes;  ///< each with a node-name
    std::vector<ExportPlan> exports;
};

/// What one thread is to serve. All in the order in which it was asked for.
struct DiskGroupPlan {
    std::string io_thread;            ///< its id; "": the main thread
    std::vector<ObjectPlan> objects;  ///< made before the nodes
    std::vector<OptionValues> nodes;  ///< each with a node-name
    std::vector<ExportPlan> exports;
    std::set<std::string> elsewhere;  ///< names that nodes of the other threads have
};

struct DaemonPlan {
    std::vector<DiskGroupPlan> groups;      ///< that of the main thread first
    std::vector<std::string> idle_threads;  ///< iothreads that no export names
};

/// Spreads the disks over the main thread and those that the exports name. Nodes that no export
/// needs go to the main thread, and objects that no node names to all.
/// Errors: an unknown iothread, with the nearest known one; a node that exports of two threads
/// need; a throttle-group with disks on two threads.
[[nodiscard]] Outcome<DaemonPlan> place_disks(const ServePlan& plan);

}  // namespace zbdkit::app
