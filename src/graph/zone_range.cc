// SPDX-License-Identifier: Apache-2.0
#include "graph/zone_range.h"

#include "base/assert.h"

namespace zbdkit {
namespace {

Result<void> check_zones(const NodeInfo& info, ByteRange zones) {
    if (!info.zones.is_zoned()) return fail(Errc::not_supported, "the disk is not zoned");
    if (!zones.is_sane() || zones.end() > info.size) {
        return fail(Errc::out_of_range, "the zones lie beyond the end of the device");
    }
    if (!is_aligned(zones.offset, info.zones.zone_size)) {
        return fail(Errc::misaligned, "the range does not start at a zone");
    }
    const bool ends_at_zone =
        is_aligned(zones.length, info.zones.zone_size) || zones.end() == info.size;
    if (zones.length == 0 || !ends_at_zone) {
        return fail(Errc::misaligned, "the range is not made of whole zones");
    }
    return {};
}

}  // namespace

Task<Result<void>> act_on_zones(BlockBackend& backend, Op action, ByteRange zones) {
    ZBDKIT_ASSERT(action == Op::zone_open || action == Op::zone_close ||
                  action == Op::zone_finish || action == Op::zone_reset);
    const NodeInfo& info = backend.info();
    co_await ok(check_zones(info, zones));
    if (action == Op::zone_reset && zones == ByteRange{0, info.size}) {
        Request request = zone_request(Op::zone_reset_all, 0);
        co_return co_await backend.submit(request);
    }
    for (std::uint64_t start = zones.offset; start < zones.end(); start += info.zones.zone_size) {
        Request request = zone_request(action, start);
        co_await ok(backend.submit(request));
    }
    co_return Result<void>{};
}

}  // namespace zbdkit
