// SPDX-License-Identifier: Apache-2.0
#include "app/daemon.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "app/service_manager.h"
#include "app/workshop.h"
#include "base/log.h"
#include "io/scope.h"

namespace zbdkit::app {
namespace {

using Step = Task<Outcome<void>> (DiskGroup::*)();

Task<void> keep_outcome(DiskGroup& group, Step step, Outcome<void>& outcome) {
    outcome = co_await (group.*step)();
}

}  // namespace

Daemon::IoWorkshop::IoWorkshop(std::unique_ptr<IoThread> started)
    : thread(std::move(started)), pool(kBlockingThreads), context{thread->reactor(), pool} {}

Daemon::Daemon(OpenContext& context, DaemonPlan plan, StopSignals& signals)
    : context_(context), plan_(std::move(plan)), signals_(signals) {}

Daemon::~Daemon() = default;

Task<Outcome<void>> Daemon::run() {
    co_await ok(make_seats());
    const Outcome<void> started = co_await start();
    if (started) {
        announce();
        notify_service_manager("READY=1");
        co_await serve_until_stopped();
    }
    Outcome<void> closed = co_await close_all();
    if (!started) co_return started;
    co_return served_ ? std::move(closed) : served_;
}

Outcome<void> Daemon::make_seats() {
    for (DiskGroupPlan& plan : plan_.groups) {
        Seat seat;
        if (!plan.io_thread.empty()) {
            Outcome<std::unique_ptr<IoThread>> thread = IoThread::start(plan.io_thread);
            if (!thread) return std::unexpected(std::move(thread.error()));
            seat.workshop = std::make_unique<IoWorkshop>(std::move(*thread));
        }
        OpenContext& context = seat.workshop ? seat.workshop->context : context_;
        seat.group = std::make_unique<DiskGroup>(context, std::move(plan));
        seats_.push_back(std::move(seat));
    }
    return {};
}

/// Runs a step of the group's life on its thread, and waits for its end.
Task<Outcome<void>> Daemon::run_step(Seat& seat, Step step) {
    DiskGroup& group = *seat.group;
    if (!seat.workshop) co_return co_await (group.*step)();
    Outcome<void> outcome;
    IoThread::Call call = seat.workshop->thread->run(
        context_.reactor, [&group, step, &outcome] { return keep_outcome(group, step, outcome); });
    co_await call;
    co_return outcome;
}

void Daemon::begin_stop(Seat& seat) {
    DiskGroup& group = *seat.group;
    if (!seat.workshop) return group.stop();
    seat.workshop->thread->reactor().post([&group] { group.stop(); });
}

/// One group after the other, so that the first failure is the same one each time.
Task<Outcome<void>> Daemon::start() {
    for (Seat& seat : seats_) co_await ok(run_step(seat, &DiskGroup::start));
    co_return Outcome<void>{};
}

/// Of all groups, in the order of the exports.
std::vector<const DiskLines*> Daemon::all_lines() const {
    std::vector<const DiskLines*> lines;
    for (const Seat& seat : seats_) {
        for (const DiskLines& disk : seat.group->lines()) lines.push_back(&disk);
    }
    std::ranges::sort(lines, {}, &DiskLines::place);
    return lines;
}

/// Says what is served and how to use it. The lines are complete before READY=1.
void Daemon::announce() const {
    for (const DiskLines* disk : all_lines()) {
        fmt::print("{}", disk->serving);
        if (!disk->warning.empty()) spdlog::warn("{}", disk->warning);
    }
    std::fflush(stdout);
    for (const Seat& seat : seats_) {
        for (const std::string& name : seat.group->idle_nodes()) {
            spdlog::warn("node '{}' is not exported", name);
        }
    }
    for (const std::string& id : plan_.idle_threads) {
        spdlog::warn("iothread '{}' serves no export", id);
    }
}

Task<void> Daemon::serve_group(Seat& seat) {
    ++serving_;
    Outcome<void> served = co_await run_step(seat, &DiskGroup::serve);
    if (served_ && !served) served_ = std::move(served);
    --serving_;
    if (serving_ == 0) stopping_.set();  // nothing is left to serve
}

/// Whether all disks may end.
Task<Outcome<void>> Daemon::check_unused() {
    for (Seat& seat : seats_) co_await ok(run_step(seat, &DiskGroup::check_unused));
    co_return Outcome<void>{};
}

/// A signal ends the daemon, unless somebody on this machine would lose data.
Task<void> Daemon::wait_for_signal(ReadinessWaiter& waiter) {
    while (true) {
        const bool is_ready = co_await waiter.wait(POLLIN);
        if (!is_ready) co_return;
        const char* name = signals_.read();
        const Outcome<void> unused = co_await check_unused();
        if (stopping_.is_set()) co_return;
        if (unused) {
            StopSignals::end_at_once();
            fmt::print(stderr, "zbdkit: serve: {}: finishing what is in flight\n", name);
            stopping_.set();
            co_return;
        }
        fmt::print(stderr, "zbdkit: serve: {}: not ended: {}\n", name, unused.error().message);
    }
}

Task<void> Daemon::serve_until_stopped() {
    ReadinessWaiter waiter(context_.reactor, signals_.fd());
    TaskScope scope;
    for (Seat& seat : seats_) {
        if (!seat.group->lines().empty()) scope.spawn(serve_group(seat));
    }
    scope.spawn(wait_for_signal(waiter));
    co_await stopping_.wait();
    notify_service_manager("STOPPING=1");
    for (Seat& seat : seats_) begin_stop(seat);
    waiter.stop();
    co_await scope.join();
    for (const DiskLines* disk : all_lines()) fmt::print("{}", disk->served);
    std::fflush(stdout);
}

Task<Outcome<void>> Daemon::close_all() {
    Outcome<void> first;
    for (Seat& seat : seats_) {
        Outcome<void> closed = co_await run_step(seat, &DiskGroup::close);
        if (first && !closed) first = std::move(closed);
    }
    co_return first;
}

}  // namespace zbdkit::app
