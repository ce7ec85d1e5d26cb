// SPDX-License-Identifier: Apache-2.0
// Parses a descriptor made of the input, by rules made of the input, and checks what the parser
// promises: nothing beyond the disk, no more data than a buffer holds.
//
//   input = flags:u8 size:u64 operation_and_flags:u32 sectors:u32 start_sector:u64
#include <cstdint>
#include <span>

#include "base/assert.h"
#include "base/bytes.h"
#include "export/ublk/parse.h"
#include "tests/fuzz/input.h"

using namespace zbdkit;
using namespace zbdkit::ublk;

namespace {

/// A disk as it can be made: a zoned one has whole zones of a power of two.
IoRules make_rules(unsigned flags, std::uint64_t size) {
    constexpr std::uint64_t kZoneSize = 65536;
    const bool is_zoned = (flags & 1) != 0;
    const bool is_small = (flags & 2) != 0;
    const std::uint64_t limit = is_small ? 8 * kMiB : kMaxOffset;
    const std::uint64_t unit = is_zoned ? kZoneSize : kSectorSize;
    return {.device_size = round_down(size % limit, unit),
            .zone_size = is_zoned ? kZoneSize : 0,
            .max_io_bytes = 4096 * std::uint64_t{1 + flags / 4}};
}

void check_data(const IoRequest& request, const IoRules& rules) {
    ZBDKIT_ASSERT(request.range.length > 0 && request.range.length <= rules.max_io_bytes);
}

void check_zone(const IoRequest& request, const IoRules& rules) {
    ZBDKIT_ASSERT(rules.zone_size != 0);
    ZBDKIT_ASSERT(request.range.offset < rules.device_size);
    ZBDKIT_ASSERT(is_aligned(request.range.offset, rules.zone_size));
}

void check_accepted(const IoRequest& request, const IoRules& rules) {
    ZBDKIT_ASSERT(request.range.is_sane() && request.range.end() <= rules.device_size);
    ZBDKIT_ASSERT(is_aligned(request.range.offset, kSectorSize));
    ZBDKIT_ASSERT(request.zone_count * sizeof(ReportedZone) <= rules.max_io_bytes);
    switch (request.operation) {
        case IoOperation::read:
        case IoOperation::write: check_data(request, rules); break;
        case IoOperation::zone_append:
            check_zone(request, rules);
            check_data(request, rules);
            break;
        case IoOperation::zone_open:
        case IoOperation::zone_close:
        case IoOperation::zone_finish:
        case IoOperation::zone_reset:
            check_zone(request, rules);
            ZBDKIT_ASSERT(request.range.length == 0);
            break;
        case IoOperation::report_zones:
            ZBDKIT_ASSERT(rules.zone_size != 0 && request.range.offset < rules.device_size);
            break;
        case IoOperation::zone_reset_all: ZBDKIT_ASSERT(rules.zone_size != 0); break;
        case IoOperation::flush:
        case IoOperation::discard:
        case IoOperation::write_zeroes: break;
        case IoOperation::write_same: ZBDKIT_ASSERT(false); break;
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    test::FuzzInput input(std::as_bytes(std::span(data, size)));
    const unsigned flags = input.byte();
    const auto disk_size = input.take<std::uint64_t>();
    const IoRules rules = make_rules(flags, disk_size);
    IoDescriptor descriptor;
    descriptor.operation_and_flags = input.take<std::uint32_t>();
    descriptor.sectors = input.take<std::uint32_t>();
    descriptor.start_sector = input.take<std::uint64_t>();

    const auto parsed = parse_descriptor(descriptor, rules);
    if (parsed) {
        check_accepted(*parsed, rules);
    } else {
        ZBDKIT_ASSERT(parsed.error().os_errno > 0 && parsed.error().reason[0] != '\0');
    }
    return 0;
}
