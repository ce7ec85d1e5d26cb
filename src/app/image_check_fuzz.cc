// SPDX-License-Identifier: Apache-2.0
// Images whose metadata was tampered with, checksums made right again: looked through by the
// checker, opened, used, closed or abandoned, looked through and opened again. What must hold:
//   - nothing crashes, and neither the checker nor a read-only open writes;
//   - an image that the checker finds sound can be opened;
//   - whatever could be opened opens again, with the zones that were last seen; and what was sound
//     is sound afterwards. (An open leaves a damaged slot alone until its page is written.)
//
//   input   = shape:u8 life:u8 count:u8 patch{count % 8} request...
//   life    = bits 0-1 the condition before: as created, clean, in use by this boot, by another;
//             bit 2 open read-only; bit 3 leave checksums wrong; bit 4 die instead of closing;
//             bit 5 make the layout follow from the sizes
//   patch   = where:u8 at:u16 value:u64
//   request = op:u8 zone:u8 blocks:u8 flags:u8                     up to 24
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "app/image_check.h"
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "node/format/zoned_store.h"
#include "tests/fuzz/canary.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/zoned_storage.h"

namespace zbdkit::app {
namespace {

using test::FuzzInput;

constexpr std::size_t kMostPatches = 8;
constexpr std::size_t kMostRequests = 24;
constexpr std::size_t kMostBlocks = 20;
constexpr std::size_t kSuperblockFields = 184;
constexpr std::size_t kPageHead = 64;

struct Life {
    explicit Life(unsigned bits) : bits_(bits) {}
    [[nodiscard]] unsigned condition() const { return bits_ & 3; }
    [[nodiscard]] bool reads_only() const { return (bits_ & 4) != 0; }
    [[nodiscard]] bool keeps_bad_checksums() const { return (bits_ & 8) != 0; }
    [[nodiscard]] bool dies() const { return (bits_ & 16) != 0; }
    [[nodiscard]] bool derives_layout() const { return (bits_ & 32) != 0; }

  private:
    unsigned bits_;
};

/// The metadata of an image as whoever tampers with it sees it.
class Metadata {
  public:
    explicit Metadata(MutableBytes image)
        : image_(image), superblock_(*zoned::decode_superblock(page(0))) {
        layout_ = zoned::layout_of(superblock_.geometry);
    }

    void set_condition(unsigned condition) {
        if (condition == 0) return;
        superblock_.condition = condition == 1 ? zoned::Condition::clean : zoned::Condition::in_use;
        superblock_.boot_id = {};
        if (condition == 2) superblock_.boot_id = *zoned::host_boot_id();
        const zoned::Page encoded = zoned::encode_superblock(superblock_);
        for (const MutableBytes copy : superblocks()) std::ranges::copy(encoded, copy.begin());
    }

    void patch(unsigned where, std::uint16_t at, std::uint64_t value) {
        switch (where % 8) {
            case 0: return put(superblocks()[0], at % kSuperblockFields, where, value);
            case 1: return put(superblocks()[1], at % kSuperblockFields, where, value);
            case 2:  // both copies, so that it counts
                put(superblocks()[0], at % kSuperblockFields, where, value);
                return put(superblocks()[1], at % kSuperblockFields, where, value);
            case 3: return put(slot(at, 0), at % kPageHead, where, value);
            case 4: return add_newer_page(at, value);
            case 5: return set_word(at, value);
            case 6: return put(live_table(), at, where, value);
            default: return put(image_, at * std::size_t{64}, where, value);
        }
    }

    /// Makes the numbers that follow from the sizes do so.
    void derive_layout() {
        for (const MutableBytes copy : superblocks()) {
            ZoneGeometry geometry;
            geometry.device_size = load_le<std::uint64_t>(copy.data() + 56) & (kMaxOffset / 2);
            geometry.zone_size = load_le<std::uint64_t>(copy.data() + 64);
            const zoned::Layout layout = zoned::layout_of(geometry);
            store_le(copy.data() + 88, geometry.zone_count());
            store_le(copy.data() + 120, layout.live_table_offset);
            store_le(copy.data() + 128, layout.commit_offset);
            store_le(copy.data() + 136, layout.data_offset);
        }
    }

