// SPDX-License-Identifier: Apache-2.0
#include "app/disk_group.h"

#include <fmt/format.h>

#include <utility>

#include "app/messages.h"
#include "base/text.h"
#include "io/scope.h"

namespace zbdkit::app {
namespace {

constexpr Op kZoneActions[] = {Op::zone_open, Op::zone_close, Op::zone_finish, Op::zone_reset,
                               Op::zone_reset_all};

std::uint64_t zone_actions(const BlockBackend& backend) {
    std::uint64_t actions = 0;
    for (const Op op : kZoneActions) actions += backend.counters(op).requests;
    return actions;
}

struct Totals {
    std::uint64_t requests = 0;
    std::uint64_t failures = 0;
};
Totals totals_of(const BlockBackend& backend) {
    Totals totals;
    for (std::size_t op = 0; op < kOpCount; ++op) {
        const BlockBackend::Counters& counters = backend.counters(static_cast<Op>(op));
        totals.requests += counters.requests;
        totals.failures += counters.failures;
    }
    return totals;
}

DiskLines lines_at_start(const ExportPlan& plan, BlockBackend& backend) {
    const NodeInfo& info = backend.info();
    DiskLines lines;
    lines.place = plan.place;
    lines.serving = fmt::format("serving {}: {}{} on {}\nQEMU >= 10.2: qemu-system-x86_64 {}\n",
                                backend.root().describe(), describe_disk(info.zones, info.size),
                                plan.device.writable ? "" : ", read-only", plan.socket_path,
                                qemu_arguments(plan));
    lines.warning = append_warning(plan, info.zones.max_append_bytes);
    return lines;
}

std::string line_at_end(BlockBackend& backend, const vhost_user::Server& server) {
    const Totals totals = totals_of(backend);
    return fmt::format(
        "served {}: {} on {}; {} read, {} written, {} of {}, {}; {} refused, "
        "{} failed\n",
        backend.root().describe(), count_text(totals.requests, "request"),
        count_text(server.counters().connections, "connection"),
        format_size(backend.counters(Op::read).bytes),
        format_size(backend.counters(Op::write).bytes),
        count_text(backend.counters(Op::append).requests, "append"),
        format_size(backend.counters(Op::append).bytes),
        count_text(zone_actions(backend), "zone action"), server.device().refused(),
        totals.failures);
}

}  // namespace

DiskGroup::DiskGroup(OpenContext& context, DiskGroupPlan plan)
    : context_(context), plan_(std::move(plan)), nodes_(plan_.elsewhere) {}

DiskGroup::~DiskGroup() = default;

Task<Outcome<void>> DiskGroup::start() {
    for (const ObjectPlan& object : plan_.objects) co_await ok(make_object(context_, object));
    for (const OptionValues& options : plan_.nodes) {
        std::unique_ptr<BlockNode> node = co_await ok(open_node(context_, options, nodes_));
        nodes_.put(std::move(node));
    }
    for (const ExportPlan& plan : plan_.exports) co_await ok(add_disk(plan));
    co_return Outcome<void>{};
}

Outcome<void> DiskGroup::add_disk(const ExportPlan& plan) {
    const BlockNode* found = nodes_.find(plan.node_name);
    if (found != nullptr && plan.device.writable && found->info().read_only) {
        return failure(fmt::format("export '{}': node '{}' is read-only: expected writable=off",
                                   plan.id, plan.node_name),
                       Errc::read_only);
    }
    Outcome<std::unique_ptr<BlockNode>> root = nodes_.take(plan.node_name);
    if (!root) {
        return failure(fmt::format("export '{}': {}", plan.id, root.error().message),
                       Errc::not_supported);
    }
    Disk& disk = disks_.emplace_back();
    disk.plan = plan;
    disk.backend = std::make_unique<BlockBackend>(std::move(*root));
    const vhost_user::ServerOptions options = {.socket_path = plan.socket_path,
                                               .device = plan.device,
                                               .poll_bound_ns = plan.poll_bound_ns};
    Outcome<std::unique_ptr<vhost_user::Server>> server =
        vhost_user::Server::listen(context_.reactor, *disk.backend, options);
    if (!server) return std::unexpected(std::move(server.error()));
    disk.server = std::move(*server);
    lines_.push_back(lines_at_start(plan, *disk.backend));
    return {};
}

Task<void> DiskGroup::run_server(vhost_user::Server& server) {
    co_await server.run();
    stopping_.set();  // a server that gives up ends the daemon; it does not linger half alive
}

Task<Outcome<void>> DiskGroup::serve() {
    TaskScope scope;
    for (const Disk& disk : disks_) scope.spawn(run_server(*disk.server));
    co_await stopping_.wait();
    for (const Disk& disk : disks_) disk.server->stop();
    co_await scope.join();
    for (std::size_t i = 0; i < disks_.size(); ++i) {
        lines_[i].served = line_at_end(*disks_[i].backend, *disks_[i].server);
    }
    co_return Outcome<void>{};
}

Task<Outcome<void>> DiskGroup::close() {
    Outcome<void> first;
    for (const Disk& disk : disks_) {
        Outcome<void> closed = co_await disk.backend->close();
        if (first && !closed) first = std::move(closed);
    }
    while (std::unique_ptr<BlockNode> node = nodes_.take_any()) {
        Outcome<void> closed = co_await node->close();
        if (first && !closed) first = std::move(closed);
    }
    disks_.clear();  // here, not in the destructor, which may run on another thread
    co_return first;
}

}  // namespace zbdkit::app
