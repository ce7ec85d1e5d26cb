// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/host_zones.h"

#include <fmt/format.h>
#include <linux/blkzoned.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "base/assert.h"
#include "base/buffer.h"
#include "base/text.h"
#include "node/protocol/block_device.h"
#include "zone/zone_rules.h"

namespace zbdkit {
namespace {

/// blk_zone_report without its zones, which ISO C++ has no way to say.
struct ReportHeader {
    std::uint64_t sector = 0;
    std::uint32_t nr_zones = 0;
    std::uint32_t flags = 0;
};
static_assert(sizeof(ReportHeader) == sizeof(blk_zone_report) && sizeof(blk_zone) == 64);

// --- Reports ------------------------------------------------------------------------------------

bool is_known(ZoneType type, ZoneState state) {
    switch (type) {
        case ZoneType::conventional:
            return state == ZoneState::not_write_pointer || is_worn_out(state);
        case ZoneType::sequential_required:
        case ZoneType::sequential_preferred:
            return takes_active(state) || is_worn_out(state) || state == ZoneState::empty ||
                   state == ZoneState::full;
    }
    return false;
}

/// Where the write pointer is: drivers leave anything there for zones without one.
std::optional<std::uint64_t> pointer_of(const blk_zone& zone, const ZoneDescriptor& descriptor) {
    if (descriptor.state == ZoneState::full) return descriptor.start + descriptor.length;
    if (!takes_active(descriptor.state)) return descriptor.start;
    const std::optional<std::uint64_t> pointer = Sectors(zone.wp).to_bytes();
    const bool is_inside =
        pointer && *pointer >= descriptor.start && *pointer <= descriptor.start + descriptor.length;
    return is_inside ? pointer : std::nullopt;
}

/// One zone in bytes; nothing if it contradicts itself.
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
                              .capacity = std::min(*capacity, *length),
                              .type = static_cast<ZoneType>(zone.type),
                              .state = static_cast<ZoneState>(zone.cond)};
    if (!is_known(descriptor.type, descriptor.state)) return std::nullopt;
    const std::optional<std::uint64_t> pointer = pointer_of(zone, descriptor);
    if (!pointer) return std::nullopt;
    descriptor.write_pointer = *pointer;
    return descriptor;
}

// --- The ioctls ---------------------------------------------------------------------------------

struct ActionCall {
    unsigned long code;
    const char* failure;
};

ActionCall call_of(ZoneAction action) {
    switch (action) {
        case ZoneAction::open: return {BLKOPENZONE, "zone open of the host"};
        case ZoneAction::close: return {BLKCLOSEZONE, "zone close of the host"};
        case ZoneAction::finish: return {BLKFINISHZONE, "zone finish of the host"};
        case ZoneAction::reset: return {BLKRESETZONE, "zone reset of the host"};
    }
    std::unreachable();
}

class HostZoneControl final : public ZoneControl {
  public:
    explicit HostZoneControl(int fd) : fd_(fd) {}

    [[nodiscard]] Result<ZoneList> report(std::uint64_t offset, std::uint32_t most) override {
        ZBDKIT_ASSERT(most > 0 && most <= kHostZonesPerReport);
        AlignedBuffer answer(sizeof(ReportHeader) + std::size_t{most} * sizeof(blk_zone));
        ReportHeader header;
        header.sector = Sectors::floor(offset).count();
        header.nr_zones = most;
        std::memcpy(answer.data(), &header, sizeof header);
        if (::ioctl(fd_, BLKREPORTZONE, answer.data()) != 0) {
            return std::unexpected(error_from_errno(errno, "zone report of the host"));
        }
        return decode_host_report(answer.bytes());
    }

    [[nodiscard]] Result<void> act(ZoneAction action, ByteRange zones) override {
        const ActionCall call = call_of(action);
        blk_zone_range range{};
        range.sector = Sectors::floor(zones.offset).count();
        range.nr_sectors = Sectors::floor(zones.length).count();
        if (::ioctl(fd_, call.code, &range) == 0) return {};
        return std::unexpected(error_from_errno(errno, call.failure));
    }

  private:
    int fd_;
};

// --- The geometry -------------------------------------------------------------------------------

std::uint32_t queue_limit(int fd, std::string_view name) {
    constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
    return static_cast<std::uint32_t>(std::min(queue_number(fd, name, 0), kMost));
}