    void correct_checksums() {
        for (const MutableBytes copy : superblocks()) {
            shorten_sequence(copy.subspan(152));
            store_le(copy.data() + 4092, crc32c(ConstBytes(copy).first(4092)));
        }
        for (std::uint32_t index = 0; index < layout_.page_count; ++index) {
            correct_page(slot(index, 0));
            correct_page(slot(index, 1));
        }
    }

    /// What no request and no read may change.
    [[nodiscard]] std::uint32_t checksum() const {
        return crc32c(ConstBytes(image_).first(layout_.data_offset));
    }

  private:
    [[nodiscard]] MutableBytes page(std::uint64_t offset) const {
        return image_.subspan(offset, zoned::kPageSize);
    }
    [[nodiscard]] std::array<MutableBytes, 2> superblocks() const {
        return {page(0), page(zoned::kSecondSuperblockOffset)};
    }
    [[nodiscard]] MutableBytes slot(std::uint32_t index, std::uint32_t which) const {
        return page(layout_.slot_offset(index % layout_.page_count, which));
    }
    [[nodiscard]] MutableBytes live_table() const {
        return image_.subspan(layout_.live_table_offset, layout_.live_table_length);
    }

    static void put(MutableBytes to, std::size_t at, unsigned where, std::uint64_t value) {
        const std::size_t width = std::size_t{1} << (where / 8 % 4);
        const ConstBytes from = bytes_of(value).first(width);
        for (std::size_t i = 0; i < width; ++i) to[(at + i) % to.size()] = from[i];
    }
    /// A second version of a page, with the sequence that was asked for.
    void add_newer_page(std::uint32_t index, std::uint64_t sequence) {
        std::ranges::copy(slot(index, 0), slot(index, 1).begin());
        store_le(slot(index, 1).data() + 8, sequence);
    }
    /// A zone's word, in the live table and in the first slot.
    void set_word(std::uint32_t zone, std::uint64_t word) {
        zone %= superblock_.geometry.zone_count();
        store_le(live_table().data() + std::size_t{zone} * 8, word);
        const std::uint32_t index = zone / zoned::kZonesPerPage;
        const std::size_t entry = zone % zoned::kZonesPerPage;
        store_le(slot(index, 0).data() + kPageHead + entry * 8, word);
    }
    /// No image lives until a sequence wraps, and what a forged one does then harms nobody else.
    static void shorten_sequence(MutableBytes bytes) {
        constexpr std::uint64_t kMost = std::uint64_t{1} << 61;  // check believes up to 2^62
        store_le(bytes.data(), load_le<std::uint64_t>(bytes.data()) % kMost);
    }
    static void correct_page(MutableBytes bytes) {
        if (load_le<std::uint32_t>(bytes.data()) == 0) return;  // never written
        shorten_sequence(bytes.subspan(8));
        store_le(bytes.data() + 60, std::uint32_t{0});
        store_le(bytes.data() + 60, crc32c(bytes));
    }

    MutableBytes image_;
    zoned::Superblock superblock_;
    zoned::Layout layout_;
};

class Fuzzer {
  public:
    explicit Fuzzer(FuzzInput input)
        : input_(input),
          image_(test::new_zoned_image(world_, input_.byte())),
          metadata_(image_.bytes()) {}

    void run() {
        const Life life(input_.byte());
        tamper(life);
        const std::uint32_t before = metadata_.checksum();
        const Outcome<CheckResult> checked = check();
        ZBDKIT_ASSERT(metadata_.checksum() == before);

        auto disk = test::open_zoned(world_, storage(), life.reads_only());
        const bool is_sound = checked && !checked->is_damaged;
        const bool is_later_version =
            is_sound && checked->superblock->read_only_features != 0 && !life.reads_only();
        ZBDKIT_ASSERT(!is_sound || disk || is_later_version);
        if (!disk) {
            ZBDKIT_ASSERT(!disk.error().message.empty());
            return;
        }
        use(**disk);
        const std::vector<ZoneDescriptor> zones = report(**disk);
        end(std::move(*disk), life);
        if (life.reads_only()) {
            ZBDKIT_ASSERT(metadata_.checksum() == before);
            return;
        }
        if (test::has_fuzz_canary("bad-word")) {  // damage by nobody
            metadata_.patch(5, 0, ~std::uint64_t{0});
            metadata_.correct_checksums();
        }
        if (is_sound) check_is_sound();
        check_zones_are(zones);
    }

