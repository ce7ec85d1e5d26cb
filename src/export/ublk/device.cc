// SPDX-License-Identifier: Apache-2.0
#include "export/ublk/device.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "base/assert.h"
#include "base/trace.h"
#include "base/units.h"

namespace zbdkit::ublk {
namespace {

/// Zones that are asked of the graph at a time: on the stack of a coroutine.
constexpr std::size_t kReportBatch = 64;

Op op_of(IoOperation operation) {
    switch (operation) {
        case IoOperation::read: return Op::read;
        case IoOperation::write: return Op::write;
        case IoOperation::flush: return Op::flush;
        case IoOperation::discard: return Op::discard;
        case IoOperation::write_zeroes: return Op::write_zeroes;
        case IoOperation::zone_open: return Op::zone_open;
        case IoOperation::zone_close: return Op::zone_close;
        case IoOperation::zone_finish: return Op::zone_finish;
        case IoOperation::zone_append: return Op::append;
        case IoOperation::zone_reset_all: return Op::zone_reset_all;
        case IoOperation::zone_reset: return Op::zone_reset;
        case IoOperation::report_zones: return Op::report_zones;
        case IoOperation::write_same: break;
    }
    ZBDKIT_ASSERT(false && "parse_descriptor() leaves no other operation");
    std::unreachable();
}

bool carries_data(Op op) { return op == Op::read || op == Op::write || op == Op::append; }

}  // namespace

Device::Device(BlockBackend& backend, const DiskOptions& options, Inflight& inflight,
               DataPort& port, Clock now_ns)
    : backend_(backend),
      options_(options),
      rules_{.device_size = backend.info().size,
             .zone_size = backend.info().zones.zone_size,
             .max_io_bytes = options.max_io_bytes},
      inflight_(inflight),
      port_(port),
      now_ns_(std::move(now_ns)) {}

Task<Result<void>> Device::recover() {
    recovery_ = std::make_unique<Recovery>(backend_, inflight_);
    co_return co_await recovery_->judge();
}

Task<Answer> Device::handle(IoDescriptor descriptor, TagId id, TagMemory memory) {
    const auto asked = parse_descriptor(descriptor, rules_);
    if (!asked) co_return refuse(descriptor, asked.error());
    Result<void> done;
    Request request;
    std::array<iovec, 1> segments{};
    Answer answer;
    if (asked->operation == IoOperation::report_zones) {
        done = co_await report(*asked, id, memory.buffer);
        // Linux 6.12 takes less than its own buffer, whose size it does not tell, for a part of the
        // answer, and asks again for ever; it cuts what is more to that size.
        answer.result = static_cast<std::int32_t>(rules_.max_io_bytes);
    } else {
        const bool lent = is_lent(*asked, memory);
        std::byte* const data = lent ? memory.lent.data() : memory.buffer.data();
        segments = {iovec{data, asked->range.length}};
        request = make_request(*asked, segments);
        done = co_await perform(request, *asked, id, lent);
        answer.result = static_cast<std::int32_t>(total_length(request.segments));
        if (request.op == Op::append) answer.append_sector = request.append_offset / kSectorSize;
    }
    if (!done) co_return failed(*asked, done.error());
    co_return answer;
}

/// Whether the request's data goes from the kernel's pages to the storage without a copy of ours.
/// Not while requests may be some that came back: those are recognised by their data.
bool Device::is_lent(const IoRequest& request, const TagMemory& memory) const {
    const bool is_write =
        request.operation == IoOperation::write || request.operation == IoOperation::zone_append;
    return is_write && request.has_buffer && !memory.lent.empty() &&
           backend_.info().takes_lent_data && !is_recovering();
}

Request Device::make_request(const IoRequest& request, IoSegments data) const {
    Request down{.op = op_of(request.operation), .range = request.range};
    if (carries_data(down.op)) down.segments = data;
    const bool writes =
        down.op == Op::write || down.op == Op::append || down.op == Op::write_zeroes;
    down.fua = writes && (request.fua || !options_.write_cache);
    return down;
}

Task<Result<void>> Device::perform(Request& request, const IoRequest& asked, TagId id,
                                   bool is_lent) {
    const bool is_write = request.op == Op::write || request.op == Op::append;
    MutableBytes data;
    if (carries_data(request.op)) {
        const iovec& segment = request.segments.front();
        data = MutableBytes(byte_pointer(segment.iov_base), segment.iov_len);
    }
    if (is_write && !is_lent) {
        const Result<void> fetched = port_.fetch(id, data);
        if (!fetched && is_noted(asked) && is_recovering()) recovery_->give_up(asked, id);
        if (!fetched) co_return fetched;
    }
    RequestHistory history;
    if (is_noted(asked)) {
        if (is_recovering()) history = co_await ok(recognise(asked, id, data));
        if (!history.is_again) {
            inflight_.begin(id, asked.operation, asked.range);
            history.record = WriteRecord(inflight_.note(id).slot);
        }
    }
    co_await ok(submit_rest(backend_, request, history));
    if (request.op == Op::read) co_await ok(port_.deliver(id, data));
    co_return Result<void>();
}

/// What must not be done twice: all else may be.
bool Device::is_noted(const IoRequest& request) const {
    switch (request.operation) {
        case IoOperation::zone_append:
        case IoOperation::zone_close: return true;
        case IoOperation::write: {
            const ZoneGeometry& zones = backend_.info().zones;
            return zones.is_zoned() &&
                   zones.type_of(zones.zone_of(request.range.offset)) != ZoneType::conventional;
        }
        case IoOperation::read:
        case IoOperation::flush:
        case IoOperation::discard:
        case IoOperation::write_same:
        case IoOperation::write_zeroes:
        case IoOperation::zone_open:
        case IoOperation::zone_finish:
        case IoOperation::zone_reset_all:
        case IoOperation::zone_reset:
        case IoOperation::report_zones: return false;
    }
    return false;
}

Task<Result<RequestHistory>> Device::recognise(const IoRequest& request, TagId id,
                                               ConstBytes data) {
    const RequestHistory history = co_await ok(recovery_->recognise(request, id, data));
    if (!history.is_again) co_return history;
    ++came_back_;
    if (!is_recovering()) {
        spdlog::info("{}: all {} requests that were in flight have come back", disk_name(),
                     came_back_);
    }
    co_return history;
}

Task<Result<void>> Device::report(const IoRequest& request, TagId id, MutableBytes buffer) {
    std::array<ZoneDescriptor, kReportBatch> batch;
    std::uint64_t offset = request.range.offset;
    std::size_t count = 0;
    while (count < request.zone_count && offset < rules_.device_size) {
        const std::size_t wanted = std::min<std::size_t>(request.zone_count - count, batch.size());
        Request down = report_request(offset, std::span(batch).first(wanted));
        co_await ok(backend_.submit(down));
        if (down.zones_reported == 0) break;
        const auto zones = std::span<const ZoneDescriptor>(batch).first(down.zones_reported);
        for (const ZoneDescriptor& zone : zones) {
            const ReportedZone wire = to_wire(zone);
            std::memcpy(&buffer[count * sizeof wire], &wire, sizeof wire);
            ++count;
        }
        offset = zones.back().start + zones.back().length;
    }
    // The kernel takes a zone without length as the end of a shorter answer.
    std::size_t length = count * sizeof(ReportedZone);
    if (count < request.zone_count) {
        std::ranges::fill(buffer.subspan(length, sizeof(ReportedZone)), std::byte{0});
        length += sizeof(ReportedZone);
    }
    co_return port_.deliver(id, buffer.first(length));
}

Answer Device::refuse(const IoDescriptor& descriptor, const IoRefusal& refusal) {
    ++refused_;
    if (refusals_log_.allow(now_ns_())) {
        spdlog::warn("{}: ublk request {:#x} of {} sectors at {} is refused: {}{}", disk_name(),
                     descriptor.operation_and_flags, descriptor.sectors, descriptor.start_sector,
                     refusal.reason, refusals_log_.and_more());
    }
    return {.result = -refusal.os_errno};
}

Answer Device::failed(const IoRequest& request, const Error& error) {
    if (is_storage_failure(error.code) && failures_log_.allow(now_ns_())) {
        spdlog::error("{}: {} of {} bytes at {} failed: {}{}", disk_name(),
                      op_name(op_of(request.operation)), request.range.length, request.range.offset,
                      describe(error), failures_log_.and_more());
    }
    return {.result = answer_of(error)};
}

std::string Device::disk_name() const {
    const BlockNode& root = backend_.root();
    return root.name().empty() ? root.describe() : root.name();
}

ReportedZone to_wire(const ZoneDescriptor& zone) {
    ReportedZone wire;
    wire.start = zone.start / kSectorSize;
    wire.length = zone.length / kSectorSize;
    wire.write_pointer = reported_write_pointer(zone) / kSectorSize;
    wire.type = static_cast<std::uint8_t>(zone.type);
    wire.state = static_cast<std::uint8_t>(zone.state);
    wire.capacity = zone.capacity / kSectorSize;
    return wire;
}

std::int32_t answer_of(const Error& error) {
    const std::int32_t os_errno = errno_of(error);
    switch (os_errno) {
        // The kernel tries again after these, or leaves the errno to a program that would.
        case EAGAIN:
        case EBUSY:
        case ENOMEM:
        case EINTR:
        case ENODEV: return -EIO;
        default: return -os_errno;
    }
}

}  // namespace zbdkit::ublk
