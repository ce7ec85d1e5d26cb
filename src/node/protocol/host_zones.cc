// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/host_zones.h"

#include <fmt/format.h>
#include <linux/blkzoned.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>

#include "base/assert.h"
#include "base/buffer.h"
#include "base/units.h"

namespace zbdkit {
namespace {

/// blk_zone_report without its zones, which ISO C++ has no way to say.
struct ReportHeader {
    std::uint64_t sector = 0;
    std::uint32_t nr_zones = 0;
    std::uint32_t flags = 0;
};
static_assert(sizeof(ReportHeader) == sizeof(blk_zone_report) && sizeof(blk_zone) == 64);

/// A file of the device's queue in sysfs, or "".
std::string queue_attribute(int fd, std::string_view name) {
    struct stat status{};
    if (::fstat(fd, &status) != 0 || !S_ISBLK(status.st_mode)) return {};
    std::ifstream file(fmt::format("/sys/dev/block/{}:{}/queue/{}", major(status.st_rdev),
                                   minor(status.st_rdev), name));
    std::string value;
    std::getline(file, value);
    return value;
}

std::uint64_t queue_number(int fd, std::string_view name, std::uint64_t otherwise) {
    const std::string text = queue_attribute(fd, name);
    std::uint64_t number = 0;
    const char* end = text.data() + text.size();
    const auto [parsed, error] = std::from_chars(text.data(), end, number);
    return error == std::errc() && parsed == end ? number : otherwise;
}

std::uint32_t queue_limit(int fd, std::string_view name) {
    constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
    return static_cast<std::uint32_t>(std::min(queue_number(fd, name, 0), kMost));
}

/// One zone in bytes; nothing if a number passes kMaxOffset.
std::optional<ZoneDescriptor> to_descriptor(const blk_zone& zone, bool has_capacity) {
    const std::optional<std::uint64_t> start = Sectors(zone.start).to_bytes();
    const std::optional<std::uint64_t> length = Sectors(zone.len).to_bytes();
    const std::optional<std::uint64_t> capacity =
        Sectors(has_capacity ? zone.capacity : zone.len).to_bytes();
    if (!start || !length || !capacity || !ByteRange{*start, *length}.is_sane()) {
        return std::nullopt;
    }
    ZoneDescriptor descriptor{.start = *start,
                              .length = *length,
                              .capacity = *capacity,
                              .type = static_cast<ZoneType>(zone.type),
                              .state = static_cast<ZoneState>(zone.cond)};
    // Drivers leave anything there for zones without a write pointer.
    switch (descriptor.state) {
        case ZoneState::implicit_open:
        case ZoneState::explicit_open:
        case ZoneState::closed:
            descriptor.write_pointer = Sectors(zone.wp).to_bytes().value_or(*start);
            break;
        case ZoneState::full: descriptor.write_pointer = *start + *length; break;
        case ZoneState::not_write_pointer:
        case ZoneState::empty:
        case ZoneState::read_only:
        case ZoneState::offline: descriptor.write_pointer = *start; break;
    }
    return descriptor;
}

/// Counts the conventional zones at the start, and takes the capacity of the first other zone.
Result<void> read_leading_zones(int fd, ZoneGeometry& geometry) {
    std::uint64_t offset = 0;
    while (offset < geometry.device_size) {
        const Result<std::vector<ZoneDescriptor>> zones =
            report_host_zones(fd, offset, kHostZonesPerReport);
        if (!zones) return std::unexpected(zones.error());
        for (const ZoneDescriptor& zone : *zones) {
            if (zone.type != ZoneType::conventional) {
                geometry.zone_capacity = zone.capacity;
                return {};
            }
            ++geometry.conventional_zones;
        }
        const std::uint64_t next =
            zones->empty() ? offset : zones->back().start + zones->back().length;
        if (next <= offset) return fail(Errc::corrupt, "a zone report does not advance");
        offset = next;
    }
    return {};
}

}  // namespace

bool is_zoned_block_device(int fd) {
    const std::string zoned = queue_attribute(fd, "zoned");
    return !zoned.empty() && zoned != "none";
}

Outcome<ZoneGeometry> host_zone_geometry(int fd, const std::string& filename) {
    if (!is_zoned_block_device(fd)) {
        return failure(fmt::format("'{}' is no zoned block device", filename), Errc::not_supported);
    }
    ZoneGeometry geometry;
    std::uint32_t zone_sectors = 0;
    if (::ioctl(fd, BLKGETSIZE64, &geometry.device_size) != 0 ||
        ::ioctl(fd, BLKGETZONESZ, &zone_sectors) != 0 || zone_sectors == 0) {
        return failure(
            fmt::format("cannot read the zone size of '{}': {}", filename, std::strerror(errno)));
    }
    geometry.model = queue_attribute(fd, "zoned") == "host-aware" ? ZoneModel::host_aware
                                                                  : ZoneModel::host_managed;
    geometry.zone_size = zone_sectors * kSectorSize;
    geometry.zone_capacity = geometry.zone_size;
    geometry.max_open_zones = queue_limit(fd, "max_open_zones");
    geometry.max_active_zones = queue_limit(fd, "max_active_zones");
    geometry.max_append_bytes = queue_number(fd, "zone_append_max_bytes", 0);
    geometry.write_granularity = queue_limit(fd, "zone_write_granularity");
    if (geometry.write_granularity == 0) {  // before Linux 5.12
        geometry.write_granularity = queue_limit(fd, "physical_block_size");
    }
    if (const Result<void> read = read_leading_zones(fd, geometry); !read) {
        return failure(fmt::format("cannot report the zones of '{}'", filename), read.error());
    }
    return geometry;
}

Result<std::vector<ZoneDescriptor>> report_host_zones(int fd, std::uint64_t offset,
                                                      std::uint32_t most) {
    ZBDKIT_ASSERT(most > 0 && most <= kHostZonesPerReport);
    AlignedBuffer answer(sizeof(ReportHeader) + std::size_t{most} * sizeof(blk_zone));
    ReportHeader header;
    header.sector = Sectors::floor(offset).count();
    header.nr_zones = most;
    std::memcpy(answer.data(), &header, sizeof header);
    if (::ioctl(fd, BLKREPORTZONE, answer.data()) != 0) {
        return std::unexpected(error_from_errno(errno, "zone report of the host"));
    }
    return decode_host_report(answer.bytes());
}

Result<std::vector<ZoneDescriptor>> decode_host_report(ConstBytes answer) {
    ReportHeader header;
    if (answer.size() < sizeof header) return fail(Errc::corrupt, "a zone report without a header");
    std::memcpy(&header, answer.data(), sizeof header);
    const ConstBytes zones = answer.subspan(sizeof header);
    if (header.nr_zones > zones.size() / sizeof(blk_zone)) {
        return fail(Errc::corrupt, "a zone report tells of more zones than were asked for");
    }
    const bool has_capacity = (header.flags & BLK_ZONE_REP_CAPACITY) != 0;
    std::vector<ZoneDescriptor> descriptors;
    descriptors.reserve(header.nr_zones);
    for (std::uint32_t i = 0; i < header.nr_zones; ++i) {
        blk_zone zone{};
        std::memcpy(&zone, zones.data() + std::size_t{i} * sizeof zone, sizeof zone);
        const std::optional<ZoneDescriptor> descriptor = to_descriptor(zone, has_capacity);
        if (!descriptor) return fail(Errc::corrupt, "a zone of a report lies beyond 8 EiB");
        descriptors.push_back(*descriptor);
    }
    return descriptors;
}

}  // namespace zbdkit
