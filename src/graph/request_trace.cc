// SPDX-License-Identifier: Apache-2.0
#include "graph/request_trace.h"

namespace zbdkit {
namespace {

const char* error_name(const Result<void>& result) {
    return result ? "ok" : errc_name(result.error().code);
}

}  // namespace

void RequestTrace::start_clock() { started_ns_ = trace_clock_ns(); }

void RequestTrace::tell_start() const {
    ZBDKIT_TRACE(request_start, node_name(), op_name(request_.op), request_.range.offset,
                 request_.range.length);
}

void RequestTrace::tell_end(const Result<void>& result) const {
    const std::uint64_t latency_ns = started_ns_ == 0 ? 0 : trace_clock_ns() - started_ns_;
    ZBDKIT_TRACE(request_end, node_name(), op_name(request_.op), request_.range.offset,
                 request_.range.length, error_name(result), latency_ns);
}

void RequestTrace::tell_zone_start() const {
    switch (request_.op) {
        case Op::report_zones:
            ZBDKIT_TRACE(zone_report, node_name(), request_.range.offset, request_.zones.size());
            break;
        case Op::append:
            ZBDKIT_TRACE(zone_append, node_name(), request_.range.offset, request_.range.length);
            break;
        case Op::zone_open:
        case Op::zone_close:
        case Op::zone_finish:
        case Op::zone_reset:
        case Op::zone_reset_all:
            ZBDKIT_TRACE(zone_mgmt, node_name(), op_name(request_.op), request_.range.offset);
            break;
        case Op::read:
        case Op::write:
        case Op::write_zeroes:
        case Op::discard:
        case Op::flush: break;
    }
}

void RequestTrace::tell_append_end(const Result<void>& result) const {
    ZBDKIT_TRACE(zone_append_complete, node_name(), request_.range.offset, request_.append_offset,
                 error_name(result));
}

}  // namespace zbdkit
