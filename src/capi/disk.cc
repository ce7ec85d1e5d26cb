// SPDX-License-Identifier: Apache-2.0
#include "capi/disk.h"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>

#include <system_error>
#include <utility>

#include "base/assert.h"
#include "graph/graph.h"
#include "graph/zone_range.h"
#include "io/blocking_pool.h"
#include "io/uring_engine.h"

namespace zbdkit::capi {
namespace {

constexpr unsigned kBlockingThreads = 2;

/// While it lives, threads that this one starts take no signals but those of their own faults: the
/// program's handlers run on its own threads.
class SignalsHeldBack {
  public:
    SignalsHeldBack() {
        sigset_t signals;
        ::sigfillset(&signals);
        for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) {
            ::sigdelset(&signals, fault);
        }
        ::pthread_sigmask(SIG_SETMASK, &signals, &before_);
    }
    SignalsHeldBack(const SignalsHeldBack&) = delete;
    SignalsHeldBack& operator=(const SignalsHeldBack&) = delete;
    ~SignalsHeldBack() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  private:
    sigset_t before_{};
};

}  // namespace

Outcome<std::unique_ptr<Disk>> Disk::open(OptionValues options) {
    std::unique_ptr<Disk> disk(new Disk());
    Opened opened;
    try {
        const SignalsHeldBack held_back;
        disk->thread_ = std::thread(&Disk::thread_main, disk.get(), std::move(options), &opened);
    } catch (const std::system_error& error) {
        return failure(fmt::format("cannot start a thread: {}", error.what()));
    }
    const Outcome<void> result = opened.wait();
    if (result) return disk;
    disk->thread_.join();
    return std::unexpected(result.error());
}

Disk::~Disk() { ZBDKIT_ASSERT(!thread_.joinable()); }

void Disk::thread_main(OptionValues options, Opened* opened) {
    Outcome<std::unique_ptr<IoEngine>> engine = make_uring_engine();
    if (!engine) return opened->give(std::unexpected(std::move(engine.error())));
    reactor_ = std::make_unique<Reactor>(std::move(*engine));
    BlockingPool pool(kBlockingThreads);
    OpenContext context{*reactor_, pool};
    NamedNodes named;
    Outcome<std::unique_ptr<BlockNode>> root =
        reactor_->run_to_end(open_node(context, std::move(options), named));
    if (!root) return opened->give(std::unexpected(std::move(root.error())));
    Running running{BlockBackend(std::move(*root)), {}};
    running_ = &running;
    opened->give({});
    reactor_->run();
    closed_ = reactor_->run_to_end(shut_down());
}

/// No caller waits any more, but the coroutine of the last call may have a turn to go.
Task<Outcome<void>> Disk::shut_down() {
    co_await running_->calls.join();
    Outcome<void> closed = co_await running_->backend.close();
    co_return closed;
}

Outcome<void> Disk::close() {
    reactor_->stop();
    thread_.join();
    return std::move(closed_);
}

Result<void> Disk::submit(Request& request) {
    Performed performed;
    reactor_->post([this, wanted = &request, answer = &performed] {
        running_->calls.spawn(perform(wanted, answer));
    });
    return performed.wait();
}

Task<void> Disk::perform(Request* request, Performed* performed) {
    const Result<void> result = co_await running_->backend.submit(*request);
    performed->give(result);
}

Result<void> Disk::act(Op action, ByteRange zones) {
    Performed performed;
    reactor_->post([this, action, zones, answer = &performed] {
        running_->calls.spawn(perform_action(action, zones, answer));
    });
    return performed.wait();
}

Task<void> Disk::perform_action(Op action, ByteRange zones, Performed* performed) {
    const Result<void> result = co_await act_on_zones(running_->backend, action, zones);
    performed->give(result);
}

}  // namespace zbdkit::capi
