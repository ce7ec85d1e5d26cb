// SPDX-License-Identifier: Apache-2.0
// The metadata of a small image, changed by arbitrary bytes: whatever a diagnosis says, doing what
// it says must leave a page that it finds sound, and no zone of which less can be read.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>

#include "base/assert.h"
#include "base/crc32c.h"
#include "node/format/zoned_diagnosis.h"
#include "zone/zone_rules.h"

namespace {

using namespace zbdkit;         // NOLINT: a fuzzer is one function
using namespace zbdkit::zoned;  // NOLINT

constexpr std::uint32_t kZones = 16;

struct Metadata {
    std::array<std::byte, kSlots * kPageSize> slots{};
    std::array<std::byte, kZones * 8> live{};
    std::array<bool, kSlots> is_slot_lost{};  ///< cannot be read
    std::uint32_t lost_live_words = 0;        ///< from the first on

    [[nodiscard]] PageBytes page() const {
        PageBytes page{.index = 0, .slots = slots, .live = live};
        for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
            if (is_slot_lost.at(slot)) page.unread_slots.at(slot) = Error{};
        }
        if (lost_live_words != 0) page.unread_live.push_back({0, lost_live_words, Error{}});
        return page;
    }
    [[nodiscard]] MutableBytes slot(std::size_t index) {
        return MutableBytes(slots).subspan(index * kPageSize, kPageSize);
    }
};

/// Takes bytes from the input; zeroes when there are none left.
class Input {
  public:
    Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
    std::uint8_t byte() {
        if (size_ == 0) return 0;
        --size_;
        return *data_++;
    }
    std::uint16_t word() { return static_cast<std::uint16_t>(byte() << 8 | byte()); }
    [[nodiscard]] bool is_empty() const { return size_ == 0; }

  private:
    const std::uint8_t* data_;
    std::size_t size_;
};

ImageFacts image_of(Input& input) {
    ImageFacts image;
    image.superblock.geometry = {.model = ZoneModel::host_managed,
                                 .device_size = kZones * 64 * kKiB,
                                 .zone_size = 64 * kKiB,
                                 .zone_capacity = 48 * kKiB,
                                 .conventional_zones = 2,
                                 .max_open_zones = 3,
                                 .write_granularity = 4096};
    image.superblock.sequence = 1 + input.byte() % 2;
    image.recovery = static_cast<Recovery>(input.byte() % 3);
    image.storage_size = layout_of(image.superblock.geometry).image_size - input.byte() * kKiB;
    return image;
}

Metadata sound_metadata() {
    Metadata metadata;
    CommitPage page{.sequence = 1, .entry_count = kZones};
    for (std::uint32_t zone = 0; zone < kZones; ++zone) {
        const Word word = zone < 2   ? Word{.record = {ZoneState::not_write_pointer, 0}}
                          : zone < 8 ? Word{.record = {ZoneState::closed, zone * 4096}}
                                     : Word{};
        page.words.at(zone) = encode_word(word);
        store_le(metadata.live.data() + zone * std::size_t{8}, page.words.at(zone));
    }
    for (std::size_t slot = 0; slot < kSlots; ++slot, ++page.sequence) {
        const Page bytes = encode_commit_page(page);
        std::ranges::copy(bytes, metadata.slot(slot).begin());
    }
    return metadata;
}

void fix_checksum(MutableBytes slot) {
    store_le(slot.data() + 60, std::uint32_t{0});
    store_le(slot.data() + 60, crc32c(slot));
}

void damage(Metadata& metadata, Input& input) {
    while (!input.is_empty()) {
        const std::uint8_t what = input.byte();
        const MutableBytes slot = metadata.slot(what & 1U);
        // The header and the words of these few zones are what matters.
        const std::size_t at = input.word() % (64 + kZones * 8);
        const std::byte value{input.byte()};
        switch (what >> 1U & 3U) {
            case 0: slot[at] = value; break;
            case 1:
                slot[at] = value;
                fix_checksum(slot);
                break;
            case 2: metadata.live.at(at % metadata.live.size()) = value; break;
            default:
                std::ranges::fill(slot, std::byte{0});
                if ((what & 8U) != 0) metadata.is_slot_lost.at(what & 1U) = true;
                if ((what & 16U) != 0) metadata.lost_live_words = 1 + at % kZones;
                break;
        }
    }
}

