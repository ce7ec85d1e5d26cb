// SPDX-License-Identifier: Apache-2.0
#include "virtio/blk_status.h"

namespace zbdkit {

BlkStatus blk_status_of(Errc code, bool zoned) {
    switch (code) {
        case Errc::not_supported: return BlkStatus::unsupported;
        case Errc::zone_invalid: return zoned ? BlkStatus::zone_invalid_cmd : BlkStatus::io_error;
        case Errc::zone_unaligned_wp:
            return zoned ? BlkStatus::zone_unaligned_wp : BlkStatus::io_error;
        case Errc::zone_open_limit:
            return zoned ? BlkStatus::zone_open_resource : BlkStatus::io_error;
        case Errc::zone_active_limit:
            return zoned ? BlkStatus::zone_active_resource : BlkStatus::io_error;
        case Errc::io:
        case Errc::no_space:
        case Errc::read_only:
        case Errc::out_of_range:
        case Errc::misaligned:
        case Errc::corrupt:
        case Errc::shutting_down: return BlkStatus::io_error;
    }
    return BlkStatus::io_error;
}

const char* blk_status_name(BlkStatus status) {
    switch (status) {
        case BlkStatus::ok: return "OK";
        case BlkStatus::io_error: return "IOERR";
        case BlkStatus::unsupported: return "UNSUPP";
        case BlkStatus::zone_invalid_cmd: return "ZONE_INVALID_CMD";
        case BlkStatus::zone_unaligned_wp: return "ZONE_UNALIGNED_WP";
        case BlkStatus::zone_open_resource: return "ZONE_OPEN_RESOURCE";
        case BlkStatus::zone_active_resource: return "ZONE_ACTIVE_RESOURCE";
    }
    return "unknown";
}

}  // namespace zbdkit
