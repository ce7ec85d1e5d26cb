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

DiskLines lines_at_start(const ExportPlan& plan, const DiskExport& exported) {
    return {.place = plan.place,
            .serving = exported.serving(),
            .warning = exported.warning(),
            .served = {}};
}

std::string line_at_end(BlockBackend& backend, const DiskExport& exported) {
    const Totals totals = totals_of(backend);
    return fmt::format(
        "served {}: {} {}; {} read, {} written, {} of {}, {}; {} refused, {} failed\n",
        backend.root().describe(), count_text(totals.requests, "request"), exported.served(),
        format_size(backend.counters(Op::read).bytes),
        format_size(backend.counters(Op::write).bytes),
        count_text(backend.counters(Op::append).requests, "append"),
        format_size(backend.counters(Op::append).bytes),
        count_text(zone_actions(backend), "zone action"), exported.refused(), totals.failures);
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

Outcome<std::unique_ptr<BlockNode>> DiskGroup::take_root(const ExportPlan& plan) {
    const BlockNode* found = nodes_.find(plan.node_name);
    if (found != nullptr && plan.device.writable && found->info().read_only) {
        return failure(fmt::format("export '{}': node '{}' is read-only: expected writable=off",
                                   plan.id, plan.node_name),
                       Errc::read_only);
    }
    Outcome<std::unique_ptr<BlockNode>> root = nodes_.take(plan.node_name);
    if (root) return root;
    return failure(fmt::format("export '{}': {}", plan.id, root.error().message),
                   Errc::not_supported);
}

Task<Outcome<void>> DiskGroup::add_disk(const ExportPlan& plan) {
    std::unique_ptr<BlockNode> root = co_await ok(take_root(plan));
    Disk& disk = *disks_.emplace_back(std::make_unique<Disk>());
    disk.backend = std::make_unique<BlockBackend>(std::move(root));
    disk.exported = co_await ok(DiskExport::make(context_.reactor, *disk.backend, plan));
    Outcome<void> started = co_await disk.exported->start();
    if (!started) {
        disk.exported.reset();
        co_return started;
    }
    lines_.push_back(lines_at_start(plan, *disk.exported));
    co_return Outcome<void>{};
}

Task<Outcome<void>> DiskGroup::check_unused() {
    for (const std::unique_ptr<Disk>& disk : disks_) {
        if (!disk->is_closed) co_await ok(disk->exported->check_unused());
    }
    co_return Outcome<void>{};
}

Task<void> DiskGroup::run_export(Disk& disk, DiskLines& lines) {
    disk.outcome = co_await disk.exported->run();
    lines.served = line_at_end(*disk.backend, *disk.exported);
    // At once, and not with the others: whoever ended this one wants to have its image.
    Outcome<void> closed = co_await close_disk(disk);
    if (disk.outcome && !closed) disk.outcome = std::move(closed);
}

Task<void> DiskGroup::stop_when_told() {
    co_await stopping_.wait();
    for (const std::unique_ptr<Disk>& disk : disks_) disk->exported->stop();
}

Task<Outcome<void>> DiskGroup::serve() {
    TaskScope exports;
    TaskScope stopper;
    for (std::size_t i = 0; i < disks_.size(); ++i) {
        exports.spawn(run_export(*disks_[i], lines_[i]));
    }
    stopper.spawn(stop_when_told());
    co_await exports.join();
    stopping_.set();  // for the case that all ended by themselves
    co_await stopper.join();
    Outcome<void> first;
    for (const std::unique_ptr<Disk>& disk : disks_) {
        if (first && !disk->outcome) first = std::move(disk->outcome);
    }
    co_return first;
}

Task<Outcome<void>> DiskGroup::close_disk(Disk& disk) {
    if (std::exchange(disk.is_closed, true)) co_return Outcome<void>{};
    co_return co_await disk.backend->close();
}

/// What start() brought up and nobody served, because another disk could not be: its exports end,
/// then the graphs.
Task<Outcome<void>> DiskGroup::close() {
    Outcome<void> first;
    const auto keep = [&first](Outcome<void> outcome) {
        if (first && !outcome) first = std::move(outcome);
    };
    for (const std::unique_ptr<Disk>& disk : disks_) {
        if (!disk->is_closed && disk->exported) {
            disk->exported->stop();
            Outcome<void> ended = co_await disk->exported->run();
            keep(std::move(ended));
        }
        Outcome<void> closed = co_await close_disk(*disk);
        keep(std::move(closed));
    }
    while (std::unique_ptr<BlockNode> node = nodes_.take_any()) {
        Outcome<void> closed = co_await node->close();
        keep(std::move(closed));
    }
    disks_.clear();  // here, not in the destructor, which may run on another thread
    co_return first;
}

}  // namespace zbdkit::app
