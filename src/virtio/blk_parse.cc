// SPDX-License-Identifier: Apache-2.0
#include "virtio/blk_parse.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <span>

#include "base/bytes.h"

namespace zbdkit {
namespace {

constexpr std::uint64_t kHeaderSize = sizeof(BlkHeader);
constexpr std::uint64_t kStatusSize = 1;

/// Why a request is refused.
struct Objection {
    BlkStatus status;
    const char* reason;
};
/// The functions below fill in a request that has its type and the place of its status.
using Parsed = std::expected<void, Objection>;

std::unexpected<Objection> object(BlkStatus status, const char* reason) {
    return std::unexpected(Objection{status, reason});
}

/// The request as far as its type does not matter.
struct Frame {
    BlkRequestType type{};
    Sectors sector{};
    std::uint64_t readable_data = 0;  ///< bytes behind the header
    std::uint64_t writable_data = 0;  ///< bytes before the status
};

bool is_known(BlkRequestType type) {
    switch (type) {
        case BlkRequestType::in:
        case BlkRequestType::out:
        case BlkRequestType::flush:
        case BlkRequestType::get_id:
        case BlkRequestType::get_lifetime:
        case BlkRequestType::discard:
        case BlkRequestType::write_zeroes:
        case BlkRequestType::secure_erase:
        case BlkRequestType::zone_append:
        case BlkRequestType::zone_report:
        case BlkRequestType::zone_open:
        case BlkRequestType::zone_close:
        case BlkRequestType::zone_finish:
        case BlkRequestType::zone_reset:
        case BlkRequestType::zone_reset_all: return true;
    }
    return false;
}

bool is_zone_request(BlkRequestType type) {
    switch (type) {
        case BlkRequestType::zone_append:
        case BlkRequestType::zone_report:
        case BlkRequestType::zone_open:
        case BlkRequestType::zone_close:
        case BlkRequestType::zone_finish:
        case BlkRequestType::zone_reset:
        case BlkRequestType::zone_reset_all: return true;
        case BlkRequestType::in:
        case BlkRequestType::out:
        case BlkRequestType::flush:
        case BlkRequestType::get_id:
        case BlkRequestType::get_lifetime:
        case BlkRequestType::discard:
        case BlkRequestType::write_zeroes:
        case BlkRequestType::secure_erase: return false;
    }
    return false;
}

bool modifies(BlkRequestType type) {
    switch (type) {
        case BlkRequestType::in:
        case BlkRequestType::flush:
        case BlkRequestType::get_id:
        case BlkRequestType::get_lifetime:
        case BlkRequestType::zone_report: return false;
        case BlkRequestType::out:
        case BlkRequestType::discard:
        case BlkRequestType::write_zeroes:
        case BlkRequestType::secure_erase:
        case BlkRequestType::zone_append:
        case BlkRequestType::zone_open:
        case BlkRequestType::zone_close:
        case BlkRequestType::zone_finish:
        case BlkRequestType::zone_reset:
        case BlkRequestType::zone_reset_all: return true;
    }
    return true;
}

Parsed check_features(BlkRequestType type, const BlkRules& rules) {
    if (!is_known(type)) return object(BlkStatus::unsupported, "unknown request type");
    if (is_zone_request(type) && !rules.zoned) {
        return object(BlkStatus::unsupported, "zone request, but ZONED was not negotiated");
    }
    if (rules.refuses_all) {
        return object(BlkStatus::io_error,
                      "the disk is host-managed and the driver did not accept ZONED");
    }
    if (type == BlkRequestType::get_lifetime || type == BlkRequestType::secure_erase) {
        return object(BlkStatus::unsupported, "request of a feature that is not offered");
    }
    if (type == BlkRequestType::discard && !rules.discard) {
        return object(BlkStatus::unsupported, "DISCARD was not negotiated");
    }
    if (type == BlkRequestType::write_zeroes && !rules.write_zeroes) {
        return object(BlkStatus::unsupported, "WRITE_ZEROES was not negotiated");
    }
    if (type == BlkRequestType::zone_append && rules.max_append_bytes == 0) {
        return object(BlkStatus::unsupported, "the disk has no zone append");
    }
    return {};
}

/// @return the bytes of a range of sectors, or nothing if it passes the end of the disk
std::optional<ByteRange> within_disk(Sectors sector, std::uint64_t length, const BlkRules& rules) {
    const std::optional<std::uint64_t> offset = sector.to_bytes();
    if (!offset || *offset > rules.size || length > rules.size - *offset) return std::nullopt;
    return ByteRange{*offset, length};
}

bool is_block_aligned(ByteRange range, const BlkRules& rules) {
    return is_aligned(range.offset, rules.block_size) && is_aligned(range.length, rules.block_size);
}

/// Whether a write there must keep to a write granularity, which blocks are never larger than.
bool is_sequential(std::uint64_t offset, const BlkRules& rules) {
    return rules.zoned &&
           rules.zones.type_of(rules.zones.zone_of(offset)) == ZoneType::sequential_required;
}

/// IN and OUT.
Parsed parse_transfer(const Frame& frame, const BlkRules& rules, BlkRequest& request) {
    const bool is_write = frame.type == BlkRequestType::out;
    const ByteRange data =
        is_write ? ByteRange{kHeaderSize, frame.readable_data} : ByteRange{0, frame.writable_data};
    if (data.length == 0) return object(BlkStatus::io_error, "a transfer of no data");
    if (!is_aligned(data.length, kSectorSize)) {
        return object(BlkStatus::io_error, "data is no multiple of a sector");
    }
    const auto range = within_disk(frame.sector, data.length, rules);
    if (!range) return object(BlkStatus::io_error, "beyond the end of the disk");
    if (!is_block_aligned(*range, rules)) {
        return is_write && is_sequential(range->offset, rules)
                   ? object(BlkStatus::zone_unaligned_wp, "no multiple of the write granularity")
                   : object(BlkStatus::io_error, "no multiple of the block size");
    }
    request.range = *range;
    request.data = data;
    return {};
}

/// Requests that name a zone by its first sector.
Parsed parse_zone_start(const Frame& frame, const BlkRules& rules, BlkRequest& request) {
    const auto range = within_disk(frame.sector, 1, rules);
    if (!range) return object(BlkStatus::zone_invalid_cmd, "beyond the end of the disk");
    if (!is_aligned(range->offset, rules.zones.zone_size)) {
        return object(BlkStatus::zone_invalid_cmd, "not the first sector of a zone");
    }
    request.range = {range->offset, 0};
    return {};
}

Parsed parse_append(const Frame& frame, const BlkRules& rules, BlkRequest& request) {
    if (frame.writable_data + kStatusSize < kBlkAppendReplySize) {
        return object(BlkStatus::io_error, "no room for append_sector");
    }
    const std::uint64_t length = frame.readable_data;
    if (length == 0) return object(BlkStatus::zone_invalid_cmd, "an append of no data");
    if (!is_aligned(length, kSectorSize)) {
        return object(BlkStatus::zone_invalid_cmd, "data is no multiple of a sector");
    }
    if (const Parsed zone = parse_zone_start(frame, rules, request); !zone) return zone;
    if (length > rules.max_append_bytes) {
        return object(BlkStatus::zone_invalid_cmd, "more than max_append_sectors");
    }
    if (!is_aligned(length, rules.block_size)) {
        return object(BlkStatus::zone_unaligned_wp, "no multiple of the write granularity");
    }
    request.range.length = length;
    request.data = {kHeaderSize, length};
    return {};
}

Parsed parse_report(const Frame& frame, const BlkRules& rules, BlkRequest& request) {
    if (frame.writable_data < sizeof(BlkReportHeader)) {
        return object(BlkStatus::zone_invalid_cmd, "no room for the header of a report");
    }
    const auto range = within_disk(frame.sector, 1, rules);
    if (!range) return object(BlkStatus::zone_invalid_cmd, "beyond the end of the disk");
    request.range = {range->offset, 0};
    request.data = {0, frame.writable_data};
    return {};
}

/// One range of DISCARD or WRITE_ZEROES.
std::expected<ByteRange, Objection> parse_range(const BlkSegment& segment, BlkRequestType type,
                                                const BlkRules& rules) {
    const std::uint32_t known_flags = type == BlkRequestType::write_zeroes ? BlkSegment::kUnmap : 0;
    if ((segment.flags & ~known_flags) != 0) {
        return object(BlkStatus::unsupported, "unknown flag of a range");
    }
    if (segment.sector_count > kBlkMaxRangeSectors) {
        return object(BlkStatus::io_error, "more sectors in a range than allowed");
    }
    const auto range =
        within_disk(Sectors(segment.sector), segment.sector_count * kSectorSize, rules);
    if (!range) return object(BlkStatus::io_error, "beyond the end of the disk");
    if (!is_block_aligned(*range, rules)) {
        return object(BlkStatus::io_error, "no multiple of the block size");
    }
    return *range;
}

/// DISCARD and WRITE_ZEROES: all ranges are in order, or none is done.
Parsed parse_ranges(const Frame& frame, IoSegments readable, const BlkRules& rules,
                    BlkRequest& request) {
    const std::uint64_t length = frame.readable_data;
    if (length == 0 || !is_aligned(length, sizeof(BlkSegment))) {
        return object(BlkStatus::io_error, "no list of ranges");
    }
    const std::uint64_t count = length / sizeof(BlkSegment);
    if (count > kBlkMaxRanges) return object(BlkStatus::io_error, "more ranges than allowed");
    std::array<BlkSegment, kBlkMaxRanges> segments;
    copy_from(readable, kHeaderSize, std::as_writable_bytes(std::span(segments)).first(length));

    for (const BlkSegment& segment : std::span(segments).first(count)) {
        const auto range = parse_range(segment, frame.type, rules);
        if (!range) return std::unexpected(range.error());
        if (range->length != 0) request.ranges.push_back(*range);
    }
    return {};
}

/// The string has 20 bytes: a shorter buffer gets its start, of a longer one the rest stays.
Parsed parse_get_id(const Frame& frame, BlkRequest& request) {
    request.data = {0, std::min<std::uint64_t>(frame.writable_data, kBlkIdSize)};
    return {};
}

/// @param readable  at least as long as a header
BlkHeader read_header(IoSegments readable) {
    BlkHeader header;
    if (readable.front().iov_len >= kHeaderSize) {
        std::memcpy(&header, readable.front().iov_base, kHeaderSize);  // of one size: a load
    } else {
        copy_from(readable, 0, mutable_bytes_of(header));
    }
    return header;
}

Parsed parse_by_type(const Frame& frame, IoSegments readable, const BlkRules& rules,
                     BlkRequest& request) {
    switch (frame.type) {
        case BlkRequestType::in:
        case BlkRequestType::out: return parse_transfer(frame, rules, request);
        case BlkRequestType::get_id: return parse_get_id(frame, request);
        case BlkRequestType::discard:
        case BlkRequestType::write_zeroes: return parse_ranges(frame, readable, rules, request);
        case BlkRequestType::zone_append: return parse_append(frame, rules, request);
        case BlkRequestType::zone_report: return parse_report(frame, rules, request);
        case BlkRequestType::zone_open:
        case BlkRequestType::zone_close:
        case BlkRequestType::zone_finish:
        case BlkRequestType::zone_reset: return parse_zone_start(frame, rules, request);
        // Their sector should be 0 and their data nothing; neither means anything.
        case BlkRequestType::flush:
        case BlkRequestType::zone_reset_all: return {};
        case BlkRequestType::get_lifetime:
        case BlkRequestType::secure_erase: break;
    }
    return object(BlkStatus::unsupported, "unknown request type");
}

Parsed parse_request(const Frame& frame, IoSegments readable, const BlkRules& rules,
                     BlkRequest& request) {
    if (const Parsed offered = check_features(frame.type, rules); !offered) return offered;
    if (rules.read_only && modifies(frame.type)) {
        return object(BlkStatus::io_error, "the disk is read-only");
    }
    return parse_by_type(frame, readable, rules, request);
}

}  // namespace

BlkRules make_blk_rules(const BlkDisk& disk, std::uint64_t features) {
    const auto has = [features](std::uint64_t bit) { return (features & bit) != 0; };
    const bool zoned = disk.zones.is_zoned() && has(blk_feature::kZoned);
    return {.size = round_down(disk.size, kSectorSize),
            .block_size = disk.block_size,
            .read_only = disk.read_only,
            .zoned = zoned,
            .refuses_all = disk.is_host_managed() && !zoned,
            .discard = has(blk_feature::kDiscard),
            .write_zeroes = has(blk_feature::kWriteZeroes),
            .max_append_bytes = blk_max_append_sectors(disk) * kSectorSize,
            .zones = disk.zones};
}

std::optional<BlkPlace> blk_place(IoSegments readable) {
    if (readable.empty() || readable.front().iov_len < kHeaderSize) return std::nullopt;
    const BlkHeader header = read_header(readable);
    const auto type = BlkRequestType(header.type & ~kBlkLegacyBarrier);
    const bool is_append = type == BlkRequestType::zone_append;
    if (!is_append && type != BlkRequestType::in && type != BlkRequestType::out) {
        return std::nullopt;
    }
    const std::optional<std::uint64_t> offset = Sectors(header.sector).to_bytes();
    if (!offset) return std::nullopt;
    return BlkPlace{*offset, is_append};
}

std::expected<BlkRequest, BlkRefusal> parse_blk_request(IoSegments readable, IoSegments writable,
                                                        const BlkRules& rules) {
    const std::uint64_t readable_length = total_length(readable);
    const std::uint64_t writable_length = total_length(writable);
    BlkRefusal refusal;
    if (writable_length < kStatusSize) {
        refusal.reason = "no room for a status";
        return std::unexpected(refusal);
    }
    refusal.has_status = true;
    refusal.status_at = writable_length - kStatusSize;
    if (readable_length < kHeaderSize) {
        refusal.reason = "no room for a header";
        return std::unexpected(refusal);
    }
    // Bytes written are told to the driver in 32 bits.
    if (std::max(readable_length, writable_length) > std::numeric_limits<std::uint32_t>::max()) {
        refusal.reason = "4 GiB of data or more";
        return std::unexpected(refusal);
    }

    const BlkHeader header = read_header(readable);
    refusal.type = header.type;
    refusal.sector = header.sector;
    const Frame frame = {.type = BlkRequestType(header.type & ~kBlkLegacyBarrier),
                         .sector = Sectors(header.sector),
                         .readable_data = readable_length - kHeaderSize,
                         .writable_data = writable_length - kStatusSize};
    // Made in place of its first members: a default one would zero the room for ranges as well.
    std::expected<BlkRequest, BlkRefusal> request(std::in_place, frame.type, ByteRange(),
                                                  ByteRange(), frame.writable_data);
    const Parsed parsed = parse_request(frame, readable, rules, *request);
    if (parsed) return request;
    refusal.status = parsed.error().status;
    refusal.reason = parsed.error().reason;
    return std::unexpected(refusal);
}

}  // namespace zbdkit
