// SPDX-License-Identifier: Apache-2.0
#include "app/daemon.h"

#include <fmt/format.h>
#include <poll.h>

#include <cstdio>
#include <utility>

#include "app/messages.h"
#include "app/service_manager.h"
#include "base/log.h"
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

}  // namespace

Daemon::Daemon(OpenContext& context, DaemonPlan plan, StopSignals& signals)
    : context_(context), plan_(std::move(plan)), signals_(signals) {}

Daemon::~Daemon() = default;

Task<Outcome<void>> Daemon::run() {
    const Outcome<void> started = co_await start();
    if (started) {
        announce();
        notify_service_manager("READY=1");
        co_await serve_until_stopped();
    }
    Outcome<void> closed = co_await close_all();
    co_return started ? std::move(closed) : started;
}

Task<Outcome<void>> Daemon::start() {
    for (const ObjectPlan& object : plan_.objects) co_await ok(make_object(context_, object));
    for (const OptionValues& options : plan_.nodes) {
        std::unique_ptr<BlockNode> node = co_await ok(open_node(context_, options, nodes_));
        nodes_.put(std::move(node));
    }
    for (const ExportPlan& plan : plan_.exports) co_await ok(add_disk(plan));
    co_return Outcome<void>{};
}

Outcome<void> Daemon::add_disk(const ExportPlan& plan) {
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
    return {};
}

/// Says what is served and how to use it. The lines are complete before READY=1.
void Daemon::announce() const {
    for (const Disk& disk : disks_) {
        const NodeInfo& info = disk.backend->info();
        fmt::print("serving {}: {}{} on {}\n", disk.backend->root().describe(),
                   describe_disk(info.zones, info.size),
                   disk.plan.device.writable ? "" : ", read-only", disk.plan.socket_path);
        fmt::print("QEMU >= 10.2: qemu-system-x86_64 {}\n", qemu_arguments(disk.plan));
        const std::string warning = append_warning(disk.plan, info.zones.max_append_bytes);
        if (!warning.empty()) spdlog::warn("{}", warning);
    }
    std::fflush(stdout);
    for (const std::string& name : nodes_.free_names()) {
        spdlog::warn("node '{}' is not exported", name);
    }
}

Task<void> Daemon::run_server(vhost_user::Server& server) {
    co_await server.run();
    stopping_.set();  // a server that gives up ends the daemon; it does not linger half alive
}

Task<void> Daemon::wait_for_signal(ReadinessWaiter& waiter) {
    const bool is_ready = co_await waiter.wait(POLLIN);
    if (!is_ready) co_return;
    const char* name = signals_.read();
    StopSignals::end_at_once();
    fmt::print(stderr, "zbdkit: serve: {}: finishing what is in flight\n", name);
    stopping_.set();
}

Task<void> Daemon::serve_until_stopped() {
    ReadinessWaiter waiter(context_.reactor, signals_.fd());
    TaskScope scope;
    for (const Disk& disk : disks_) scope.spawn(run_server(*disk.server));
    scope.spawn(wait_for_signal(waiter));
    co_await stopping_.wait();
    notify_service_manager("STOPPING=1");
    for (const Disk& disk : disks_) disk.server->stop();
    waiter.stop();
    co_await scope.join();
    for (const Disk& disk : disks_) {
        const BlockBackend& backend = *disk.backend;
        const vhost_user::ServerCounters& counters = disk.server->counters();
        const Totals totals = totals_of(backend);
        fmt::print(
            "served {}: {} on {}; {} read, {} written, {} of {}, {}; {} refused, "
            "{} failed\n",
            disk.backend->root().describe(), count_text(totals.requests, "request"),
            count_text(counters.connections, "connection"),
            format_size(backend.counters(Op::read).bytes),
            format_size(backend.counters(Op::write).bytes),
            count_text(backend.counters(Op::append).requests, "append"),
            format_size(backend.counters(Op::append).bytes),
            count_text(zone_actions(backend), "zone action"), disk.server->device().refused(),
            totals.failures);
    }
    std::fflush(stdout);
}

Task<Outcome<void>> Daemon::close_all() {
    Outcome<void> first;
    for (const Disk& disk : disks_) {
        Outcome<void> closed = co_await disk.backend->close();
        if (first && !closed) first = std::move(closed);
    }
    while (std::unique_ptr<BlockNode> node = nodes_.take_any()) {
        Outcome<void> closed = co_await node->close();
        if (first && !closed) first = std::move(closed);
    }
    co_return first;
}

}  // namespace zbdkit::app
