// SPDX-License-Identifier: Apache-2.0
#include "app/disk_placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "graph/io_thread_object.h"
#include "graph/node_options.h"

namespace zbdkit::app {
namespace {

std::string name_of(const OptionValues& node) { return node.text("node-name"); }

std::string thread_text(const std::string& io_thread) {
    return io_thread.empty() ? "the main thread" : fmt::format("iothread '{}'", io_thread);
}

class Placement {
  public:
    explicit Placement(const ServePlan& plan) : plan_(plan) {
        for (const OptionValues& node : plan.nodes) {
            references_.emplace(name_of(node), references_of(node));
        }
    }

    Outcome<DaemonPlan> run() {
        for (const ExportPlan& exported : plan_.exports) {
            Outcome<void> placed = check_thread(exported);
            if (placed) placed = place_nodes(exported);
            if (!placed) return std::unexpected(std::move(placed.error()));
        }
        for (const OptionValues& node : plan_.nodes) {
            Outcome<void> placed = place_objects(name_of(node));
            if (!placed) return std::unexpected(std::move(placed.error()));
        }
        return collect();
    }

  private:
    /// Whether the export's iothread is there.
    [[nodiscard]] Outcome<void> check_thread(const ExportPlan& exported) const;
    /// The export's node and all below it, to the export's thread.
    [[nodiscard]] Outcome<void> place_nodes(const ExportPlan& exported);
    /// What the node names, to the node's thread.
    [[nodiscard]] Outcome<void> place_objects(const std::string& node);
    [[nodiscard]] std::string thread_of_node(const std::string& node) const;
    [[nodiscard]] DaemonPlan collect() const;
    [[nodiscard]] DiskGroupPlan collect_group(const std::string& io_thread) const;

    const ServePlan& plan_;
    std::map<std::string, NodeReferences> references_;         // by node
    std::map<std::string, const ExportPlan*> export_of_node_;  // that needs it
    std::map<std::string, std::string> node_of_object_;        // the first one that names it
};

Outcome<void> Placement::check_thread(const ExportPlan& exported) const {
    if (exported.io_thread.empty()) return {};
    std::vector<std::string_view> threads;
    for (const ObjectPlan& object : plan_.objects) {
        if (object.kind != &kIoThreadObject) continue;
        if (object.id == exported.io_thread) return {};
        threads.push_back(object.id);
    }
    return failure(fmt::format("export '{}': there is no iothread '{}'{}: expected --object "
                               "iothread,id={}",
                               exported.id, exported.io_thread,
                               did_you_mean(exported.io_thread, threads), exported.io_thread),
                   Errc::not_supported);
}

Outcome<void> Placement::place_nodes(const ExportPlan& exported) {
    std::vector<std::string> needed = {exported.node_name};
    while (!needed.empty()) {
        const std::string name = std::move(needed.back());
        needed.pop_back();
        const auto references = references_.find(name);
        if (references == references_.end()) continue;  // the open says that there is none
        const auto [place, is_new] = export_of_node_.emplace(name, &exported);
        const ExportPlan& other = *place->second;
        if (other.io_thread != exported.io_thread) {
            return failure(
                fmt::format("node '{}' is needed by export '{}' on {} and by export '{}' on {}: "
                            "a node has one parent or export",
                            name, other.id, thread_text(other.io_thread), exported.id,
                            thread_text(exported.io_thread)),
                Errc::not_supported);
        }
        if (!is_new) continue;  // two that need it, or a loop: the open refuses that
        const std::vector<std::string>& children = references->second.children;
        needed.insert(needed.end(), children.begin(), children.end());
    }
    return {};
}

std::string Placement::thread_of_node(const std::string& node) const {
    const auto found = export_of_node_.find(node);
    return found == export_of_node_.end() ? std::string() : found->second->io_thread;
}

Outcome<void> Placement::place_objects(const std::string& node) {
    for (const std::string& id : references_.at(node).objects) {
        const std::string& first = node_of_object_.emplace(id, node).first->second;
        if (thread_of_node(first) == thread_of_node(node)) continue;
        return failure(fmt::format("object '{}' is used by node '{}' on {} and by node '{}' on {}: "
                                   "expected all disks that share it on one thread",
                                   id, first, thread_text(thread_of_node(first)), node,
                                   thread_text(thread_of_node(node))),
                       Errc::not_supported);
    }
    return {};
}

DiskGroupPlan Placement::collect_group(const std::string& io_thread) const {
    DiskGroupPlan group;
    group.io_thread = io_thread;
    for (const ObjectPlan& object : plan_.objects) {
        // One that nobody names is made everywhere: a misspelt name is told what it may have meant.
        const auto user = node_of_object_.find(object.id);
        const bool is_here =
            user == node_of_object_.end() || thread_of_node(user->second) == io_thread;
        if (is_here) group.objects.push_back(object);
    }
    for (const OptionValues& node : plan_.nodes) {
        if (thread_of_node(name_of(node)) == io_thread) {
            group.nodes.push_back(node);
        } else {
            const std::vector<std::string>& names = references_.at(name_of(node)).own_names;
            group.elsewhere.insert(names.begin(), names.end());
        }
    }
    for (const ExportPlan& exported : plan_.exports) {
        if (exported.io_thread == io_thread) group.exports.push_back(exported);
    }
    return group;
}

DaemonPlan Placement::collect() const {
    DaemonPlan daemon;
    daemon.groups.push_back(collect_group(""));
    std::set<std::string> seen;
    for (const ObjectPlan& object : plan_.objects) {
        if (object.kind != &kIoThreadObject || !seen.insert(object.id).second) continue;
        const auto names_it = [&object](const ExportPlan& exported) {
            return exported.io_thread == object.id;
        };
        if (std::ranges::any_of(plan_.exports, names_it)) {
            daemon.groups.push_back(collect_group(object.id));
        } else {
            daemon.idle_threads.push_back(object.id);
        }
    }
    return daemon;
}

}  // namespace

Outcome<DaemonPlan> place_disks(const ServePlan& plan) { return Placement(plan).run(); }

}  // namespace zbdkit::app
