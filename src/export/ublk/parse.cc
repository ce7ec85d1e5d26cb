// SPDX-License-Identifier: Apache-2.0
#include "export/ublk/parse.h"

#include <algorithm>
#include <cerrno>
#include <optional>

namespace zbdkit::ublk {
namespace {

using Parsed = std::expected<IoRequest, IoRefusal>;

std::unexpected<IoRefusal> refuse(std::int32_t os_errno, const char* reason) {
    return std::unexpected(IoRefusal{os_errno, reason});
}

std::unexpected<IoRefusal> not_announced() {
    return refuse(EOPNOTSUPP, "the device does not have this operation");
}

/// The bytes that the descriptor's sectors are, if they are all on the device.
std::optional<ByteRange> range_of(const IoDescriptor& descriptor, const IoRules& rules) {
    const std::optional<std::uint64_t> offset = Sectors(descriptor.start_sector).to_bytes();
    if (!offset || *offset > rules.device_size) return std::nullopt;
    const std::uint64_t length = descriptor.sectors * kSectorSize;
    if (length > rules.device_size - *offset) return std::nullopt;
    return ByteRange{*offset, length};
}

Parsed parse_range(IoRequest request, const IoDescriptor& descriptor, const IoRules& rules) {
    const std::optional<ByteRange> range = range_of(descriptor, rules);
    if (!range) return refuse(EIO, "it reaches beyond the end of the disk");
    request.range = *range;
    return request;
}

Parsed parse_data(IoRequest request, const IoDescriptor& descriptor, const IoRules& rules) {
    if (descriptor.sectors == 0) return refuse(EINVAL, "it has no data");
    if (descriptor.sectors * kSectorSize > rules.max_io_bytes) {
        return refuse(EINVAL, "it has more data than the device takes in one request");
    }
    return parse_range(request, descriptor, rules);
}

/// What concerns the zone that starts at the descriptor's sector.
Parsed parse_zone(IoRequest request, const IoDescriptor& descriptor, const IoRules& rules) {
    if (rules.zone_size == 0) return not_announced();
    const std::optional<std::uint64_t> start = Sectors(descriptor.start_sector).to_bytes();
    if (!start || *start >= rules.device_size) {
        return refuse(EIO, "its zone is beyond the end of the disk");
    }
    if (!is_aligned(*start, rules.zone_size)) return refuse(EIO, "it does not start a zone");
    request.range = {*start, 0};
    return request;
}

Parsed parse_append(IoRequest request, const IoDescriptor& descriptor, const IoRules& rules) {
    Parsed zone = parse_zone(request, descriptor, rules);
    if (!zone) return zone;
    return parse_data(request, descriptor, rules);
}

Parsed parse_report(IoRequest request, const IoDescriptor& descriptor, const IoRules& rules) {
    if (rules.zone_size == 0) return not_announced();
    const std::optional<std::uint64_t> offset = Sectors(descriptor.start_sector).to_bytes();
    if (!offset || *offset >= rules.device_size) {
        return refuse(EIO, "its first zone is beyond the end of the disk");
    }
    request.range = {*offset, 0};
    const std::uint64_t fitting = rules.max_io_bytes / sizeof(ReportedZone);
    request.zone_count =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(descriptor.sectors, fitting));
    return request;
}

}  // namespace

Parsed parse_descriptor(const IoDescriptor& descriptor, const IoRules& rules) {
    IoRequest request;
    request.operation =
        static_cast<IoOperation>(descriptor.operation_and_flags & io_flag::kOperationMask);
    request.fua = (descriptor.operation_and_flags & io_flag::kFua) != 0;
    request.has_buffer = (descriptor.operation_and_flags & io_flag::kNoBuffer) == 0;
    switch (request.operation) {
        case IoOperation::read:
        case IoOperation::write: return parse_data(request, descriptor, rules);
        case IoOperation::discard:
        case IoOperation::write_zeroes: return parse_range(request, descriptor, rules);
        case IoOperation::zone_append: return parse_append(request, descriptor, rules);
        case IoOperation::zone_open:
        case IoOperation::zone_close:
        case IoOperation::zone_finish:
        case IoOperation::zone_reset: return parse_zone(request, descriptor, rules);
        case IoOperation::report_zones: return parse_report(request, descriptor, rules);
        case IoOperation::zone_reset_all:
            if (rules.zone_size == 0) return not_announced();
            return request;
        case IoOperation::flush: return request;
        case IoOperation::write_same: break;
    }
    return not_announced();
}

}  // namespace zbdkit::ublk
