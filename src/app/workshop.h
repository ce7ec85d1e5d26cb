// SPDX-License-Identifier: Apache-2.0
// Workshop: what every command that opens storage needs: a reactor over io_uring, threads for
// blocking calls, and the context that nodes are opened with. One to a command, on its main thread.
#pragma once

#include <memory>
#include <utility>

#include "base/error.h"
#include "block/driver.h"
#include "io/blocking_pool.h"
#include "io/reactor.h"
#include "io/task.h"

namespace zbdkit::app {

/// Threads for the blocking calls of one reactor's nodes.
inline constexpr unsigned kBlockingThreads = 2;

class Workshop {
  public:
    /// Errors: the host has no usable io_uring.
    [[nodiscard]] static Outcome<std::unique_ptr<Workshop>> make();

    /// Runs a command's coroutine to its end.
    template <class T>
    T run(Task<T> task) {
        return reactor_.run_to_end(std::move(task));
    }

    [[nodiscard]] Reactor& reactor() { return reactor_; }
    [[nodiscard]] OpenContext& context() { return context_; }

  private:
    explicit Workshop(std::unique_ptr<IoEngine> engine);

    Reactor reactor_;
    BlockingPool pool_;
    OpenContext context_;
};

}  // namespace zbdkit::app
