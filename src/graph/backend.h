// SPDX-License-Identifier: Apache-2.0
// BlockBackend: the top of a graph as its user sees it. Exports and tools submit requests here; it
// keeps the count of requests in flight, so that the graph can be drained and closed.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "base/error.h"
#include "block/node.h"
#include "block/request.h"
#include "io/sync.h"
#include "io/task.h"

namespace zbdkit {

class BlockBackend {
  public:
    /// What was asked of the graph since it was opened.
    struct Counters {
        std::uint64_t requests = 0;  ///< completed, failed ones included
        std::uint64_t failures = 0;
        std::uint64_t bytes = 0;  ///< of successful reads, writes and appends
    };

    explicit BlockBackend(std::unique_ptr<BlockNode> root);
    BlockBackend(const BlockBackend&) = delete;
    BlockBackend& operator=(const BlockBackend&) = delete;
    /// Nothing may be in flight; close() should have been called.
    ~BlockBackend();

    /// Sends the request down the graph. Errors: as BlockNode::submit, shutting_down after
    /// close() began. Thread: owner reactor.
    [[nodiscard]] Task<Result<void>> submit(Request& request);

    [[nodiscard]] const NodeInfo& info() const { return root_->info(); }
    [[nodiscard]] BlockNode& root() { return *root_; }
    [[nodiscard]] const Counters& counters(Op op) const {
        return counters_[static_cast<std::size_t>(op)];
    }
    [[nodiscard]] std::uint64_t in_flight() const { return in_flight_; }

    /// Waits until nothing is in flight. New requests are still accepted.
    [[nodiscard]] Task<void> drain();

    /// Refuses new requests, drains, and closes the graph. Once.
    [[nodiscard]] Task<Outcome<void>> close();

  private:
    std::unique_ptr<BlockNode> root_;
    std::array<Counters, kOpCount> counters_{};
    std::uint64_t in_flight_ = 0;
    bool closing_ = false;
    WaitQueue idle_;
};

}  // namespace zbdkit
