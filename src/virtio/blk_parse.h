// SPDX-License-Identifier: Apache-2.0
// A request as it lies in guest memory -> what is wanted and where its data is, or the status that
// refuses it. Every refusal of form is decided here; what depends on the state of a zone is decided
// by the zones. Pure: reads the header and the ranges of DISCARD once, into memory of its own,
// touches nothing else and writes nothing. [virtio 1.3, 5.2.6]
//
// Checks in this order: room for a status, form, features (UNSUPP), read-only (IOERR), lengths and
// bounds (IOERR; for zone requests ZONE_INVALID_CMD), zone start, size of an append.
#pragma once

#include <boost/container/static_vector.hpp>
#include <cstdint>
#include <expected>
#include <optional>

#include "base/iovec.h"
#include "base/units.h"
#include "virtio/blk_config.h"
#include "virtio/blk_wire.h"

namespace zbdkit {

/// What a request is measured against: the disk and what was negotiated.
struct BlkRules {
    std::uint64_t size = 0;          ///< bytes that drivers can address
    std::uint32_t block_size = 512;  ///< bytes
    bool read_only = false;
    bool zoned = false;                  ///< ZONED was negotiated
    bool refuses_all = false;            ///< host-managed, and ZONED was not negotiated
    bool discard = false;                ///< negotiated
    bool write_zeroes = false;           ///< negotiated
    std::uint64_t max_append_bytes = 0;  ///< as the configuration space shows it
    ZoneGeometry zones{};
};

/// @param features  negotiated; 0 = nothing
[[nodiscard]] BlkRules make_blk_rules(const BlkDisk& disk, std::uint64_t features);

/// A request whose form is in order.
struct BlkRequest {
    BlkRequestType type = BlkRequestType::in;
    /// in, out: the bytes. append, single-zone actions: offset is the zone's start, length that of
    /// the data. report: offset lies in the first zone wanted.
    ByteRange range{};
    /// Where the data is. out, append: in the readable memory. in, get_id, report: in the writable
    /// memory. append's reply is at 0 of the writable memory.
    ByteRange data{};
    /// Where the status byte is in the writable memory: its last byte.
    std::uint64_t status_at = 0;
    /// discard, write_zeroes: what is to be done, in order, without empty ranges.
    boost::container::static_vector<ByteRange, kBlkMaxRanges> ranges;
};

struct BlkRefusal {
    BlkStatus status = BlkStatus::io_error;
    /// False if the chain has no writable byte: it can only be returned as it is.
    bool has_status = false;
    std::uint64_t status_at = 0;  ///< as in BlkRequest
    std::uint32_t type = 0;       ///< as the header has it, 0 if there is no header
    std::uint64_t sector = 0;
    const char* reason = "";  ///< static text, for a log
};

/// What a request with data says of its place on the disk. Nothing of it was checked.
struct BlkPlace {
    std::uint64_t offset = 0;  ///< bytes
    bool is_append = false;    ///< `offset` is where its zone starts
    bool operator==(const BlkPlace&) const = default;
};

/// A look at a request before it is parsed.
/// @return nothing if it is neither IN nor OUT nor ZONE_APPEND, or has no header in one piece
[[nodiscard]] std::optional<BlkPlace> blk_place(IoSegments readable);

/// @param readable, writable  the chain's memory; any number of segments of any length
[[nodiscard]] std::expected<BlkRequest, BlkRefusal> parse_blk_request(IoSegments readable,
                                                                      IoSegments writable,
                                                                      const BlkRules& rules);

}  // namespace zbdkit
