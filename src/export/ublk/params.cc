// SPDX-License-Identifier: Apache-2.0
#include "export/ublk/params.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <string>
#include <string_view>

#include "base/text.h"

namespace zbdkit::ublk {
namespace {

/// The largest logical block of a ublk device: a page.
constexpr std::uint64_t kLargestBlock = 4 * kKiB;

std::unexpected<Failure> refuse(std::string message) {
    return failure("ublk: " + std::move(message), Errc::not_supported);
}

/// "expected 4 GiB or 4.25 GiB": the sizes with whole zones around that of the disk.
std::string nearest_sizes(const ZoneGeometry& zones) {
    const std::uint64_t below = round_down(zones.device_size, zones.zone_size);
    const std::uint64_t above = below + zones.zone_size;
    if (below == 0) return format_size(above);
    return fmt::format("{} or {}", format_size(below), format_size(above));
}

Outcome<void> check_zones(const ZoneGeometry& zones) {
    if (zones.model != ZoneModel::host_managed) {
        return refuse("Linux knows no host-aware disks: expected zone.mode=host-managed");
    }
    if (!is_power_of_two(zones.zone_size)) {
        return refuse(fmt::format("zones of {}: Linux takes powers of two only",
                                  format_size(zones.zone_size)));
    }
    if (zones.zone_size / kSectorSize > std::numeric_limits<std::uint32_t>::max()) {
        return refuse(fmt::format("zones of {} are too large", format_size(zones.zone_size)));
    }
    if (!is_aligned(zones.device_size, zones.zone_size)) {
        return refuse(fmt::format(
            "the disk has {} bytes, no multiple of its zone size of {}, and Linux would miss the "
            "short last zone: expected a disk of {}",
            zones.device_size, format_size(zones.zone_size), nearest_sizes(zones)));
    }
    if (zones.conventional_zones >= zones.zone_count()) {
        return refuse("the disk has conventional zones only: expected a sequential one at least");
    }
    if (zones.write_granularity > kLargestBlock) {
        return refuse(fmt::format("writes in units of {}: Linux takes {} at most",
                                  format_size(zones.write_granularity),
                                  format_size(kLargestBlock)));
    }
    if (zones.max_append_bytes < kSectorSize) return refuse("the disk cannot append to zones");
    return {};
}

std::uint8_t shift_of(std::uint64_t power_of_two) {
    return static_cast<std::uint8_t>(std::countr_zero(power_of_two));
}

/// A limit that no zone can exceed is none: Linux refuses those above the number of zones.
std::uint32_t limit_of(std::uint32_t limit, std::uint32_t zones) {
    return limit >= zones ? 0 : limit;
}

ZonedParams zoned_params(const ZoneGeometry& zones, const DiskOptions& options) {
    const std::uint32_t sequential = zones.zone_count() - zones.conventional_zones;
    ZonedParams params;
    params.max_active_zones = limit_of(zones.max_active_zones, sequential);
    params.max_open_zones = limit_of(zones.max_open_zones, sequential);
    // An open zone is active as well; Linux refuses a disk that promises more.
    if (params.max_active_zones != 0) {
        params.max_open_zones = std::min(params.max_open_zones, params.max_active_zones);
    }
    const std::uint64_t most = std::min(zones.max_append_bytes, options.max_io_bytes);
    params.max_append_sectors = static_cast<std::uint32_t>(most / kSectorSize);
    return params;
}

/// A range that Linux may give in one request without data, sectors.
std::uint32_t most_sectors_without_data(std::uint64_t block_size) {
    constexpr std::uint64_t kMost = kGiB;
    return static_cast<std::uint32_t>(round_down(kMost, block_size) / kSectorSize);
}

DiscardParams discard_params(const NodeInfo& info, std::uint64_t block_size) {
    DiscardParams params;
    params.granularity = static_cast<std::uint32_t>(block_size);
    params.max_segments = 1;
    const std::uint32_t most = most_sectors_without_data(block_size);
    if (info.ops.has(Op::discard)) params.max_discard_sectors = most;
    if (info.ops.has(Op::write_zeroes)) params.max_write_zeroes_sectors = most;
    return params;
}

std::uint32_t attributes_of(const DiskOptions& options) {
    // Never "rotational": Linux would write such a zoned disk with one request at a time.
    std::uint32_t attributes = 0;
    if (!options.writable) attributes |= attribute::kReadOnly;
    if (options.write_cache) attributes |= attribute::kVolatileCache | attribute::kFua;
    return attributes;
}

Outcome<void> differs(std::string_view what, std::uint64_t present, std::uint64_t own) {
    if (present == own) return {};
    return failure(fmt::format("the device has {} {}, the disk {}", what, present, own),
                   Errc::not_supported);
}

}  // namespace

Outcome<Params> make_params(const NodeInfo& info, const DiskOptions& options) {
    const bool is_zoned = info.zones.is_zoned();
    if (is_zoned) {
        if (Outcome<void> fits = check_zones(info.zones); !fits) {
            return std::unexpected(std::move(fits.error()));
        }
    }
    // There is no parameter for the granularity of writes: it is the logical block.
    // A file takes single bytes, Linux nothing below a sector.
    const std::uint64_t block_size = std::max<std::uint64_t>(
        {info.block_size, kSectorSize, is_zoned ? info.zones.write_granularity : 0});
    if (block_size > kLargestBlock) {
        return refuse(fmt::format("blocks of {}: Linux takes {} at most", format_size(block_size),
                                  format_size(kLargestBlock)));
    }
    if (!is_aligned(info.size, block_size)) {
        return refuse(fmt::format("the disk has {} bytes, no multiple of its block size of {}",
                                  info.size, format_size(block_size)));
    }
    Params params;
    params.length = sizeof params;
    params.types = param_type::kBasic;
    params.basic.attributes = attributes_of(options);
    params.basic.logical_block_shift = shift_of(block_size);
    params.basic.physical_block_shift =
        shift_of(std::max<std::uint64_t>(info.physical_block_size, block_size));
    params.basic.minimal_io_shift = params.basic.physical_block_shift;
    params.basic.max_sectors = static_cast<std::uint32_t>(options.max_io_bytes / kSectorSize);
    params.basic.device_sectors = info.size / kSectorSize;
    if (is_zoned) {
        params.types |= param_type::kZoned;
        params.basic.chunk_sectors = static_cast<std::uint32_t>(info.zones.zone_size / kSectorSize);
        params.zoned = zoned_params(info.zones, options);
    } else if (options.writable && (info.ops.has(Op::discard) || info.ops.has(Op::write_zeroes))) {
        params.types |= param_type::kDiscard;
        params.discard = discard_params(info, block_size);
    }
    return params;
}

Outcome<void> check_same_disk(const Params& present, const Params& own) {
    constexpr std::uint32_t kTypes = param_type::kBasic | param_type::kDiscard | param_type::kZoned;
    const BasicParams& theirs = present.basic;
    const BasicParams& ours = own.basic;
    for (Outcome<void>& same : std::to_array(
             {differs("sectors:", theirs.device_sectors, ours.device_sectors),
              differs("sectors in a zone:", theirs.chunk_sectors, ours.chunk_sectors),
              differs("a block shift of", theirs.logical_block_shift, ours.logical_block_shift),
              differs("attributes", theirs.attributes, ours.attributes),
              differs("parts", present.types & kTypes, own.types),
              differs("an open limit of", present.zoned.max_open_zones, own.zoned.max_open_zones),
              differs("an active limit of", present.zoned.max_active_zones,
                      own.zoned.max_active_zones),
              differs("sectors in an append:", present.zoned.max_append_sectors,
                      own.zoned.max_append_sectors)})) {
        if (!same) return std::move(same);
    }
    return {};
}

}  // namespace zbdkit::ublk
