// SPDX-License-Identifier: Apache-2.0
#include "app/image_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "app/image_state.h"
#include "base/buffer.h"
#include "base/text.h"
#include "zone/zone_rules.h"
#include "zone/zone_table.h"

namespace zbdkit::app {
namespace {

using zoned::kPageSize;
using zoned::kSlots;
using zoned::kZonesPerPage;
using zoned::Superblock;
using zoned::SuperblockFault;

/// Commit pages are read this many at a time, both slots.
constexpr std::uint32_t kPagesPerRead = 128;

class Checker {
  public:
    explicit Checker(BlockNode& storage) : storage_(storage) {}

    [[nodiscard]] Task<Outcome<CheckResult>> run();

  private:
    using Copy = std::expected<Superblock, SuperblockFault>;

    void add(Finding::Kind kind, std::string place, std::string text);
    void damage(std::string place, std::string text) {
        add(Finding::Kind::damage, std::move(place), std::move(text));
    }
    void note(std::string place, std::string text) {
        add(Finding::Kind::note, std::move(place), std::move(text));
    }

    [[nodiscard]] Task<Outcome<void>> read(std::uint64_t offset, MutableBytes to);
    [[nodiscard]] Task<Outcome<Copy>> read_copy(std::uint64_t offset);
    [[nodiscard]] Task<Outcome<void>> check_superblocks();
    [[nodiscard]] Outcome<void> adopt(const Copy& first, const Copy& second);
    void check_length();

    [[nodiscard]] Task<Outcome<void>> check_pages();
    void check_page(std::uint32_t page, ConstBytes slots, ConstBytes live_words);
    [[nodiscard]] bool is_slot_damaged(ConstBytes slot) const;
    void check_word(ZoneIndex zone, std::uint64_t bits);
    void check_limits();

    [[nodiscard]] const ZoneGeometry& geometry() const { return result_.superblock->geometry; }

