// SPDX-License-Identifier: Apache-2.0
#include "graph/resume.h"

#include <cstdint>
#include <span>

#include "base/iovec.h"
#include "base/units.h"
#include "zone/zone.h"

namespace zbdkit {
namespace {

/// A close that an earlier process may have done. If the zone had no data it is empty since then,
/// and an empty zone refuses to be closed: the one action that cannot be done twice. What it is
/// for has been reached, whoever did it.
Task<Result<void>> close_again(BlockBackend& backend, Request& request) {
    const Result<void> closed = co_await backend.submit(request);
    if (closed || closed.error().code != Errc::zone_invalid) co_return closed;
    ZoneDescriptor zone;
    Request report = report_request(request.range.offset, std::span(&zone, 1));
    const Result<void> reported = co_await backend.submit(report);
    if (!reported || zone.state != ZoneState::empty) co_return closed;
    co_return Result<void>{};
}

/// The part of a write from byte `done` of it on, which an earlier process did not get to.
Task<Result<void>> finish_write(BlockBackend& backend, const Request& request, std::uint64_t done) {
    const std::uint64_t offset =
        request.op == Op::append ? request.append_offset : request.range.offset;
    const ByteRange left{offset + done, request.range.length - done};
    if (left.length == 0) {
        if (!request.fua) co_return Result<void>{};
        Request flush = flush_request();
        const Result<void> flushed = co_await backend.submit(flush);
        co_return flushed;
    }
    // Without the record: that stays with the place of the whole.
    const IoVector segments = slice(request.segments, {done, left.length});
    Request rest = write_request(left, segments, request.fua);
    const Result<void> written = co_await backend.submit(rest);
    co_return written;
}

}  // namespace

Task<Result<void>> submit_again(BlockBackend& backend, Request& request,
                                const RequestHistory& history) {
    if (request.op == Op::zone_close) return close_again(backend, request);
    const std::uint64_t done = bytes_done(history.earlier, request, backend.info().zones);
    if (done == 0) return backend.submit(request);
    request.append_offset = history.earlier.offset;
    return finish_write(backend, request, done);
}

Task<Result<EarlierWrite>> judge_slot(BlockBackend& backend, WriteSlot& slot) {
    const WriteSlot recorded = WriteRecord::read(slot);
    if (recorded.place == 0) co_return EarlierWrite();
    ZoneDescriptor zone;  // of a place that is none: empty
    if (backend.info().zones.is_zoned() && recorded.place - 1 < backend.info().size) {
        Request report = report_request(recorded.place - 1, std::span(&zone, 1));
        co_await ok(backend.submit(report));
    }
    const EarlierWrite earlier = judge(recorded, zone);
    const WriteRecord record(slot);
    if (earlier.landed == 0) record.withdrawn();
    if (earlier.landed == EarlierWrite::kAll) record.landed();
    co_return earlier;
}

}  // namespace zbdkit
