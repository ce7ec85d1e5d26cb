// SPDX-License-Identifier: Apache-2.0
// One operation on its way down the graph. Trivially destructible, owned by the caller, alive with
// the memory it points to until the awaited submit() returns. Results come back in the request.
#pragma once

#include <cstdint>
#include <span>

#include "base/iovec.h"
#include "base/units.h"
#include "block/op.h"
#include "block/write_record.h"
#include "zone/zone.h"

namespace zbdkit {

struct Request {
    Op op = Op::read;
    /// read, write, write_zeroes, discard: the bytes. append and single-zone actions: offset is the
    /// zone's start; append's length is that of the data, an action's is 0. report_zones: offset
    /// lies in the first zone wanted, length is 0. flush, zone_reset_all: both 0.
    ByteRange range{};
    IoSegments segments{};              ///< read, write, append: range.length bytes in total
    bool fua = false;                   ///< write, append, write_zeroes: durable at completion
    std::span<ZoneDescriptor> zones{};  ///< report_zones: room for the answer; may be empty
    /// write, append: told by the node that keeps the write pointer of a sequential-write-required
    /// zone where the data goes. A node with other addresses passes it on shifted().
    WriteRecord record{};

    std::uint64_t append_offset = 0;   ///< append, on success: absolute byte where the data is
    std::uint32_t zones_reported = 0;  ///< report_zones, on success: how many are filled in
};

/// Requests of each kind, so that no call site fills in fields it does not mean.
[[nodiscard]] inline Request read_request(ByteRange range, IoSegments segments) {
    return {.op = Op::read, .range = range, .segments = segments};
}
[[nodiscard]] inline Request write_request(ByteRange range, IoSegments segments, bool fua = false) {
    return {.op = Op::write, .range = range, .segments = segments, .fua = fua};
}
[[nodiscard]] inline Request append_request(std::uint64_t zone_start, IoSegments segments,
                                            bool fua = false) {
    return {.op = Op::append,
            .range = {zone_start, total_length(segments)},
            .segments = segments,
            .fua = fua};
}
[[nodiscard]] inline Request flush_request() { return {.op = Op::flush}; }
[[nodiscard]] inline Request report_request(std::uint64_t offset, std::span<ZoneDescriptor> zones) {
    return {.op = Op::report_zones, .range = {offset, 0}, .zones = zones};
}
/// @param op  write_zeroes or discard
[[nodiscard]] inline Request range_request(Op op, ByteRange range) {
    return {.op = op, .range = range};
}
/// @param op  zone_open, zone_close, zone_finish, zone_reset, or zone_reset_all with offset 0
[[nodiscard]] inline Request zone_request(Op op, std::uint64_t zone_start) {
    return {.op = op, .range = {zone_start, 0}};
}

}  // namespace zbdkit
