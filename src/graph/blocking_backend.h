// SPDX-License-Identifier: Apache-2.0
// BlockBackend for callers that are no coroutines: each call runs the reactor until its answer is
// there. For tools and tests, on the reactor's thread and never from a coroutine.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/units.h"
#include "graph/backend.h"
#include "io/reactor.h"

namespace zbdkit {

class BlockingBackend {
  public:
    BlockingBackend(Reactor& reactor, std::unique_ptr<BlockNode> root)
        : reactor_(reactor), backend_(std::move(root)) {}

    [[nodiscard]] const NodeInfo& info() const { return backend_.info(); }
    [[nodiscard]] BlockBackend& async() { return backend_; }

    /// Performs any request. Errors: as BlockBackend::submit().
    [[nodiscard]] Result<void> submit(Request& request) {
        return reactor_.run_to_end(backend_.submit(request));
    }

    /// @param offset  bytes, like the length a multiple of info().block_size
    [[nodiscard]] Result<void> read(std::uint64_t offset, MutableBytes bytes);
    [[nodiscard]] Result<void> write(std::uint64_t offset, ConstBytes bytes, bool fua = false);
    /// @param zone_start  bytes
    /// @return absolute byte where the data is
    [[nodiscard]] Result<std::uint64_t> append(std::uint64_t zone_start, ConstBytes bytes,
                                               bool fua = false);
    [[nodiscard]] Result<void> write_zeroes(ByteRange range);
    [[nodiscard]] Result<void> discard(ByteRange range);
    [[nodiscard]] Result<void> flush();

    /// The zones from the one that contains `offset` on.
    /// @param most  any number: memory is taken for the zones that there are
    [[nodiscard]] Result<std::vector<ZoneDescriptor>> report(std::uint64_t offset,
                                                             std::size_t most);
    /// One action on each zone of a range; see act_on_zones().
    [[nodiscard]] Result<void> act(Op action, ByteRange zones);

    /// Closes the graph. Once, before destruction.
    [[nodiscard]] Outcome<void> close() { return reactor_.run_to_end(backend_.close()); }

  private:
    Reactor& reactor_;
    BlockBackend backend_;
};

}  // namespace zbdkit
