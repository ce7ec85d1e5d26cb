// SPDX-License-Identifier: Apache-2.0
// A leaf for tests of filters that make requests wait: every operation succeeds at once, and when
// it came is recorded. Its zones are 4 MiB.
#pragma once

#include <cstdint>
#include <vector>

#include "block/node.h"
#include "io/reactor.h"

namespace zbdkit::test {

class TimedNode final : public BlockNode {
  public:
    struct Arrival {
        std::uint64_t at_ns;
        Op op;
        std::uint64_t offset;
        bool operator==(const Arrival&) const = default;
    };

    /// @param arrivals  where each request is noted; several nodes may share it
    TimedNode(Reactor& reactor, std::vector<Arrival>& arrivals)
        : BlockNode("timed"), reactor_(reactor), arrivals_(arrivals) {
        set_info({.size = 64 * kMiB,
                  .block_size = 512,
                  .ops = {Op::read, Op::write, Op::append, Op::write_zeroes, Op::discard, Op::flush,
                          Op::report_zones, Op::zone_open, Op::zone_close, Op::zone_finish,
                          Op::zone_reset, Op::zone_reset_all},
                  .zones = {.model = ZoneModel::host_managed,
                            .device_size = 64 * kMiB,
                            .zone_size = 4 * kMiB,
                            .zone_capacity = 4 * kMiB,
                            .max_append_bytes = kMiB,
                            .write_granularity = 512}});
    }
    [[nodiscard]] std::string describe() const override { return "timed"; }

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        arrivals_.push_back({reactor_.now_ns(), request.op, request.range.offset});
        co_return Result<void>{};
    }

  private:
    Reactor& reactor_;
    std::vector<Arrival>& arrivals_;
};

}  // namespace zbdkit::test