/// Counts the conventional zones at the start, and takes the capacity of the first other zone.
Result<void> read_leading_zones(ZoneControl& control, HostZoneFacts& facts) {
    std::uint64_t offset = 0;
    while (offset < facts.device_size) {
        const Result<ZoneList> zones = control.report(offset, kHostZonesPerReport);
        if (!zones) return std::unexpected(zones.error());
        for (const ZoneDescriptor& zone : *zones) {
            if (zone.type != ZoneType::conventional) {
                facts.zone_capacity = zone.capacity;
                return {};
            }
            ++facts.conventional_zones;
        }
        const std::uint64_t next =
            zones->empty() ? offset : zones->back().start + zones->back().length;
        if (next <= offset) return fail(Errc::corrupt, "a zone report does not advance");
        offset = next;
    }
    return {};
}

}  // namespace

std::unique_ptr<ZoneControl> make_host_zone_control(int fd) {
    return std::make_unique<HostZoneControl>(fd);
}

Outcome<ZoneGeometry> host_zone_geometry(int fd, const std::string& filename) {
    if (!is_zoned_block_device(fd)) {
        return failure(fmt::format("'{}' is no zoned block device", filename), Errc::not_supported);
    }
    HostZoneFacts facts{.model = queue_attribute(fd, "zoned")};
    std::uint32_t zone_sectors = 0;
    if (::ioctl(fd, BLKGETSIZE64, &facts.device_size) != 0 ||
        ::ioctl(fd, BLKGETZONESZ, &zone_sectors) != 0) {
        return failure(
            fmt::format("cannot read the zone size of '{}': {}", filename, std::strerror(errno)));
    }
    facts.zone_size = zone_sectors * kSectorSize;
    facts.max_open_zones = queue_limit(fd, "max_open_zones");
    facts.max_active_zones = queue_limit(fd, "max_active_zones");
    facts.append_max_bytes = queue_number(fd, "zone_append_max_bytes", 0);
    facts.max_transfer_bytes = queue_limit(fd, "max_sectors_kb") * kKiB;
    facts.write_granularity = queue_limit(fd, "zone_write_granularity");
    facts.physical_block_size = queue_limit(fd, "physical_block_size");
    HostZoneControl control(fd);
    if (const Result<void> read = read_leading_zones(control, facts); !read) {
        return failure(fmt::format("cannot report the zones of '{}'", filename), read.error());
    }
    return geometry_of(facts, filename);
}

Outcome<ZoneGeometry> geometry_of(const HostZoneFacts& facts, const std::string& filename) {
    if (!is_power_of_two(facts.zone_size)) {
        return failure(fmt::format("'{}' has zones of {}: expected a power of two", filename,
                                   format_size(facts.zone_size)),
                       Errc::not_supported);
    }
    ZoneGeometry geometry;
    geometry.model = facts.model == "host-aware" ? ZoneModel::host_aware : ZoneModel::host_managed;
    geometry.device_size = facts.device_size;
    geometry.zone_size = facts.zone_size;
    geometry.zone_capacity = facts.zone_capacity == 0 ? facts.zone_size : facts.zone_capacity;
    geometry.conventional_zones = facts.conventional_zones;
    geometry.max_open_zones = facts.max_open_zones;
    geometry.max_active_zones = facts.max_active_zones;
    geometry.write_granularity =
        facts.write_granularity == 0 ? facts.physical_block_size : facts.write_granularity;
    // An append is a plain write for the host, so it can be as long as any where append has no
    // limit of its own.
    const std::uint64_t longest =
        facts.append_max_bytes == 0 ? facts.max_transfer_bytes : facts.append_max_bytes;
    geometry.max_append_bytes = round_down(std::min(longest, geometry.zone_capacity),
                                           std::max<std::uint64_t>(geometry.write_granularity, 1));
    if (const Outcome<void> sound = check_geometry(geometry); !sound) {
        return failure(fmt::format("'{}': {}", filename, sound.error().message),
                       sound.error().code);
    }
    return geometry;
}

Result<ZoneList> decode_host_report(ConstBytes answer) {
    ReportHeader header;
    if (answer.size() < sizeof header) return fail(Errc::corrupt, "a zone report without a header");
    std::memcpy(&header, answer.data(), sizeof header);
    const ConstBytes zones = answer.subspan(sizeof header);
    if (header.nr_zones > zones.size() / sizeof(blk_zone)) {
        return fail(Errc::corrupt, "a zone report tells of more zones than were asked for");
    }
    const bool has_capacity = (header.flags & BLK_ZONE_REP_CAPACITY) != 0;
    ZoneList descriptors;
    descriptors.reserve(header.nr_zones);
    for (std::uint32_t i = 0; i < header.nr_zones; ++i) {
        blk_zone zone{};
        std::memcpy(&zone, zones.data() + std::size_t{i} * sizeof zone, sizeof zone);
        const std::optional<ZoneDescriptor> descriptor = to_descriptor(zone, has_capacity);
        if (!descriptor) return fail(Errc::corrupt, "a zone of a report contradicts itself");
        descriptors.push_back(*descriptor);
    }
    return descriptors;
}

}  // namespace zbdkit
