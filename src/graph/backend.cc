// SPDX-License-Identifier: Apache-2.0
#include "graph/backend.h"

#include <utility>

#include "base/assert.h"
#include "graph/request_trace.h"

namespace zbdkit {

BlockBackend::BlockBackend(std::unique_ptr<BlockNode> root) : root_(std::move(root)) {}

BlockBackend::~BlockBackend() { ZBDKIT_ASSERT(in_flight_ == 0); }

Task<Result<void>> BlockBackend::submit(Request& request) {
    if (closing_) co_return fail(Errc::shutting_down, "the disk is being closed");
    ++in_flight_;
    RequestTrace trace(*root_, request);
    const Result<void> result = co_await root_->submit(request);
    trace.end(result);
    --in_flight_;
    Counters& counters = counters_[static_cast<std::size_t>(request.op)];
    ++counters.requests;
    if (result) {
        counters.bytes += total_length(request.segments);
    } else {
        ++counters.failures;
    }
    if (in_flight_ == 0) idle_.wake_all();
    co_return result;
}

Task<void> BlockBackend::drain() {
    while (in_flight_ != 0) co_await idle_.wait();
}

Task<Outcome<void>> BlockBackend::close() {
    closing_ = true;
    co_await drain();
    Outcome<void> closed = co_await root_->close();
    co_return closed;
}

}  // namespace zbdkit
