// SPDX-License-Identifier: Apache-2.0
#include "node/format/zoned_header.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "base/crc32c.h"

namespace zbdkit::zoned {
namespace {

constexpr std::array<char, 8> kMagic = {'Z', 'B', 'D', 'K', 'I', 'T', '\r', '\n'};
constexpr std::uint32_t kPageMagic = 0x4750435a;  // "ZCPG"
constexpr std::size_t kSuperblockCrc = 4092;
constexpr std::size_t kPageCrc = 60;
constexpr std::size_t kPageWords = 64;

constexpr unsigned kStateShift = 56;
constexpr std::uint64_t kDataEndMask = (std::uint64_t{1} << kStateShift) - 1;
constexpr std::uint64_t kStateMask = 0xf;
constexpr std::uint64_t kReclaimBit = std::uint64_t{1} << 60;
constexpr std::uint64_t kZeroBits = std::uint64_t{7} << 61;

/// The fixed fields of a page as offsets, written and read by the same names.
struct Writer {
    Page& page;
    template <class T>
    void put(std::size_t offset, T value) const {
        store_le(page.data() + offset, value);
    }
    void put_bytes(std::size_t offset, ConstBytes bytes) const {
        std::memcpy(page.data() + offset, bytes.data(), bytes.size());
    }
};

struct Reader {
    ConstBytes page;
    template <class T>
    [[nodiscard]] T get(std::size_t offset) const {
        return load_le<T>(page.data() + offset);
    }
    [[nodiscard]] Uuid uuid(std::size_t offset) const {
        Uuid uuid;
        std::memcpy(uuid.data(), page.data() + offset, uuid.size());
        return uuid;
    }
};

bool is_known_state(std::uint64_t state) {
    constexpr std::array<std::uint64_t, 8> kStates = {0, 1, 2, 3, 4, 13, 14, 15};
    return std::ranges::find(kStates, state) != kStates.end();
}

std::uint32_t page_crc(Page page) {
    store_le(page.data() + kPageCrc, std::uint32_t{0});
    return crc32c(page);
}

Superblock read_fields(const Reader& from) {
    Superblock superblock;
    ZoneGeometry& geometry = superblock.geometry;
    superblock.read_only_features = from.get<std::uint64_t>(24);
    superblock.compatible_features = from.get<std::uint64_t>(32);
    superblock.uuid = from.uuid(40);
    geometry.device_size = from.get<std::uint64_t>(56);
    geometry.zone_size = from.get<std::uint64_t>(64);
    geometry.zone_capacity = from.get<std::uint64_t>(72);
    geometry.max_append_bytes = from.get<std::uint64_t>(80);
    geometry.conventional_zones = from.get<std::uint32_t>(92);
    geometry.max_open_zones = from.get<std::uint32_t>(96);
    geometry.max_active_zones = from.get<std::uint32_t>(100);
    geometry.write_granularity = from.get<std::uint32_t>(104);
    superblock.block_size = from.get<std::uint32_t>(108);
    geometry.model = static_cast<ZoneModel>(from.get<std::uint8_t>(112));
    superblock.condition = static_cast<Condition>(from.get<std::uint32_t>(148));
    superblock.sequence = from.get<std::uint64_t>(152);
    superblock.boot_id = from.uuid(160);
    return superblock;
}

/// The numbers that follow from others must agree with them.
bool is_consistent(const Superblock& superblock, const Reader& from) {
    if (*geometry_fault(superblock.geometry, superblock.block_size) != '\0') return false;
    const Layout layout = layout_of(superblock.geometry);
    const bool known_condition =
        superblock.condition == Condition::clean || superblock.condition == Condition::in_use;
    return known_condition && from.get<std::uint32_t>(12) == kPageSize &&
           from.get<std::uint32_t>(88) == superblock.geometry.zone_count() &&
           from.get<std::uint64_t>(120) == layout.live_table_offset &&
           from.get<std::uint64_t>(128) == layout.commit_offset &&
           from.get<std::uint64_t>(136) == layout.data_offset &&
           from.get<std::uint32_t>(144) == kZonesPerPage;
}

}  // namespace

Layout layout_of(const ZoneGeometry& geometry) {
    Layout layout;
    const std::uint64_t zones = geometry.zone_count();
    layout.live_table_length = round_up(zones * sizeof(std::uint64_t), kPageSize);
    layout.commit_offset = layout.live_table_offset + layout.live_table_length;
    layout.page_count = static_cast<std::uint32_t>((zones + kZonesPerPage - 1) / kZonesPerPage);
    layout.data_offset =
        round_up(layout.commit_offset + std::uint64_t{layout.page_count} * kSlots * kPageSize,
                 kDataAlignment);
    layout.image_size = layout.data_offset + geometry.device_size;
    return layout;
}

const char* geometry_fault(const ZoneGeometry& geometry, std::uint32_t block_size) {
    if (geometry.model != ZoneModel::host_managed && geometry.model != ZoneModel::host_aware) {
        return "zone.mode must be host-managed or host-aware";
    }
    if (!is_power_of_two(block_size) || block_size < 512 || block_size > 65536) {
        return "block_size must be a power of two from 512 to 64 KiB";
    }
    if (!is_power_of_two(geometry.write_granularity) || geometry.write_granularity < block_size ||
        geometry.write_granularity > kMiB) {
        return "zone.write_granularity must be a power of two, from the block size to 1 MiB";
    }
    if (geometry.zone_size == 0 || geometry.zone_size > kMaxZoneSize) {
        return "zone.size must be more than 0 and at most 32 PiB";
    }
    if (!is_aligned(geometry.zone_size, geometry.write_granularity)) {
        return "zone.size must be a multiple of zone.write_granularity";
    }
    if (geometry.zone_capacity == 0 || geometry.zone_capacity > geometry.zone_size ||
        !is_aligned(geometry.zone_capacity, geometry.write_granularity)) {
        return "zone.capacity must be a multiple of zone.write_granularity, from one to zone.size";
    }
    if (geometry.device_size == 0 || geometry.device_size > kMaxOffset / 2 ||
        !is_aligned(geometry.device_size, geometry.write_granularity)) {
        return "the size must be a multiple of zone.write_granularity, more than 0 and at most "
               "4 EiB";
    }
    if ((geometry.device_size - 1) / geometry.zone_size >= kMaxZoneCount) {
        return "there would be more than 268435456 zones: expected a larger zone.size";
    }
    if (geometry.conventional_zones > geometry.zone_count()) {
        return "zone.conventional_zones is more than there are zones";
    }
    if (geometry.max_active_zones != 0 && geometry.max_open_zones > geometry.max_active_zones) {
        return "zone.max_open_zones must not exceed zone.max_active_zones";
    }
    if (!is_aligned(geometry.max_append_bytes, geometry.write_granularity) ||
        geometry.max_append_bytes > geometry.zone_capacity) {
        return "zone.max_append_bytes must be a multiple of zone.write_granularity and at most "
               "zone.capacity";
    }
    return "";
}

Page encode_superblock(const Superblock& superblock) {
    Page page{};
    const Writer to{page};
    const ZoneGeometry& geometry = superblock.geometry;
    const Layout layout = layout_of(geometry);
    to.put_bytes(0, bytes_of(kMagic));
    to.put(8, kVersion);
    to.put(12, static_cast<std::uint32_t>(kPageSize));
    to.put(24, superblock.read_only_features);
    to.put(32, superblock.compatible_features);
    to.put_bytes(40, superblock.uuid);
    to.put(56, geometry.device_size);
    to.put(64, geometry.zone_size);
    to.put(72, geometry.zone_capacity);
    to.put(80, geometry.max_append_bytes);
    to.put(88, geometry.zone_count());
    to.put(92, geometry.conventional_zones);
    to.put(96, geometry.max_open_zones);
    to.put(100, geometry.max_active_zones);
    to.put(104, geometry.write_granularity);
    to.put(108, superblock.block_size);
    to.put(112, static_cast<std::uint8_t>(geometry.model));
    to.put(120, layout.live_table_offset);
    to.put(128, layout.commit_offset);
    to.put(136, layout.data_offset);
    to.put(144, kZonesPerPage);
    to.put(148, static_cast<std::uint32_t>(superblock.condition));
    to.put(152, superblock.sequence);
    to.put_bytes(160, superblock.boot_id);
    to.put(kSuperblockCrc, crc32c(ConstBytes(page).first(kSuperblockCrc)));
    return page;
}

const char* superblock_fault_text(SuperblockFault fault) {
    switch (fault) {
        case SuperblockFault::not_an_image: return "it is no zbdkit image";
        case SuperblockFault::bad_checksum: return "its checksum does not match";
        case SuperblockFault::future_version:
            return "it is of a later version of the format than this zbdkit knows";
        case SuperblockFault::unknown_feature:
            return "it uses a feature that this zbdkit does not know";
        case SuperblockFault::bad_geometry: return "its numbers contradict each other";
    }
    return "unknown fault";
}

std::expected<Superblock, SuperblockFault> decode_superblock(ConstBytes bytes) {
    ZBDKIT_ASSERT(bytes.size() == kPageSize);
    if (std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) {
        return std::unexpected(SuperblockFault::not_an_image);
    }
    const Reader from{bytes};
    if (from.get<std::uint32_t>(kSuperblockCrc) != crc32c(bytes.first(kSuperblockCrc))) {
        return std::unexpected(SuperblockFault::bad_checksum);
    }
    if (from.get<std::uint32_t>(8) != kVersion) {
        return std::unexpected(SuperblockFault::future_version);
    }
    if (from.get<std::uint64_t>(16) != 0) {
        return std::unexpected(SuperblockFault::unknown_feature);
    }
    const Superblock superblock = read_fields(from);
    if (!is_consistent(superblock, from)) return std::unexpected(SuperblockFault::bad_geometry);
    return superblock;
}

std::expected<Superblock, SuperblockFault> salvage_superblock(ConstBytes bytes) {
    ZBDKIT_ASSERT(bytes.size() == kPageSize);
    Page page;
    std::ranges::copy(bytes, page.begin());
    const Writer to{page};
    to.put_bytes(0, bytes_of(kMagic));
    to.put(kSuperblockCrc, crc32c(ConstBytes(page).first(kSuperblockCrc)));
    return decode_superblock(page);
}

Recovery recovery_of(const Superblock& superblock, const Uuid& boot_id) {
    if (superblock.condition == Condition::clean) return Recovery::clean;
    const bool is_live = superblock.boot_id == boot_id || superblock.boot_id == kEveryBoot;
    return is_live ? Recovery::daemon_death : Recovery::power_loss;
}

std::uint64_t encode_word(const Word& word) {
    ZBDKIT_ASSERT(word.record.data_end <= kDataEndMask);
    return word.record.data_end | static_cast<std::uint64_t>(word.record.state) << kStateShift |
           (word.reclaim_pending ? kReclaimBit : 0);
}

Result<Word> decode_word(std::uint64_t bits) {
    const std::uint64_t state = (bits >> kStateShift) & kStateMask;
    if ((bits & kZeroBits) != 0 || !is_known_state(state)) {
        return fail(Errc::corrupt, "a zone entry has a state that does not exist");
    }
    const Word word = {
        .record = {.state = static_cast<ZoneState>(state), .data_end = bits & kDataEndMask},
        .reclaim_pending = (bits & kReclaimBit) != 0};
    if (word.reclaim_pending && word.record != ZoneRecord{ZoneState::empty, 0}) {
        return fail(Errc::corrupt, "a zone that is not empty is marked as reset");
    }
    return word;
}

std::uint64_t stored_data_end(std::uint64_t bits) { return bits & kDataEndMask; }

Page encode_commit_page(const CommitPage& commit) {
    Page page{};
    const Writer to{page};
    to.put(0, kPageMagic);
    to.put(4, commit.index);
    to.put(8, commit.sequence);
    to.put_bytes(16, commit.uuid);
    to.put(32, commit.entry_count);
    for (std::uint32_t i = 0; i < commit.entry_count; ++i) {
        to.put(kPageWords + i * sizeof(std::uint64_t), commit.words.at(i));
    }
    to.put(kPageCrc, page_crc(page));
    return page;
}

const char* page_fault_text(PageFault fault) {
    switch (fault) {
        case PageFault::not_a_page: return "it is no commit page";
        case PageFault::bad_checksum: return "its checksum does not match";
        case PageFault::foreign: return "it belongs to another place or image";
    }
    return "unknown fault";
}

std::expected<CommitPage, PageFault> decode_commit_page(ConstBytes bytes, const Uuid& uuid,
                                                        std::uint32_t index,
                                                        std::uint32_t entry_count) {
    ZBDKIT_ASSERT(bytes.size() == kPageSize);
    const Reader from{bytes};
    Page copy;
    std::ranges::copy(bytes, copy.begin());
    if (from.get<std::uint32_t>(0) != kPageMagic) {
        return std::unexpected(PageFault::not_a_page);
    }
    if (from.get<std::uint32_t>(kPageCrc) != page_crc(copy)) {
        return std::unexpected(PageFault::bad_checksum);
    }
    if (from.get<std::uint32_t>(4) != index || from.uuid(16) != uuid ||
        from.get<std::uint32_t>(32) != entry_count) {
        return std::unexpected(PageFault::foreign);
    }
    const auto sequence = from.get<std::uint64_t>(8);
    if (sequence == 0) return std::unexpected(PageFault::foreign);
    CommitPage commit{
        .index = index, .sequence = sequence, .uuid = uuid, .entry_count = entry_count};
    for (std::uint32_t i = 0; i < entry_count; ++i) {
        commit.words.at(i) = from.get<std::uint64_t>(kPageWords + i * sizeof(std::uint64_t));
    }
    return commit;
}

bool is_blank(ConstBytes bytes) {
    return std::ranges::all_of(bytes, [](std::byte value) { return value == std::byte{0}; });
}

std::uint32_t entries_of_page(const ZoneGeometry& geometry, std::uint32_t index) {
    const std::uint32_t first = index * kZonesPerPage;
    return std::min(kZonesPerPage, geometry.zone_count() - first);
}

}  // namespace zbdkit::zoned
