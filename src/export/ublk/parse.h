// SPDX-License-Identifier: Apache-2.0
// What a descriptor of ublk asks for, in bytes. Every refusal of form is decided here, before
// anything is allocated or submitted. Pure.
#pragma once

#include <cstdint>
#include <expected>

#include "base/units.h"
#include "export/ublk/wire.h"

namespace zbdkit::ublk {

/// What requests are measured against.
struct IoRules {
    std::uint64_t device_size = 0;   ///< bytes
    std::uint64_t zone_size = 0;     ///< bytes; 0: not zoned
    std::uint64_t max_io_bytes = 0;  ///< of a request's data, and of a zone report
};

/// A request that makes sense.
struct IoRequest {
    IoOperation operation = IoOperation::flush;
    /// The bytes meant; of an append and of zone actions the offset is the zone's start, of an
    /// append the length is that of the data. flush and zone_reset_all: both 0.
    ByteRange range{};
    std::uint32_t zone_count = 0;  ///< report_zones: at most so many; the answer has room for them
    bool fua = false;
    bool has_buffer = false;  ///< its data is in the buffer that was lent for its tag, if one was
};

/// Why a descriptor is refused.
struct IoRefusal {
    std::int32_t os_errno = 0;  ///< positive; what the kernel is answered with
    const char* reason = "";
};

/// Errors: operations that the device has not announced, ranges beyond its end, zone actions off a
/// zone's start, data above max_io_bytes.
[[nodiscard]] std::expected<IoRequest, IoRefusal> parse_descriptor(const IoDescriptor& descriptor,
                                                                   const IoRules& rules);

}  // namespace zbdkit::ublk