  private:
    std::unique_ptr<BlockNode> storage() { return make_memory_node(image_.bytes()); }
    Outcome<CheckResult> check() {
        const std::unique_ptr<BlockNode> node = storage();
        return world_.reactor.run_to_end(check_image(*node));
    }

    void tamper(Life life) {
        metadata_.set_condition(life.condition());
        const std::size_t count = input_.byte() % kMostPatches;
        for (std::size_t i = 0; i < count; ++i) {
            const unsigned where = input_.byte();
            const auto at = input_.take<std::uint16_t>();
            metadata_.patch(where, at, input_.take<std::uint64_t>());
        }
        if (life.derives_layout()) metadata_.derive_layout();
        if (!life.keeps_bad_checksums()) metadata_.correct_checksums();
    }

    void use(BlockNode& disk) {
        for (std::size_t i = 0; i < kMostRequests && !input_.is_empty(); ++i) submit(disk);
    }

    void submit(BlockNode& disk) {
        const auto op = static_cast<Op>(input_.byte() % kOpCount);
        const std::uint64_t zone = input_.byte() % disk.info().zones.zone_count();
        const std::uint64_t start = zone * disk.info().zones.zone_size;
        const unsigned blocks = input_.byte() % kMostBlocks;
        const unsigned flags = input_.byte();
        AlignedBuffer data(std::size_t{blocks} * disk.info().block_size);
        const iovec segment = segment_of(data.bytes());
        Request request{.op = op, .range = {start, 0}, .fua = (flags & 1) != 0};
        if (op == Op::read || op == Op::write || op == Op::append) {
            request.range.length = data.size();
            request.segments = IoSegments(&segment, 1);
        }
        if (op == Op::write && (flags & 2) != 0) request.range.offset = pointer(disk, start);
        if (op == Op::flush || op == Op::zone_reset_all) request.range = {};
        (void)world_.reactor.run_to_end(disk.submit(request));
    }

    /// Where a write of the zone fits.
    std::uint64_t pointer(BlockNode& disk, std::uint64_t start) {
        std::array<ZoneDescriptor, 1> zone;
        Request request = report_request(start, zone);
        const Result<void> reported = world_.reactor.run_to_end(disk.submit(request));
        ZBDKIT_ASSERT(reported.has_value());
        return std::max(zone[0].write_pointer, start);
    }

    std::vector<ZoneDescriptor> report(BlockNode& disk) {
        std::vector<ZoneDescriptor> zones(disk.info().zones.zone_count());
        Request request = report_request(0, zones);
        const Result<void> reported = world_.reactor.run_to_end(disk.submit(request));
        ZBDKIT_ASSERT(reported && request.zones_reported == zones.size());
        test::check_zones(disk.info().zones, zones);
        return zones;
    }

    void end(std::unique_ptr<BlockNode> disk, Life life) {
        if (life.dies()) return;
        const Outcome<void> closed = world_.reactor.run_to_end(disk->close());
        ZBDKIT_ASSERT(closed.has_value());
    }

    void check_is_sound() {
        const Outcome<CheckResult> checked = check();
        ZBDKIT_ASSERT(checked && !checked->is_damaged);
    }
    void check_zones_are(const std::vector<ZoneDescriptor>& zones) {
        auto again = test::open_zoned(world_, storage());
        ZBDKIT_ASSERT(again.has_value());
        ZBDKIT_ASSERT(report(**again) == zones);
        end(std::move(*again), Life(0));
    }

    test::FuzzWorld world_;
    FuzzInput input_;
    AlignedBuffer image_;
    Metadata metadata_;
};

}  // namespace
}  // namespace zbdkit::app

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace zbdkit;
    spdlog::set_level(spdlog::level::off);
    app::Fuzzer(test::FuzzInput(std::as_bytes(std::span(data, size)))).run();
    return 0;
}
