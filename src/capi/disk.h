// SPDX-License-Identifier: Apache-2.0
// Disk: an open graph and the thread that it lives on, for callers on other threads. Its calls wait
// for their answers; as many as there are callers are in flight. It knows nothing of handles: those
// are DiskTable's.
#pragma once

#include <memory>
#include <thread>

#include "base/error.h"
#include "base/options.h"
#include "block/request.h"
#include "capi/answer.h"
#include "graph/backend.h"
#include "io/reactor.h"
#include "io/scope.h"
#include "io/task.h"

namespace zbdkit::capi {

class Disk {
  public:
    /// Starts the thread and opens the graph on it.
    /// Errors: a host without io_uring or threads; what open_node() says. Waits: until it is open.
    [[nodiscard]] static Outcome<std::unique_ptr<Disk>> open(OptionValues options);
    Disk(const Disk&) = delete;
    Disk& operator=(const Disk&) = delete;
    /// The disk is closed, or was never open.
    ~Disk();

    // Thread: any but the disk's own.

    [[nodiscard]] const NodeInfo& info() const { return running_->backend.info(); }
    /// Performs a request. Errors: as BlockBackend::submit(). Waits: for its end.
    [[nodiscard]] Result<void> submit(Request& request);
    /// As act_on_zones(). Waits: for the last zone.
    [[nodiscard]] Result<void> act(Op action, ByteRange zones);
    /// Closes the graph and ends the thread. Once; no call may be in flight or come later.
    /// Errors: what BlockBackend::close() says.
    [[nodiscard]] Outcome<void> close();

  private:
    using Opened = Answer<Outcome<void>>;
    using Performed = Answer<Result<void>>;

    /// What lives on the thread's stack while the disk is open.
    struct Running {
        BlockBackend backend;
        TaskScope calls;
    };

    Disk() = default;
    void thread_main(OptionValues options, Opened* opened);
    [[nodiscard]] Task<Outcome<void>> shut_down();
    [[nodiscard]] Task<void> perform(Request* request, Performed* performed);
    [[nodiscard]] Task<void> perform_action(Op action, ByteRange zones, Performed* performed);

    std::thread thread_;
    // Made by the thread and outlives it: whoever tells it to stop is still in that call when it
    // ends.
    std::unique_ptr<Reactor> reactor_;
    Running* running_ = nullptr;
    Outcome<void> closed_;
};

}  // namespace zbdkit::capi
