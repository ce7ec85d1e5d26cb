// SPDX-License-Identifier: Apache-2.0
#include "io/shared_round.h"

#include <utility>

namespace zbdkit {

Task<Result<void>> SharedRound::join() {
    // Here and not in the coroutine: the round is the one of the call, not of the first resumption.
    if (!next_) next_ = std::make_shared<Round>();
    return wait_for(next_);
}

Task<Result<void>> SharedRound::wait_for(std::shared_ptr<Round> round) {
    if (!running_) rounds_.spawn(run());
    co_await round->done.wait();
    co_return round->result;
}

Task<void> SharedRound::run() {
    running_ = true;
    while (next_) {
        const std::shared_ptr<Round> round = std::exchange(next_, nullptr);
        round->result = co_await work_();
        round->done.set();
    }
    running_ = false;
}

}  // namespace zbdkit
