// SPDX-License-Identifier: Apache-2.0
#include "app/image_metadata.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/assert.h"
#include "base/text.h"

namespace zbdkit::app {
namespace {

using zoned::kPageSize;
using zoned::kSlots;
using zoned::kZonesPerPage;

constexpr std::size_t kWordBytes = sizeof(std::uint64_t);
constexpr std::uint64_t kWordsPerBlock = kPageSize / kWordBytes;
constexpr std::array<std::uint64_t, 2> kCopies = {0, zoned::kSecondSuperblockOffset};

static_assert(std::uint64_t{ImageMetadata::kPagesPerRead} * kZonesPerPage % kWordsPerBlock == 0);

}  // namespace

ImageMetadata::ImageMetadata(BlockNode& storage)
    : storage_(storage),
      slots_(std::size_t{kPagesPerRead} * kSlots * kPageSize),
      live_(std::size_t{kPagesPerRead} * kZonesPerPage * kWordBytes) {}

Task<Result<void>> ImageMetadata::read_bytes(std::uint64_t offset, MutableBytes to) {
    std::ranges::fill(to, std::byte{0});
    const std::uint64_t size = storage_.info().size;
    const std::uint64_t there =
        offset >= size ? 0 : std::min<std::uint64_t>(to.size(), size - offset);
    const std::uint64_t length = round_down(there, storage_.info().block_size);
    if (length == 0) co_return Result<void>{};
    const iovec segment = segment_of(to.first(length));
    Request request = read_request({offset, length}, IoSegments(&segment, 1));
    co_return co_await storage_.submit(request);
}

/// All at once, and if the medium does not give that, piece by piece; zeroes for those it does not
/// give at all. (No zone's live word is zero, but for conventional ones, which cannot be anything
/// else: so a block of which one page's words were mended does not hide that the next one's were
/// not.)
Task<Outcome<ImageMetadata::ReadErrors>> ImageMetadata::read(std::uint64_t offset,
                                                             MutableBytes to) {
    ReadErrors errors(to.size() / kPageSize);
    const Result<void> whole = co_await read_bytes(offset, to);
    if (whole) co_return errors;
    if (whole.error().code != Errc::io) {
        co_return failure(fmt::format("cannot read {} of '{}' at {}", format_size(to.size()),
                                      storage_.describe(), offset),
                          whole.error());
    }
    for (std::size_t i = 0; i < errors.size(); ++i) {
        const MutableBytes piece = to.subspan(i * kPageSize, kPageSize);
        const Result<void> alone = co_await read_bytes(offset + i * kPageSize, piece);
        if (alone) continue;
        errors.at(i) = alone.error();
        std::ranges::fill(piece, std::byte{0});
    }
    co_return errors;
}

Task<Outcome<void>> ImageMetadata::write(std::uint64_t offset, MutableBytes from) {
    const iovec segment = segment_of(from);
    Request request = write_request({offset, from.size()}, IoSegments(&segment, 1));
    const Result<void> done = co_await storage_.submit(request);
    if (!done) {
        co_return failure(fmt::format("cannot write {} of '{}' at {}", format_size(from.size()),
                                      storage_.describe(), offset),
                          done.error());
    }
    co_return Outcome<void>{};
}

Task<Outcome<void>> ImageMetadata::sync() {
    Request request = flush_request();
    const Result<void> done = co_await storage_.submit(request);
    if (!done) {
        co_return failure(fmt::format("cannot sync '{}'", storage_.describe()), done.error());
    }
    co_return Outcome<void>{};
}

// --- Superblocks --------------------------------------------------------------------------------

Task<Outcome<std::array<zoned::SuperblockCopy, 2>>> ImageMetadata::read_superblocks() {
    std::array<zoned::SuperblockCopy, 2> copies;
    AlignedBuffer page(kPageSize);
    AlignedBuffer slots(std::size_t{kSlots} * kPageSize);
    for (std::size_t i = 0; i < copies.size(); ++i) {
        zoned::SuperblockCopy& copy = copies.at(i);
        const ReadErrors errors = co_await ok(read(kCopies.at(i), page.bytes()));
        copy.unread = errors.front();
        if (copy.unread) continue;
        copy = zoned::look_at_superblock(page.bytes());
        if (!copy.salvaged) continue;
        const zoned::Layout layout = zoned::layout_of(copy.salvaged->geometry);
        [[maybe_unused]] const ReadErrors no_slots =  // zeroes, which are no page
            co_await ok(read(layout.slot_offset(0, 0), slots.bytes()));
        copy.has_pages = zoned::has_own_page(*copy.salvaged, slots.bytes());
    }
    co_return copies;
}

Task<Outcome<void>> ImageMetadata::write_superblock(std::uint8_t copy,
                                                    const zoned::Superblock& superblock) {
    AlignedBuffer buffer(kPageSize);
    const zoned::Page page = zoned::encode_superblock(superblock);
    std::ranges::copy(page, buffer.bytes().begin());
    co_await ok(write(kCopies.at(copy), buffer.bytes()));
    co_return co_await sync();
}

// --- Pages --------------------------------------------------------------------------------------

Task<Outcome<std::uint32_t>> ImageMetadata::read_pages(const zoned::Superblock& superblock,
                                                       std::uint32_t first) {
    superblock_ = superblock;
    first_ = first;
    const zoned::Layout layout = zoned::layout_of(superblock.geometry);
    const std::uint32_t count = std::min(kPagesPerRead, layout.page_count - first);
    const MutableBytes slots = slots_.bytes().first(std::size_t{count} * kSlots * kPageSize);
    slot_errors_ = co_await ok(read(layout.slot_offset(first, 0), slots));
    const std::uint64_t begin = std::uint64_t{first} * kZonesPerPage * kWordBytes;
    const std::uint64_t end = begin + std::uint64_t{count} * kZonesPerPage * kWordBytes;
    live_begin_ = begin;
    const std::uint64_t live_end = std::min(round_up(end, kPageSize), layout.live_table_length);
    const MutableBytes live = live_.bytes().first(live_end - live_begin_);
    live_errors_ = co_await ok(read(layout.live_table_offset + live_begin_, live));
    co_return count;
}

zoned::PageBytes ImageMetadata::page(std::uint32_t index) const {
    ZBDKIT_ASSERT(index >= first_ && index - first_ < kPagesPerRead);
    const std::size_t slots_at = std::size_t{index - first_} * kSlots * kPageSize;
    const std::uint64_t words_at = std::uint64_t{index} * kZonesPerPage * kWordBytes - live_begin_;
    const std::size_t word_count = zoned::entries_of_page(superblock_.geometry, index);
    zoned::PageBytes page{
        .index = index,
        .slots = slots_.bytes().subspan(slots_at, std::size_t{kSlots} * kPageSize),
        .live = live_.bytes().subspan(words_at, word_count * kWordBytes)};
    for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
        page.unread_slots.at(slot) = slot_errors_.at(slots_at / kPageSize + slot);
    }
    const std::uint64_t words_end = words_at + word_count * kWordBytes;
    for (std::uint64_t at = words_at; at < words_end; at = round_down(at, kPageSize) + kPageSize) {
        const std::optional<Error>& error = live_errors_.at(at / kPageSize);
        if (!error) continue;
        const std::uint64_t end = std::min(round_down(at, kPageSize) + kPageSize, words_end);
        page.unread_live.push_back({static_cast<std::uint32_t>((at - words_at) / kWordBytes),
                                    static_cast<std::uint32_t>((end - at) / kWordBytes), *error});
    }
    return page;
}

