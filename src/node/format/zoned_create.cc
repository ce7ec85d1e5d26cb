// SPDX-License-Identifier: Apache-2.0
#include "node/format/zoned_create.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <limits>

#include "base/buffer.h"
#include "base/text.h"
#include "base/units.h"

namespace zbdkit::zoned {
namespace {

constexpr std::uint64_t kDefaultZoneSize = 256 * kMiB;
constexpr std::uint64_t kSmallestDefaultZone = 4 * kMiB;
/// A small disk still gets this many zones by default.
constexpr std::uint64_t kDefaultZones = 32;
/// 126 segments of 4 KiB: what a queue of 128 descriptors carries in one request.
constexpr std::uint64_t kDefaultAppend = 504 * kKiB;
constexpr std::uint64_t kMaxZones32 = std::numeric_limits<std::uint32_t>::max();

std::uint64_t default_zone_size(std::uint64_t device_size) {
    std::uint64_t size = kDefaultZoneSize;
    while (size > kSmallestDefaultZone && device_size / size < kDefaultZones) size /= 2;
    return size;
}

Outcome<ZoneModel> parse_model(const OptionValues& options) {
    const std::string text = options.text("zone.mode", "host-managed");
    if (text == "host-managed") return ZoneModel::host_managed;
    if (text == "host-aware") return ZoneModel::host_aware;
    constexpr std::array<std::string_view, 2> kModels = {"host-managed", "host-aware"};
    return failure(fmt::format("option 'zone.mode': '{}' is neither host-managed nor host-aware{}",
                               text, did_you_mean(text, kModels)),
                   Errc::not_supported);
}

/// Fills one number in, or keeps the first failure.
class Filler {
  public:
    explicit Filler(const OptionValues& options) : options_(options) {}
    template <class T>
    void size(T& field, std::string_view key, std::uint64_t otherwise) {
        take(field, options_.size(key, otherwise));
    }
    void count(std::uint32_t& field, std::string_view key) {
        take(field, options_.number(key, 0, kMaxZones32));
    }
    [[nodiscard]] Outcome<void> outcome() const { return outcome_; }