/// Up to where an open would let each zone be read; nothing if it would refuse the image.
std::optional<std::array<std::uint64_t, kZones>> ends(const ImageFacts& image,
                                                      const Metadata& metadata) {
    if (metadata.lost_live_words != 0) return std::nullopt;
    std::optional<CommitPage> newest;
    for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
        if (metadata.is_slot_lost.at(slot)) {
            if (image.recovery == Recovery::power_loss) return std::nullopt;
            continue;
        }
        const auto page =
            decode_commit_page(ConstBytes(metadata.slots).subspan(slot * kPageSize, kPageSize),
                               image.superblock.uuid, 0, kZones);
        if (page && page->sequence > (newest ? newest->sequence : 0)) newest = *page;
    }
    if (!newest) return std::nullopt;
    std::array<std::uint64_t, kZones> found{};
    for (std::uint32_t zone = 0; zone < kZones; ++zone) {
        const auto live = load_le<std::uint64_t>(metadata.live.data() + zone * std::size_t{8});
        const bool from_live = image.recovery == Recovery::daemon_death;
        const Result<Word> word = decode_word(from_live ? live : newest->words.at(zone));
        const ZoneIndex index{zone};
        const ZoneGeometry& geometry = image.superblock.geometry;
        if (!word ||
            !check_record(geometry.type_of(index), word->record, geometry.capacity_of(index))) {
            return std::nullopt;
        }
        const bool is_offline = word->record.state == ZoneState::offline;
        found.at(zone) = is_offline ? 0 : word->record.data_end;
    }
    return found;
}

void apply(const ImageFacts& image, const PageRepair& repair, Metadata& metadata) {
    // A block that cannot be read is written as a whole, with zeroes for what is not known.
    for (std::uint32_t zone = 0; zone < metadata.lost_live_words; ++zone) {
        store_le(metadata.live.data() + zone * std::size_t{8}, std::uint64_t{0});
    }
    if (!repair.live.empty()) metadata.lost_live_words = 0;
    for (const PageRepair::LiveWord& word : repair.live) {
        store_le(metadata.live.data() + word.zone * std::size_t{8}, word.bits);
    }
    for (const PageRepair::SlotWrite& write : repair.slots) {
        const Page bytes = slot_bytes(image, 0, repair, write);
        std::ranges::copy(bytes, metadata.slot(write.slot).begin());
        metadata.is_slot_lost.at(write.slot) = false;
    }
}

void diagnose_superblock_bytes(const std::uint8_t* data, std::size_t size) {
    Page page = encode_superblock(Superblock{.geometry = {.model = ZoneModel::host_managed,
                                                          .device_size = kMiB,
                                                          .zone_size = 64 * kKiB,
                                                          .zone_capacity = 64 * kKiB,
                                                          .write_granularity = 4096}});
    const SuperblockCopy good = look_at_superblock(page);
    if (size > 0) std::memcpy(page.data() + 8, data, std::min<std::size_t>(size, 168));
    if (size % 2 == 0) store_le(page.data() + 4092, crc32c(ConstBytes(page).first(4092)));
    SuperblockCopy bad = look_at_superblock(page);
    if (size % 5 == 0) bad = {.unread = Error{}};
    bad.has_pages = bad.salvaged && size % 3 == 0;
    const SuperblockDiagnosis found = diagnose_superblocks({good, bad}, Uuid{});
    ZBDKIT_ASSERT(found.superblock.has_value());
    ZBDKIT_ASSERT(found.rewrite.empty() || found.cure != Cure::not_needed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    diagnose_superblock_bytes(data, size);
    Input input(data, size);
    const ImageFacts image = image_of(input);
    Metadata metadata = sound_metadata();
    damage(metadata, input);
    const auto before = ends(image, metadata);
    const PageDiagnosis found = diagnose_page(image, metadata.page());
    ZBDKIT_ASSERT(before || found.cure != Cure::not_needed);
    if (found.cure == Cure::not_needed) return 0;
    apply(image, found.repair, metadata);
    ZBDKIT_ASSERT(diagnose_page(image, metadata.page()).cure == Cure::not_needed);
    const auto after = ends(image, metadata);
    ZBDKIT_ASSERT(after.has_value());
    for (std::uint32_t zone = 0; before && zone < kZones; ++zone) {
        ZBDKIT_ASSERT(after->at(zone) >= before->at(zone));
    }
    return 0;
}