bool ImageMetadata::shares_unread_block(std::uint32_t index) const {
    const std::uint64_t next_words_at = std::uint64_t{index + 1 - first_} * kZonesPerPage;
    const std::uint64_t block = next_words_at / kWordsPerBlock;
    const bool is_shared = next_words_at % kWordsPerBlock != 0;
    return is_shared && block < live_errors_.size() && live_errors_.at(block);
}

/// Whole blocks, from what was read of them: one that cannot be read has nothing else to say.
Task<Outcome<void>> ImageMetadata::write_live_words(const zoned::ImageFacts& image,
                                                    const zoned::PageRepair& repair) {
    const zoned::Layout layout = zoned::layout_of(image.superblock.geometry);
    const std::uint64_t begin =
        round_down(std::uint64_t{repair.live.front().zone} * kWordBytes, kPageSize);
    const std::uint64_t end =
        round_up((std::uint64_t{repair.live.back().zone} + 1) * kWordBytes, kPageSize);
    for (const zoned::PageRepair::LiveWord& word : repair.live) {
        store_le(live_.data() + word.zone * kWordBytes - live_begin_, word.bits);
    }
    const MutableBytes blocks = live_.bytes().subspan(begin - live_begin_, end - begin);
    co_await ok(write(layout.live_table_offset + begin, blocks));
    co_return co_await sync();
}

Task<Outcome<void>> ImageMetadata::write_repair(const zoned::ImageFacts& image, std::uint32_t page,
                                                const zoned::PageRepair& repair) {
    if (!repair.live.empty()) co_await ok(write_live_words(image, repair));
    const zoned::Layout layout = zoned::layout_of(image.superblock.geometry);
    AlignedBuffer buffer(kPageSize);
    for (const zoned::PageRepair::SlotWrite& slot : repair.slots) {
        const zoned::Page bytes = zoned::slot_bytes(image, page, repair, slot);
        std::ranges::copy(bytes, buffer.bytes().begin());
        co_await ok(write(layout.slot_offset(page, slot.slot), buffer.bytes()));
        co_await ok(sync());
    }
    co_return Outcome<void>{};
}

}  // namespace zbdkit::app
