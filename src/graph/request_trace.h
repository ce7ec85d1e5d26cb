// SPDX-License-Identifier: Apache-2.0
// RequestTrace: what listeners of the trace points hear of one request: that it starts, that it
// ends and how, and what it does to zones. Lives with the request in BlockBackend::submit(). If
// nobody listens it costs a few loads, and no look at the clock.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "base/trace.h"
#include "block/node.h"
#include "block/request.h"

namespace zbdkit {

class RequestTrace {
  public:
    /// Tells of the start. Both outlive this object.
    RequestTrace(const BlockNode& root, const Request& request) : root_(root), request_(request) {
        if (trace_has_listener(TracePoint::request_start)) [[unlikely]]
            tell_start();
        if (trace_has_listener(TracePoint::request_end)) [[unlikely]]
            start_clock();
        if (kZoneOps.has(request.op)) tell_zone_start();
    }

    /// Tells of the end.
    void end(const Result<void>& result) const {
        if (request_.op == Op::append) tell_append_end(result);
        if (trace_has_listener(TracePoint::request_end)) [[unlikely]]
            tell_end(result);
    }

  private:
    static constexpr OpSet kZoneOps = {Op::report_zones,  Op::append,      Op::zone_open,
                                       Op::zone_close,    Op::zone_finish, Op::zone_reset,
                                       Op::zone_reset_all};

    void start_clock();
    void tell_start() const;
    void tell_zone_start() const;
    void tell_append_end(const Result<void>& result) const;
    void tell_end(const Result<void>& result) const;
    [[nodiscard]] const char* node_name() const { return root_.name().c_str(); }

    const BlockNode& root_;
    const Request& request_;
    std::uint64_t started_ns_ = 0;  // 0: nobody listened then
};

}  // namespace zbdkit