    BlockNode& storage_;
    CheckResult result_;
    zoned::Layout layout_;
    std::unique_ptr<ZoneTable> table_;  ///< without limits: they are counted over all zones
    std::uint64_t open_ = 0;
    std::uint64_t active_ = 0;
};

void Checker::add(Finding::Kind kind, std::string place, std::string text) {
    if (kind == Finding::Kind::damage) result_.is_damaged = true;
    if (result_.findings.size() >= kMostFindings) {
        ++result_.unlisted;
        return;
    }
    result_.findings.push_back({kind, std::move(place), std::move(text)});
}

Task<Outcome<CheckResult>> Checker::run() {
    co_await ok(check_superblocks());
    if (result_.superblock) {
        check_length();
        co_await ok(check_pages());
        check_limits();
    }
    co_return std::move(result_);
}

/// Reads; what lies beyond the end of the storage is zeroes (check_length() tells of it).
Task<Outcome<void>> Checker::read(std::uint64_t offset, MutableBytes to) {
    std::ranges::fill(to, std::byte{0});
    const std::uint64_t size = storage_.info().size;
    const std::uint64_t there =
        offset >= size ? 0 : std::min<std::uint64_t>(to.size(), size - offset);
    const std::uint64_t length = round_down(there, storage_.info().block_size);
    if (length == 0) co_return Outcome<void>{};
    const iovec segment = segment_of(to.first(length));
    Request request = read_request({offset, length}, IoSegments(&segment, 1));
    const Result<void> done = co_await storage_.submit(request);
    if (!done) {
        co_return failure(fmt::format("cannot read {} of '{}' at {}", format_size(length),
                                      storage_.describe(), offset),
                          done.error());
    }
    co_return Outcome<void>{};
}

// --- Superblocks --------------------------------------------------------------------------------

Task<Outcome<Checker::Copy>> Checker::read_copy(std::uint64_t offset) {
    AlignedBuffer page(kPageSize);
    co_await ok(read(offset, page.bytes()));
    co_return zoned::decode_superblock(page.bytes());
}

Task<Outcome<void>> Checker::check_superblocks() {
    const Copy first = co_await ok(read_copy(0));
    const Copy second = co_await ok(read_copy(zoned::kSecondSuperblockOffset));
    co_return adopt(first, second);
}

/// Whether bytes with this fault are, or were, a superblock of ours.
bool is_damage(SuperblockFault fault) {
    return fault == SuperblockFault::bad_checksum || fault == SuperblockFault::bad_geometry;
}

/// Chooses the copy that counts.
Outcome<void> Checker::adopt(const Copy& first, const Copy& second) {
    constexpr std::array<std::string_view, 2> kPlaces = {"superblock", "superblock copy at 64 KiB"};
    const std::array<const Copy*, 2> copies = {&first, &second};
    if (!first && !second) {
        for (const Copy* copy : copies) {
            const SuperblockFault fault = copy->error();
            if (is_damage(fault) || fault == SuperblockFault::not_an_image) continue;
            return failure(
                fmt::format("'{}': {}", storage_.describe(), superblock_fault_text(fault)),
                Errc::not_supported);
        }
        if (!is_damage(first.error()) && !is_damage(second.error())) {
            return failure(fmt::format("'{}' is no zbdkit image", storage_.describe()),
                           Errc::not_supported);
        }
    }
    for (std::size_t i = 0; i < copies.size(); ++i) {
        if (*copies.at(i)) continue;
        damage(std::string(kPlaces.at(i)), superblock_fault_text(copies.at(i)->error()));
    }
    if (!first && !second) {
        note("image", "without a superblock nothing else can be checked");
        return {};
    }
    const bool takes_first = first && (!second || first->sequence >= second->sequence);
    result_.superblock = takes_first ? *first : *second;
    if (first && second) {
        if (first->uuid != second->uuid || first->geometry != second->geometry) {
            damage("superblock", "the two copies describe different images");
        } else if (first->sequence != second->sequence) {
            note("superblock",
                 "a change of the image's condition was interrupted; the newer copy "
                 "counts");
        }
    }
    const Outcome<zoned::Recovery> recovery = recovery_of(*result_.superblock);
    if (!recovery) return std::unexpected(recovery.error());
    result_.recovery = *recovery;
    layout_ = zoned::layout_of(geometry());
    ZoneGeometry unlimited = geometry();
    unlimited.max_open_zones = 0;
    unlimited.max_active_zones = 0;
    table_ = std::make_unique<ZoneTable>(unlimited);
    return {};
}

void Checker::check_length() {
    const std::uint64_t size = storage_.info().size;
    if (size >= layout_.image_size) return;
    damage("image", fmt::format("truncated: it has {} bytes, its superblock says {}: the last {} "
                                "are missing",
                                size, layout_.image_size, format_size(layout_.image_size - size)));
}

// --- Zone states --------------------------------------------------------------------------------

Task<Outcome<void>> Checker::check_pages() {
    AlignedBuffer slots(std::size_t{kPagesPerRead} * kSlots * kPageSize);
    constexpr std::size_t kWordBytes = sizeof(std::uint64_t);
    AlignedBuffer live(std::size_t{kPagesPerRead} * kZonesPerPage * kWordBytes + 2 * kPageSize);
    for (std::uint32_t first = 0; first < layout_.page_count; first += kPagesPerRead) {
        const std::uint32_t count = std::min(kPagesPerRead, layout_.page_count - first);
        const MutableBytes chunk = slots.bytes().first(std::size_t{count} * kSlots * kPageSize);
        co_await ok(read(layout_.slot_offset(first, 0), chunk));
        // The words of these pages, with what stands before and behind them in their blocks.
        const std::uint64_t words_begin = std::uint64_t{first} * kZonesPerPage * kWordBytes;
        const std::uint64_t words_end =
            words_begin + std::uint64_t{count} * kZonesPerPage * kWordBytes;
        const std::uint64_t read_begin = round_down(words_begin, kPageSize);
        const std::uint64_t read_end =
            std::min(round_up(words_end, kPageSize), layout_.live_table_length);
        const MutableBytes words = live.bytes().first(read_end - read_begin);
        co_await ok(read(layout_.live_table_offset + read_begin, words));
        for (std::uint32_t page = first; page < first + count; ++page) {
            const std::size_t at = std::size_t{page - first} * kSlots * kPageSize;
            const std::uint64_t word_at =
                std::uint64_t{page} * kZonesPerPage * kWordBytes - read_begin;
            const std::size_t word_bytes =
                std::size_t{zoned::entries_of_page(geometry(), page)} * kWordBytes;
            check_page(page, chunk.subspan(at, std::size_t{kSlots} * kPageSize),
                       words.subspan(word_at, word_bytes));
        }
    }
    co_return Outcome<void>{};
}

bool is_zero(ConstBytes bytes) {
    return std::ranges::all_of(bytes, [](std::byte value) { return value == std::byte{0}; });
}

/// A slot that is no valid page: never written, or torn by a power loss, or damaged.
bool Checker::is_slot_damaged(ConstBytes slot) const {
    return !is_zero(slot) && result_.recovery != zoned::Recovery::power_loss;
}

void Checker::check_page(std::uint32_t page, ConstBytes slots, ConstBytes live_words) {
    ++result_.pages_checked;
    const std::uint32_t entries = zoned::entries_of_page(geometry(), page);
    const std::uint32_t first_zone = page * kZonesPerPage;
    std::optional<zoned::CommitPage> newest;
    for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
        const ConstBytes bytes = slots.subspan(std::size_t{slot} * kPageSize, kPageSize);
        const Result<zoned::CommitPage> decoded =
            zoned::decode_commit_page(bytes, result_.superblock->uuid, page, entries);
        if (decoded) {
            if (!newest || decoded->sequence > newest->sequence) newest = *decoded;
        } else if (is_slot_damaged(bytes)) {
            damage(fmt::format("commit page {}, slot {}", page, slot), describe(decoded.error()));
        } else if (!is_zero(bytes)) {
            note(fmt::format("commit page {}, slot {}", page, slot),
                 "its last write was cut off by a power loss; the other slot counts");
        }
    }
    if (!newest) {
        damage(fmt::format("commit page {}", page),
               fmt::format("no slot is readable: the states of zones {} to {} are lost unless the "
                           "live table has them",
                           first_zone, first_zone + entries - 1));
    }
    const bool from_live = result_.recovery == zoned::Recovery::daemon_death;
    if (!newest && !from_live) return;
    for (std::uint32_t entry = 0; entry < entries; ++entry) {
        const std::uint64_t bits =
            from_live ? load_le<std::uint64_t>(live_words.data() + entry * sizeof(std::uint64_t))
                      : newest->words.at(entry);
        check_word(ZoneIndex(first_zone + entry), bits);
    }
}

void Checker::check_word(ZoneIndex zone, std::uint64_t bits) {
    ++result_.zones_checked;
    const std::string place = fmt::format("zone {}", to_number(zone));
    const Result<zoned::Word> word = zoned::decode_word(bits);
    if (!word) return damage(place, describe(word.error()));
    const Result<void> legal = table_->load(zone, word->record);
    if (!legal) return damage(place, describe(legal.error()));
    if (word->reclaim_pending) {
        note(place, "was reset; its space is given back at the next open");
    }
    if (takes_open(word->record.state)) ++open_;
    if (takes_active(word->record.state)) ++active_;
}

void Checker::check_limits() {
    const ZoneGeometry& limits = geometry();
    // After a power loss no zone is open, and the commit pages may be of different rounds, so that
    // a zone still counts as active in one page that made room for another one in the next.
    if (result_.recovery == zoned::Recovery::power_loss) return;
    if (limits.max_open_zones != 0 && open_ > limits.max_open_zones) {
        damage("zones", fmt::format("{} are open, the limit is {}", open_, limits.max_open_zones));
    }
    if (limits.max_active_zones != 0 && active_ > limits.max_active_zones) {
        damage("zones",
               fmt::format("{} are active, the limit is {}", active_, limits.max_active_zones));
    }
}

}  // namespace

Task<Outcome<CheckResult>> check_image(BlockNode& storage) {
    Checker checker(storage);
    Outcome<CheckResult> result = co_await checker.run();
    co_return result;
}

}  // namespace zbdkit::app
