// SPDX-License-Identifier: Apache-2.0
// SharedRound: work that is the same for all who ask for it, such as a sync. Rounds run one at a
// time. Whoever asks while one runs waits for the next, which begins after its predecessor's end
// and is shared by all who asked meanwhile: so a round covers what was done before anybody asked
// for it. One reactor.
#pragma once

#include <functional>
#include <memory>

#include "base/error.h"
#include "io/scope.h"
#include "io/sync.h"
#include "io/task.h"

namespace zbdkit {

class SharedRound {
  public:
    using Work = std::move_only_function<Task<Result<void>>()>;

    /// @param work  one round. What it stands on outlives this object's last round
    explicit SharedRound(Work work) : work_(std::move(work)) {}

    /// Waits for a round that begins after this call. Errors: those of the round.
    [[nodiscard]] Task<Result<void>> join();

    [[nodiscard]] bool is_running() const { return running_; }
    /// Waits until no round runs. Nobody may be waiting for one by then.
    [[nodiscard]] Task<void> drain() { co_await rounds_.join(); }

  private:
    struct Round {
        AsyncEvent done;
        Result<void> result;
    };

    [[nodiscard]] Task<Result<void>> wait_for(std::shared_ptr<Round> round);
    [[nodiscard]] Task<void> run();

    Work work_;
    std::shared_ptr<Round> next_;  ///< shared: by its runner and all who wait for it
    bool running_ = false;
    TaskScope rounds_;
};

}  // namespace zbdkit
