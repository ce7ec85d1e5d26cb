// SPDX-License-Identifier: Apache-2.0
// An engine without a kernel for tests of the reactor: its clock moves only when a poll waits, and
// operations end when the test says so. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "io/engine.h"
#include "io/op_fifo.h"

namespace zbdkit::test {

class ManualEngine final : public IoEngine {
  public:
    [[nodiscard]] bool attempt(IoOp& op) override { return attempt_with && attempt_with(op); }
    void submit(IoOp& op) override { in_flight.push_back(&op); }
    void cancel(IoOp& op) override { end(op, -125 /* ECANCELED */); }

    /// A wait for a time passes in an instant; a wait without an end is counted as a deadlock
    /// unless something ended.
    void poll(std::uint64_t deadline_ns) override {
        deadlines.push_back(deadline_ns);
        const bool may_wait = ended_.empty() && !woken_;
        woken_ = false;
        if (may_wait && deadline_ns != kForever && deadline_ns > clock_ns) clock_ns = deadline_ns;
        while (!ended_.empty()) {
            IoOp& op = ended_.pop();
            op.complete(op);
        }
    }
    void wake() override { woken_ = true; }
    [[nodiscard]] std::uint64_t now_ns() const override { return clock_ns; }

    /// Completes `op`, which must be in flight, at the next poll.
    void end(IoOp& op, std::int32_t result) {
        std::erase(in_flight, &op);
        op.result = result;
        ended_.push(op);
    }

    std::uint64_t clock_ns = 1000;
    std::vector<std::uint64_t> deadlines;     // of all polls so far
    std::vector<IoOp*> in_flight;             // in the order of submission
    std::function<bool(IoOp&)> attempt_with;  // none: no attempt succeeds

  private:
    OpFifo ended_;
    bool woken_ = false;
};

}  // namespace zbdkit::test