  private:
    template <class T>
    void take(T& field, const Outcome<std::uint64_t>& value) {
        if (!outcome_) return;
        if (!value) {
            outcome_ = std::unexpected(value.error());
        } else if (*value > std::numeric_limits<T>::max()) {
            outcome_ = failure("a value is too large", Errc::out_of_range);
        } else {
            field = static_cast<T>(*value);
        }
    }
    const OptionValues& options_;
    Outcome<void> outcome_;
};

Uuid random_uuid() {
    Uuid uuid{};
    std::size_t filled = 0;
    while (filled < uuid.size()) {
        const ssize_t got = ::getrandom(uuid.data() + filled, uuid.size() - filled, 0);
        if (got > 0) filled += static_cast<std::size_t>(got);
    }
    uuid[6] = (uuid[6] & std::byte{0x0f}) | std::byte{0x40};  // RFC 9562, version 4
    uuid[8] = (uuid[8] & std::byte{0x3f}) | std::byte{0x80};
    return uuid;
}

std::uint64_t first_word(const ZoneGeometry& geometry, ZoneIndex zone) {
    const bool conventional = geometry.type_of(zone) == ZoneType::conventional;
    return encode_word(
        {.record = {.state = conventional ? ZoneState::not_write_pointer : ZoneState::empty}});
}

Task<Result<void>> put(BlockNode& node, std::uint64_t offset, MutableBytes bytes) {
    const iovec segment = segment_of(bytes);
    Request request = write_request({offset, bytes.size()}, IoSegments(&segment, 1));
    const Result<void> result = co_await node.submit(request);
    co_return result;
}

Task<Result<void>> sync(BlockNode& node) {
    Request request = flush_request();
    const Result<void> result = co_await node.submit(request);
    co_return result;
}

/// The first slot of every commit page; the second stays zero, which is no valid page.
Task<Result<void>> write_commit_pages(BlockNode& node, const Superblock& superblock) {
    const ZoneGeometry& geometry = superblock.geometry;
    const Layout layout = layout_of(geometry);
    constexpr std::uint32_t kPagesPerWrite = 128;
    AlignedBuffer buffer(std::size_t{kPagesPerWrite} * kSlots * kPageSize);
    for (std::uint32_t first = 0; first < layout.page_count; first += kPagesPerWrite) {
        const std::uint32_t count = std::min(kPagesPerWrite, layout.page_count - first);
        for (std::uint32_t page = first; page < first + count; ++page) {
            CommitPage commit{.index = page,
                              .sequence = 1,
                              .uuid = superblock.uuid,
                              .entry_count = entries_of_page(geometry, page)};
            for (std::uint32_t i = 0; i < commit.entry_count; ++i) {
                commit.words.at(i) = first_word(geometry, ZoneIndex(page * kZonesPerPage + i));
            }
            const Page bytes = encode_commit_page(commit);
            std::ranges::copy(
                bytes,
                buffer.bytes().subspan(std::size_t{page - first} * kSlots * kPageSize).begin());
        }
        co_await ok(put(node, layout.slot_offset(first, 0),
                        buffer.bytes().first(std::size_t{count} * kSlots * kPageSize)));
    }
    co_return Result<void>{};
}

Task<Result<void>> write_superblocks(BlockNode& node, const Superblock& superblock) {
    AlignedBuffer buffer(kPageSize);
    const Page page = encode_superblock(superblock);
    std::ranges::copy(page, buffer.bytes().begin());
    co_await ok(put(node, kSecondSuperblockOffset, buffer.bytes()));
    co_await ok(put(node, 0, buffer.bytes()));
    co_return Result<void>{};
}

Task<Result<void>> write_image(BlockNode& node, const Superblock& superblock) {
    const Layout layout = layout_of(superblock.geometry);
    AlignedBuffer zeroes(kPageSize);
    // What an earlier image left must not be found if this is interrupted.
    co_await ok(put(node, 0, zeroes.bytes()));
    co_await ok(put(node, kSecondSuperblockOffset, zeroes.bytes()));
    co_await ok(sync(node));
    Request clear = range_request(
        Op::write_zeroes, {layout.live_table_offset, layout.image_size - layout.live_table_offset});
    co_await ok(node.submit(clear));
    co_await ok(write_commit_pages(node, superblock));
    co_await ok(sync(node));
    co_await ok(write_superblocks(node, superblock));
    co_await ok(sync(node));
    co_return Result<void>{};
}

}  // namespace

Outcome<NewImage> plan_image(std::uint64_t device_size, const OptionValues& options) {
    if (Outcome<void> known = options.check_known(kCreateOptions); !known) {
        return std::unexpected(std::move(known.error()));
    }
    const Outcome<ZoneModel> model = parse_model(options);
    if (!model) return std::unexpected(model.error());
    NewImage image;
    ZoneGeometry& geometry = image.geometry;
    geometry.model = *model;
    geometry.device_size = device_size;
    Filler filler(options);
    filler.size(image.block_size, "block_size", 4096);
    filler.size(geometry.write_granularity, "zone.write_granularity", image.block_size);
    filler.size(geometry.zone_size, "zone.size", default_zone_size(device_size));
    filler.size(geometry.zone_capacity, "zone.capacity", geometry.zone_size);
    filler.count(geometry.conventional_zones, "zone.conventional_zones");
    filler.count(geometry.max_open_zones, "zone.max_open_zones");
    filler.count(geometry.max_active_zones, "zone.max_active_zones");
    const std::uint64_t granularity = std::max<std::uint64_t>(geometry.write_granularity, 1);
    filler.size(geometry.max_append_bytes, "zone.max_append_bytes",
                round_down(std::min(kDefaultAppend, geometry.zone_capacity), granularity));
    if (Outcome<void> filled = filler.outcome(); !filled) {
        return std::unexpected(std::move(filled.error()));
    }
    const char* fault = geometry_fault(geometry, image.block_size);
    if (*fault != '\0') return failure(fault, Errc::not_supported);
    return image;
}

std::string linux_guest_objection(const NewImage& image) {
    const ZoneGeometry& geometry = image.geometry;
    // A host-aware disk is a plain disk to Linux: it looks at none of this.
    if (geometry.model != ZoneModel::host_managed) return {};
    if (!is_power_of_two(geometry.zone_size)) {
        return fmt::format("zone.size {} is no power of two", format_size(geometry.zone_size));
    }
    // virtio-blk states it in 32 bits of sectors.
    constexpr std::uint64_t kZoneSizeLimit = (std::uint64_t{1} << 32) * kSectorSize;
    if (geometry.zone_size >= kZoneSizeLimit) {
        return fmt::format("zone.size {} is 2 TiB or more", format_size(geometry.zone_size));
    }
    if (geometry.max_append_bytes == 0)
        return "zone.max_append_bytes is 0: Linux needs zone append";
    constexpr std::uint64_t kAppendLimit = (std::uint64_t{1} << 23) * kSectorSize;
    if (geometry.max_append_bytes >= kAppendLimit) {
        return "zone.max_append_bytes is 4 GiB or more";
    }
    if (geometry.max_append_bytes < geometry.write_granularity) {
        return "zone.max_append_bytes is below zone.write_granularity";
    }
    if (geometry.conventional_zones >= geometry.zone_count()) {
        return "all zones are conventional";
    }
    return {};
}

Task<Outcome<void>> format_image(BlockNode& node, const NewImage& image) {
    const Layout layout = layout_of(image.geometry);
    if (node.info().size < layout.image_size) {
        co_return failure(
            fmt::format("'{}' has {}: expected at least {} for a disk of {}", node.describe(),
                        format_size(node.info().size), format_size(layout.image_size),
                        format_size(image.geometry.device_size)),
            Errc::no_space);
    }
    const Superblock superblock{
        .geometry = image.geometry, .block_size = image.block_size, .uuid = random_uuid()};
    const Result<void> written = co_await write_image(node, superblock);
    if (!written) {
        co_return failure(fmt::format("cannot write the image '{}'", node.describe()),
                          written.error());
    }
    co_return Outcome<void>{};
}

}  // namespace zbdkit::zoned
