// SPDX-License-Identifier: Apache-2.0
// A first-in first-out list of operations, linked through IoOp::next: no allocation, no bound.
// An operation is in one list at most. One thread.
#pragma once

#include <utility>

#include "io/engine.h"

namespace zbdkit {

class OpFifo {
  public:
    [[nodiscard]] bool empty() const { return first_ == nullptr; }

    void push(IoOp& op) {
        op.next = nullptr;
        *end_ = &op;
        end_ = &op.next;
    }

    /// @return the oldest operation; the list must not be empty
    [[nodiscard]] IoOp& front() { return *first_; }
    /// Takes that out.
    IoOp& pop() {
        IoOp& op = *first_;
        unlink(&first_);
        return op;
    }

    /// Takes `op` out wherever it stands: linear, for the rare cancellation.
    /// @return false if it is not in the list
    bool remove(const IoOp& op) {
        for (IoOp** link = &first_; *link != nullptr; link = &(*link)->next) {
            if (*link != &op) continue;
            unlink(link);
            return true;
        }
        return false;
    }

    OpFifo() = default;
    OpFifo(const OpFifo&) = delete;
    OpFifo& operator=(const OpFifo&) = delete;

  private:
    void unlink(IoOp** link) {
        *link = std::exchange((*link)->next, nullptr);
        if (*link == nullptr) end_ = link;
    }

    IoOp* first_ = nullptr;
    IoOp** end_ = &first_;  // where the next operation is linked in
};

}  // namespace zbdkit
