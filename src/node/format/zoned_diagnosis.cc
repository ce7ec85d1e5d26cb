// SPDX-License-Identifier: Apache-2.0
#include "node/format/zoned_diagnosis.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/text.h"
#include "zone/zone_rules.h"

namespace zbdkit::zoned {
namespace {

/// Sequences above this are damage: counting up to it takes longer than storage lives, and a
/// repair must be able to go on counting.
constexpr std::uint64_t kLastSequence = std::uint64_t{1} << 62;

std::uint64_t sequence_after(std::uint64_t sequence) {
    return sequence > kLastSequence ? 2 : sequence + 1;
}

/// Stands for a live word that cannot be read; no zone's word.
constexpr std::uint64_t kLostWord = ~std::uint64_t{0};

/// What is wrong with what the medium does not give.
std::string unread_text(const Error& error) {
    return fmt::format("it cannot be read: {}", describe(error));
}

constexpr std::array<const char*, 2> kCopyPlaces = {"superblock", "superblock copy at 64 KiB"};

}  // namespace

const char* finding_kind_name(FindingKind kind) {
    switch (kind) {
        case FindingKind::superblock_unreadable: return "superblock-unreadable";
        case FindingKind::superblocks_lost: return "superblocks-lost";
        case FindingKind::superblock_later: return "superblock-later";
        case FindingKind::superblock_foreign: return "superblock-foreign";
        case FindingKind::superblock_stale: return "superblock-stale";
        case FindingKind::superblock_conflict: return "superblock-conflict";
        case FindingKind::superblock_sequence: return "superblock-sequence";
        case FindingKind::superblock_interrupted: return "superblock-interrupted";
        case FindingKind::unknown_features: return "unknown-features";
        case FindingKind::truncated: return "truncated";
        case FindingKind::data_missing: return "data-missing";
        case FindingKind::slot_unreadable: return "slot-unreadable";
        case FindingKind::slot_foreign: return "slot-foreign";
        case FindingKind::slot_stale: return "slot-stale";
        case FindingKind::slot_conflict: return "slot-conflict";
        case FindingKind::slot_sequence: return "slot-sequence";
        case FindingKind::slot_torn: return "slot-torn";
        case FindingKind::page_lost: return "page-lost";
        case FindingKind::word_impossible: return "word-impossible";
        case FindingKind::word_beyond_capacity: return "word-beyond-capacity";
        case FindingKind::word_contradictory: return "word-contradictory";
        case FindingKind::word_behind: return "word-behind";
        case FindingKind::live_table_unreadable: return "live-table-unreadable";
        case FindingKind::live_table_differs: return "live-table-differs";
        case FindingKind::reclaim_pending: return "reclaim-pending";
        case FindingKind::over_open_limit: return "over-open-limit";
        case FindingKind::over_active_limit: return "over-active-limit";
    }
    return "unknown";
}

const char* cure_text(FindingKind kind, Cure cure) {
    switch (kind) {
        case FindingKind::superblock_unreadable:
        case FindingKind::superblock_foreign:
        case FindingKind::superblock_stale: return "written anew from the other copy";
        case FindingKind::superblocks_lost:
            return "written anew from what is left and the commit pages confirm";
        case FindingKind::superblock_conflict:
            return "written anew with the condition that loses nothing";
        case FindingKind::superblock_sequence:
        case FindingKind::slot_sequence: return "counted anew";
        case FindingKind::truncated: return "made as long as it was, with zeroes";
        case FindingKind::data_missing: return "reads as zeroes";
        case FindingKind::slot_unreadable:
        case FindingKind::slot_foreign:
        case FindingKind::slot_stale:
        case FindingKind::slot_conflict: return "written anew from what counts";
        case FindingKind::page_lost: return "written anew from what is left elsewhere";
        case FindingKind::word_impossible:
        case FindingKind::word_beyond_capacity:
        case FindingKind::word_contradictory:
        case FindingKind::word_behind:
            return cure == Cure::force ? "made full, so that all that was written can be read"
                                       : "taken from where it is sound";
        case FindingKind::live_table_unreadable:
            return cure == Cure::force
                       ? "written anew, with zones full where nothing else has their state"
                       : "written anew from the commit pages";
        case FindingKind::over_open_limit: return "as many closed as are too many";
        case FindingKind::superblock_later:
        case FindingKind::superblock_interrupted:
        case FindingKind::unknown_features:
        case FindingKind::slot_torn:
        case FindingKind::live_table_differs:
        case FindingKind::reclaim_pending:
        case FindingKind::over_active_limit: break;
    }
    return "left as it is";
}

Cure worse(Cure a, Cure b) { return std::max(a, b); }

// --- Superblocks --------------------------------------------------------------------------------

SuperblockCopy look_at_superblock(ConstBytes page) {
    SuperblockCopy copy;
    copy.found = decode_superblock(page);
    if (copy.found) {
        copy.salvaged = *copy.found;
    } else if (copy.found.error() == SuperblockFault::not_an_image ||
               copy.found.error() == SuperblockFault::bad_checksum) {
        const auto salvaged = salvage_superblock(page);
        if (salvaged) copy.salvaged = *salvaged;
    }
    return copy;
}

bool has_own_page(const Superblock& superblock, ConstBytes slots) {
    const std::uint32_t entries = entries_of_page(superblock.geometry, 0);
    for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
        const ConstBytes bytes = slots.subspan(std::size_t{slot} * kPageSize, kPageSize);
        if (decode_commit_page(bytes, superblock.uuid, 0, entries)) return true;
    }
    return false;
}

namespace {

bool describe_one_disk(const Superblock& a, const Superblock& b) {
    return a.uuid == b.uuid && a.geometry == b.geometry && a.block_size == b.block_size &&
           a.compatible_features == b.compatible_features &&
           a.read_only_features == b.read_only_features;
}

bool is_of_the_future(const SuperblockCopy& copy) {
    return !copy.found && (copy.found.error() == SuperblockFault::future_version ||
                           copy.found.error() == SuperblockFault::unknown_feature);
}

/// Of two that say different things of one moment: the one that makes the next open lose nothing.
/// In use by this boot the live table counts, which a clean image has up to date as well.
std::uint8_t safer_of(const Superblock& first, const Superblock& second, const Uuid& boot_id) {
    const auto rank = [&boot_id](const Superblock& superblock) {
        switch (recovery_of(superblock, boot_id)) {
            case Recovery::daemon_death: return 2;
            case Recovery::power_loss: return 1;
            case Recovery::clean: return 0;
        }
        return 0;
    };
    return rank(second) > rank(first) ? 1 : 0;
}

class SuperblockJudge {
  public:
    SuperblockJudge(const std::array<SuperblockCopy, 2>& copies, const Uuid& boot_id)
        : copies_(copies), boot_id_(boot_id) {}

    [[nodiscard]] SuperblockDiagnosis judge();

  private:
    void add(FindingKind kind, Cure cure, std::string place, std::string text) {
        verdict_.cure = worse(verdict_.cure, cure);
        verdict_.findings.push_back({kind, cure, std::move(place), std::move(text)});
    }
    /// A finding of a copy that is no superblock.
    void add_bad_copy(FindingKind kind, Cure cure, std::uint8_t copy) {
        const SuperblockCopy& bad = copies_.at(copy);
        add(kind, cure, kCopyPlaces.at(copy),
            bad.unread ? unread_text(*bad.unread) : superblock_fault_text(bad.found.error()));
        verdict_.findings.back().is_unread = bad.unread.has_value();
    }
    [[nodiscard]] const Superblock& found(std::uint8_t copy) const {
        return *copies_.at(copy).found;
    }
    void judge_lost();
    void judge_one(std::uint8_t good);
    void judge_both();
    void judge_sequences(std::uint8_t newer);
    void judge_different_disks(std::uint8_t newer);
    void judge_numbers();
    /// Both copies are to say what `copy` says, which is written last.
    void adopt(std::uint8_t copy, std::uint64_t sequence) {
        verdict_.superblock = found(copy);
        verdict_.superblock->sequence = sequence;
        verdict_.rewrite = {static_cast<std::uint8_t>(1 - copy), copy};
    }

    const std::array<SuperblockCopy, 2>& copies_;
    const Uuid& boot_id_;
    SuperblockDiagnosis verdict_;
};

SuperblockDiagnosis SuperblockJudge::judge() {
    const bool first = copies_[0].found.has_value();
    const bool second = copies_[1].found.has_value();
    if (first && second) {
        judge_both();
    } else if (first || second) {
        judge_one(first ? 0 : 1);
    } else {
        judge_lost();
    }
    if (verdict_.superblock) judge_numbers();
    return std::move(verdict_);
}

/// Neither copy is usable: perhaps one still says enough, and the commit pages confirm it.
void SuperblockJudge::judge_lost() {
    std::optional<std::uint8_t> best;
    for (std::uint8_t copy = 0; copy < copies_.size(); ++copy) {
        const SuperblockCopy& candidate = copies_.at(copy);
        if (!candidate.salvaged || !candidate.has_pages) continue;
        const bool is_better =
            !best || candidate.salvaged->sequence > copies_.at(*best).salvaged->sequence;
        if (is_better) best = copy;
    }
    const bool contradict = copies_[0].has_pages && copies_[1].has_pages && copies_[0].salvaged &&
                            copies_[1].salvaged &&
                            !describe_one_disk(*copies_[0].salvaged, *copies_[1].salvaged);
    const Cure cure = best && !contradict ? Cure::force : Cure::none;
    for (std::uint8_t copy = 0; copy < copies_.size(); ++copy) {
        add_bad_copy(FindingKind::superblocks_lost, cure, copy);
    }
    if (cure == Cure::none) return;
    verdict_.superblock = copies_.at(*best).salvaged;
    if (verdict_.superblock->sequence > kLastSequence) verdict_.superblock->sequence = 2;
    verdict_.rewrite = {static_cast<std::uint8_t>(1 - *best), *best};
}

void SuperblockJudge::judge_one(std::uint8_t good) {
    const auto bad = static_cast<std::uint8_t>(1 - good);
    verdict_.superblock = found(good);
    if (is_of_the_future(copies_.at(bad))) {
        // A later version began to convert this image: it alone knows how far it came.
        add_bad_copy(FindingKind::superblock_later, Cure::none, bad);
        return;
    }
    add_bad_copy(FindingKind::superblock_unreadable, Cure::repair, bad);
    verdict_.rewrite = {bad};
}

void SuperblockJudge::judge_both() {
    const std::uint8_t newer = found(1).sequence > found(0).sequence ? 1 : 0;
    verdict_.superblock = found(newer);
    if (!describe_one_disk(found(0), found(1))) {
        judge_different_disks(newer);
    } else {
        judge_sequences(newer);
    }
}

void SuperblockJudge::judge_different_disks(std::uint8_t newer) {
    const auto older = static_cast<std::uint8_t>(1 - newer);
    // The commit pages carry the identity of the disk that they are of.
    const bool is_decided = copies_.at(newer).has_pages != copies_.at(older).has_pages;
    const std::uint8_t right = is_decided && copies_.at(older).has_pages ? older : newer;
    add(FindingKind::superblock_foreign, is_decided ? Cure::repair : Cure::force,
        kCopyPlaces.at(1 - right),
        is_decided ? "it describes another disk than the other copy and the commit pages"
                   : "it describes another disk than the other copy");
    adopt(right, sequence_after(found(newer).sequence));
}

void SuperblockJudge::judge_sequences(std::uint8_t newer) {
    const auto older = static_cast<std::uint8_t>(1 - newer);
    const std::uint64_t gap = found(newer).sequence - found(older).sequence;
    if (gap == 0) {
        if (found(0) == found(1)) return;
        add(FindingKind::superblock_conflict, Cure::repair, "superblock",
            "both copies have the same sequence and say different things of the image's condition");
        adopt(safer_of(found(0), found(1), boot_id_), sequence_after(found(0).sequence));
    } else if (gap == 1) {
        add(FindingKind::superblock_interrupted, Cure::not_needed, kCopyPlaces.at(older),
            "a change of the image's condition was interrupted; the newer copy counts");
    } else {
        add(FindingKind::superblock_stale, Cure::repair, kCopyPlaces.at(older),
            fmt::format("it is {} changes of the image's condition behind: writes to it were lost",
                        gap));
        verdict_.rewrite = {older};
    }
}

void SuperblockJudge::judge_numbers() {
    Superblock& superblock = *verdict_.superblock;
    if (superblock.sequence > kLastSequence && verdict_.cure != Cure::none) {
        add(FindingKind::superblock_sequence, Cure::repair, "superblock",
            fmt::format("its sequence {} is beyond what an image reaches", superblock.sequence));
        const std::uint8_t counts =
            copies_[0].found && found(0).sequence == superblock.sequence ? 0 : 1;
        superblock.sequence = 2;
        verdict_.rewrite = {static_cast<std::uint8_t>(1 - counts), counts};
    }
    if (superblock.compatible_features != 0) {
        add(FindingKind::unknown_features, Cure::not_needed, "superblock",
            fmt::format("features of a later version that may be ignored: {:#x}",
                        superblock.compatible_features));
    }
    if (superblock.read_only_features != 0) {
        add(FindingKind::unknown_features, Cure::not_needed, "superblock",
            fmt::format("features of a later version: {:#x}; this zbdkit can only read the image, "
                        "and cannot repair it",
                        superblock.read_only_features));
    }
}

}  // namespace

SuperblockDiagnosis diagnose_superblocks(const std::array<SuperblockCopy, 2>& copies,
                                         const Uuid& boot_id) {
    return SuperblockJudge(copies, boot_id).judge();
}

// --- Words --------------------------------------------------------------------------------------

namespace {

/// One zone as its word is judged.
struct ZoneSite {
    ZoneIndex zone{};
    ZoneType type = ZoneType::conventional;
    std::uint64_t capacity = 0;  ///< bytes
};

ZoneSite site_of(const ZoneGeometry& geometry, ZoneIndex zone) {
    return {zone, geometry.type_of(zone), geometry.capacity_of(zone)};
}

std::uint64_t bits_of(ZoneState state, std::uint64_t data_end) {
    return encode_word({.record = {.state = state, .data_end = data_end}});
}

std::uint64_t word_at(ConstBytes live, std::uint32_t entry) {
    return load_le<std::uint64_t>(live.data() + std::size_t{entry} * sizeof(std::uint64_t));
}

/// How much of the zone's data a sound word lets be read.
std::uint64_t readable_end(std::uint64_t bits) {
    const Result<Word> word = decode_word(bits);
    if (!word || word->record.state == ZoneState::offline) return 0;
    return word->record.data_end;
}

struct WordFault {
    FindingKind kind{};
    const char* text = "";
};

std::optional<WordFault> fault_of(const ZoneSite& site, std::uint64_t bits) {
    const Result<Word> word = decode_word(bits);
    if (!word) return WordFault{FindingKind::word_impossible, word.error().text};
    const Result<void> sound = check_record(site.type, word->record, site.capacity);
    if (sound) return std::nullopt;
    const bool is_beyond = word->record.data_end > site.capacity;
    return WordFault{
        is_beyond ? FindingKind::word_beyond_capacity : FindingKind::word_contradictory,
        sound.error().text};
}

bool is_sound(const ZoneSite& site, std::uint64_t bits) { return !fault_of(site, bits); }

/// The word of a zone in a new image.
std::uint64_t first_word(const ZoneSite& site) {
    const bool is_conventional = site.type == ZoneType::conventional;
    return bits_of(is_conventional ? ZoneState::not_write_pointer : ZoneState::empty, 0);
}

/// The one of two words by which more can be read, or else that of a zone that was finished.
std::uint64_t wider_word(std::uint64_t a, std::uint64_t b) {
    if (readable_end(a) != readable_end(b)) return readable_end(b) > readable_end(a) ? b : a;
    const Result<Word> word = decode_word(b);
    return word && word->record.state == ZoneState::full ? b : a;
}

/// What keeps all that was ever written to the zone readable.
std::uint64_t widest_word(const ZoneSite& site) {
    if (site.type == ZoneType::conventional) return first_word(site);
    return bits_of(ZoneState::full, site.capacity);
}

/// Whether a bad word's data end can be right.
bool tells_data_end(const ZoneSite& site, std::uint64_t bad) {
    const std::uint64_t data_end = stored_data_end(bad);
    return data_end != 0 && data_end <= site.capacity;
}

/// What else there is to say of a zone whose word is bad.
struct OtherWords {
    std::optional<std::uint64_t> stored;  ///< in a commit page
    std::optional<std::uint64_t> live;
    bool live_is_current = false;  ///< of a clean image: it was written with the bad one
    bool is_untouched = false;     ///< nothing was ever written to the zone
};

/// The one safe answer for a bad word, if there is one: it must end where the bad word says that
/// the data ends, and at the capacity if that word cannot be believed at all.
std::optional<std::uint64_t> safe_word(const ZoneSite& site, std::uint64_t bad,
                                       const OtherWords& others) {
    if (site.type == ZoneType::conventional || others.is_untouched) return first_word(site);
    const bool knows_end = tells_data_end(site, bad);
    const std::uint64_t end = knows_end ? stored_data_end(bad) : site.capacity;
    if (others.live && others.live_is_current && is_sound(site, *others.live) &&
        (!knows_end || stored_data_end(*others.live) == end)) {
        return others.live;
    }
    for (const std::optional<std::uint64_t>& other : {others.stored, others.live}) {
        if (other && is_sound(site, *other) && stored_data_end(*other) == end) return other;
    }
    // An open or closed zone without room holds what a full one holds.
    const bool is_filled = knows_end && end == site.capacity;
    if (is_filled) return bits_of(ZoneState::full, site.capacity);
    return std::nullopt;
}

}  // namespace

// --- Pages --------------------------------------------------------------------------------------

namespace {

struct Slot {
    bool is_blank = false;
    std::optional<CommitPage> page;  ///< valid
    PageFault fault = PageFault::not_a_page;
};

class PageJudge {
  public:
    PageJudge(const ImageFacts& image, const PageBytes& bytes)
        : image_(image),
          bytes_(bytes),
          entries_(entries_of_page(image.superblock.geometry, bytes.index)) {}

    [[nodiscard]] PageDiagnosis judge();

  private:
    void add(FindingKind kind, Cure cure, std::string place, std::string text) {
        verdict_.cure = worse(verdict_.cure, cure);
        verdict_.findings.push_back({kind, cure, std::move(place), std::move(text)});
    }
    [[nodiscard]] std::string page_place() const {
        return fmt::format("commit page {}", bytes_.index);
    }
    [[nodiscard]] std::string slot_place(std::uint32_t slot) const {
        return fmt::format("commit page {}, slot {}", bytes_.index, slot);
    }
    [[nodiscard]] ZoneSite site(std::uint32_t entry) const {
        return site_of(image_.superblock.geometry, ZoneIndex(bytes_.index * kZonesPerPage + entry));
    }
    [[nodiscard]] bool is_unread(std::uint32_t entry) const {
        return std::ranges::any_of(bytes_.unread_live, [entry](const UnreadWords& words) {
            return entry >= words.first && entry - words.first < words.count;
        });
    }
    [[nodiscard]] std::uint64_t live(std::uint32_t entry) const {
        return is_unread(entry) ? kLostWord : word_at(bytes_.live, entry);
    }
    /// As far as it can be read.
    [[nodiscard]] bool is_live_blank() const;
    [[nodiscard]] bool is_live_sound() const;
    [[nodiscard]] bool is_less(const PageWords& a, const PageWords& b) const;

    void read_slots();
    void judge_slots();
    void judge_bad_slot(std::uint32_t slot);
    void judge_lost_slot(FindingKind kind, std::uint32_t slot, const std::string& text);
    void judge_unread_slot(std::uint32_t slot);
    void judge_two_slots();
    void judge_conflict();
    void judge_lost_page();
    void judge_stored_words();
    void judge_live_words();
    void judge_unread_live();
    void compare_with_live();
    [[nodiscard]] Cure replace(std::uint32_t entry, std::uint64_t bad, const OtherWords& others);
    void mend(std::uint32_t entry, std::uint64_t bad, const OtherWords& others, WordFault fault,
              const char* where);
    void note_words();
    void plan();
    [[nodiscard]] std::uint64_t base_sequence() const {
        const std::uint64_t sequence = newest_ ? slots_.at(*newest_).page->sequence : 0;
        // A repair writes up to two higher ones.
        return sequence > kLastSequence - kSlots ? 0 : sequence;
    }

    const ImageFacts& image_;
    const PageBytes& bytes_;
    std::uint32_t entries_;
    std::array<Slot, kSlots> slots_;
    std::optional<std::uint32_t> newest_;  ///< the slot that counts
    bool is_untouched_ = false;            ///< as create made it, and nothing speaks against that
    PageWords stored_{};                   ///< what the page is to say
    PageWords live_{};                     ///< what the live table is to say
    Cure unread_live_cure_ = Cure::repair;
    bool may_be_older_ = false;  ///< than what was committed last
    bool must_rewrite_other_ = false;
    bool must_rewrite_both_ = false;
    PageDiagnosis verdict_;
};

PageDiagnosis PageJudge::judge() {
    read_slots();
    for (std::uint32_t entry = 0; entry < entries_; ++entry) live_.at(entry) = live(entry);
    is_untouched_ = image_.is_untouched() && is_live_blank();
    if (newest_) {
        stored_ = slots_.at(*newest_).page->words;
        judge_slots();
    } else {
        judge_lost_page();
    }
    if (image_.recovery == Recovery::daemon_death) judge_live_words();
    judge_stored_words();
    judge_unread_live();
    compare_with_live();
    note_words();
    plan();
    return std::move(verdict_);
}

/// As an open reads them: the valid slot with the higher sequence counts, and none with 0.
void PageJudge::read_slots() {
    for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
        if (bytes_.unread_slots.at(slot)) continue;
        const ConstBytes bytes = bytes_.slots.subspan(std::size_t{slot} * kPageSize, kPageSize);
        Slot& found = slots_.at(slot);
        found.is_blank = is_blank(bytes);
        auto page = decode_commit_page(bytes, image_.superblock.uuid, bytes_.index, entries_);
        if (!page) {
            found.fault = page.error();
            continue;
        }
        if (page->sequence == 0) continue;
        found.page = std::move(*page);
        if (!newest_ || found.page->sequence > slots_.at(*newest_).page->sequence) newest_ = slot;
    }
}

bool PageJudge::is_live_blank() const {
    for (std::uint32_t entry = 0; entry < entries_; ++entry) {
        if (!is_unread(entry) && live(entry) != 0) return false;
    }
    return true;
}

bool PageJudge::is_live_sound() const {
    for (std::uint32_t entry = 0; entry < entries_; ++entry) {
        if (!is_sound(site(entry), live(entry))) return false;
    }
    return true;
}

void PageJudge::judge_slots() {
    const std::uint32_t other = 1 - *newest_;
    if (slots_.at(other).page) {
        judge_two_slots();
    } else {
        judge_bad_slot(other);
    }
    if (slots_.at(*newest_).page->sequence <= kLastSequence) return;
    add(FindingKind::slot_sequence, Cure::repair, slot_place(*newest_),
        fmt::format("its sequence {} is beyond what a page reaches",
                    slots_.at(*newest_).page->sequence));
    must_rewrite_both_ = true;
}

void PageJudge::judge_bad_slot(std::uint32_t slot) {
    if (bytes_.unread_slots.at(slot)) return judge_unread_slot(slot);
    const Slot& bad = slots_.at(slot);
    const std::uint64_t sequence = slots_.at(*newest_).page->sequence;
    if (bad.is_blank && sequence == 1) return;  // it was never written
    const FindingKind kind =
        bad.fault == PageFault::foreign ? FindingKind::slot_foreign : FindingKind::slot_unreadable;
    if (image_.recovery == Recovery::power_loss && kind == FindingKind::slot_unreadable) {
        add(FindingKind::slot_torn, Cure::not_needed, slot_place(slot),
            "its last write was cut off by a power loss; the other slot counts");
        return;
    }
    judge_lost_slot(kind, slot, bad.is_blank ? "it was erased" : page_fault_text(bad.fault));
}

void PageJudge::judge_unread_slot(std::uint32_t slot) {
    const std::string text = unread_text(*bytes_.unread_slots.at(slot));
    if (image_.recovery != Recovery::power_loss) {
        judge_lost_slot(FindingKind::slot_unreadable, slot, text);
        verdict_.findings.back().is_unread = true;
        return;
    }
    // Nothing tells which slot was the newer one. What this one said was in the live table before,
    // and is there still or has become more; but for a reset or a finish, which the live table may
    // not have, and the other slot neither.
    add(FindingKind::slot_unreadable, Cure::force, slot_place(slot),
        text + ", and may have been the newer one");
    verdict_.findings.back().is_unread = true;
    for (std::uint32_t entry = 0; entry < entries_; ++entry) {
        std::uint64_t& word = stored_.at(entry);
        word = is_sound(site(entry), live(entry)) ? wider_word(word, live(entry))
                                                  : widest_word(site(entry));
    }
    must_rewrite_both_ = true;
}

/// A slot of which it is not known what it said last: it may have been the newer one.
void PageJudge::judge_lost_slot(FindingKind kind, std::uint32_t slot, const std::string& text) {
    must_rewrite_other_ = true;
    may_be_older_ = true;
    // The live table of a clean image has what the newer of the two had: was it this one?
    const bool live_is_current = image_.recovery == Recovery::clean && !is_untouched_;
    const bool differs = !std::equal(live_.begin(), live_.begin() + entries_, stored_.begin());
    if (!live_is_current || !differs) return add(kind, Cure::repair, slot_place(slot), text);
    if (is_live_sound()) {
        const bool shrinks = is_less(live_, stored_);
        add(kind, shrinks ? Cure::force : Cure::repair, slot_place(slot),
            fmt::format("{}; it was the newer one, the live table still has its states{}", text,
                        shrinks ? ", by which less of some zone can be read" : ""));
    } else {
        add(kind, Cure::force, slot_place(slot),
            text + "; it may have been the newer one, the live table is damaged too");
    }
    // With force a zone that was reset may have its old length again, but none has less.
    for (std::uint32_t entry = 0; entry < entries_; ++entry) {
        if (!is_sound(site(entry), live(entry))) {
            live_.at(entry) = widest_word(site(entry));
        } else if (readable_end(live(entry)) < readable_end(stored_.at(entry))) {
            live_.at(entry) = stored_.at(entry);
        }
    }
    stored_ = live_;
    must_rewrite_both_ = true;
}

/// Whether less of some zone can be read by the words `a` than by `b`.
bool PageJudge::is_less(const PageWords& a, const PageWords& b) const {
    for (std::uint32_t entry = 0; entry < entries_; ++entry) {
        if (readable_end(a.at(entry)) < readable_end(b.at(entry))) return true;
    }
    return false;
}

void PageJudge::judge_two_slots() {
    const std::uint32_t other = 1 - *newest_;
    const std::uint64_t gap = slots_.at(*newest_).page->sequence - slots_.at(other).page->sequence;
    if (gap == 0) return judge_conflict();
    if (gap == 1) return;
    judge_lost_slot(
        FindingKind::slot_stale, other,
        fmt::format("it is {} writes older than the other slot: a write was lost", gap));
}

void PageJudge::judge_conflict() {
    must_rewrite_both_ = true;
    may_be_older_ = true;
    const PageWords& first = slots_[0].page->words;
    const PageWords& second = slots_[1].page->words;
    constexpr const char* kText = "both slots have the same sequence";
    if (first == second) {
        return add(FindingKind::slot_conflict, Cure::repair, page_place(), kText);
    }
    const bool live_decides =
        image_.recovery == Recovery::daemon_death ||
        (image_.recovery == Recovery::clean && !is_untouched_ && is_live_sound() &&
         (live_ == first || (live_ == second && !is_less(second, first))));
    add(FindingKind::slot_conflict, live_decides ? Cure::repair : Cure::force, page_place(),
        fmt::format("{} and say different things{}", kText,
                    live_decides ? "; the live table decides" : ""));
    for (std::uint32_t entry = 0; entry < entries_; ++entry) {
        const bool takes_second =
            live_decides ? live_ == second
                         : readable_end(second.at(entry)) > readable_end(first.at(entry));
        stored_.at(entry) = takes_second ? second.at(entry) : first.at(entry);
    }
}

/// Both slots are gone: the live table may have the states.
void PageJudge::judge_lost_page() {
    must_rewrite_both_ = true;
    const std::uint32_t first_zone = bytes_.index * kZonesPerPage;
    std::string what = "no slot is readable";
    bool is_unread = false;
    for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
        const std::optional<Error>& error = bytes_.unread_slots.at(slot);
        if (!error) continue;
        what += fmt::format(" (slot {}: {})", slot, describe(*error));
        is_unread = true;
    }
    what += fmt::format(": the states of zones {} to {} ", first_zone, first_zone + entries_ - 1);
    if (is_untouched_) {
        add(FindingKind::page_lost, Cure::repair, page_place(),
            what + "are those of a new image, which this one is");
        verdict_.findings.back().is_unread = is_unread;
        for (std::uint32_t entry = 0; entry < entries_; ++entry) {
            stored_.at(entry) = first_word(site(entry));
        }
        return;
    }
    const bool is_current = image_.recovery != Recovery::power_loss;
    const bool sound = is_live_sound();
    add(FindingKind::page_lost, sound && is_current ? Cure::repair : Cure::force, page_place(),
        what + (!sound       ? "are lost in part, the live table is damaged too"
                : is_current ? "are in the live table"
                             : "are in the live table, as they were some time around the power "
                               "loss"));
    verdict_.findings.back().is_unread = is_unread;
    for (std::uint32_t entry = 0; entry < entries_; ++entry) {
        const bool usable = is_sound(site(entry), live(entry));
        stored_.at(entry) = usable ? live(entry) : widest_word(site(entry));
        if (is_current) live_.at(entry) = stored_.at(entry);
    }
}

/// Replaces a bad word.
/// @return what that takes
Cure PageJudge::replace(std::uint32_t entry, std::uint64_t bad, const OtherWords& others) {
    const ZoneSite zone = site(entry);
    const std::optional<std::uint64_t> safe = safe_word(zone, bad, others);
    const std::uint64_t right = safe ? *safe : widest_word(zone);
    stored_.at(entry) = right;
    live_.at(entry) = right;
    return safe ? Cure::repair : Cure::force;
}

void PageJudge::mend(std::uint32_t entry, std::uint64_t bad, const OtherWords& others,
                     WordFault fault, const char* where) {
    const Cure cure = replace(entry, bad, others);
    add(fault.kind, cure, fmt::format("zone {}", to_number(site(entry).zone)),
        fmt::format("{} ({})", fault.text, where));
}

/// In use by this boot: the live table counts, and is never behind the commit pages.
void PageJudge::judge_live_words() {
    for (std::uint32_t entry = 0; entry < entries_; ++entry) {
        const ZoneSite zone = site(entry);
        const std::uint64_t bits = live(entry);
        const std::uint64_t committed = stored_.at(entry);
        const bool has_committed = newest_ && !may_be_older_ && is_sound(zone, committed);
        if (const auto fault = fault_of(zone, bits)) {
            OtherWords others;
            if (has_committed) others.stored = committed;
            if (is_unread(entry)) {
                unread_live_cure_ = worse(unread_live_cure_, replace(entry, bits, others));
            } else {
                mend(entry, bits, others, *fault, "live table");
            }
            must_rewrite_both_ = true;
        } else if (has_committed && stored_data_end(bits) < readable_end(committed)) {
            add(FindingKind::word_behind, Cure::repair,
                fmt::format("zone {}", to_number(zone.zone)),
                fmt::format("the live table ends its data at {}, of which {} was committed",
                            stored_data_end(bits), stored_data_end(committed)));
            live_.at(entry) = committed;
        }
    }
    // What counts takes the place of what was lost.
    if (may_be_older_) stored_ = live_;
}

void PageJudge::judge_stored_words() {
    if (!newest_) return;  // made of sound words by judge_lost_page()
    const bool in_use = image_.recovery == Recovery::daemon_death;
    const std::optional<CommitPage>& older = slots_.at(1 - *newest_).page;
    for (std::uint32_t entry = 0; entry < entries_; ++entry) {
        const std::uint64_t bits = stored_.at(entry);
        const auto fault = fault_of(site(entry), bits);
        if (!fault) continue;
        must_rewrite_both_ = true;
        if (in_use) {
            // It does not count; what counts takes its place.
            add(fault->kind, Cure::repair, fmt::format("zone {}", to_number(site(entry).zone)),
                fmt::format("{} (commit page)", fault->text));
            stored_.at(entry) = live_.at(entry);
            continue;
        }
        OtherWords others{.stored = {},
                          .live = live(entry),
                          .live_is_current = image_.recovery == Recovery::clean && !is_untouched_,
                          .is_untouched = is_untouched_ && base_sequence() == 1};
        if (older) others.stored = older->words.at(entry);
        mend(entry, bits, others, *fault, "commit page");
    }
}

/// Where the commit pages count the live table has nothing to add.
void PageJudge::judge_unread_live() {
    for (const UnreadWords& words : bytes_.unread_live) {
        const std::uint32_t first_zone = bytes_.index * kZonesPerPage + words.first;
        add(FindingKind::live_table_unreadable, unread_live_cure_,
            fmt::format("live table, zones {} to {}", first_zone, first_zone + words.count - 1),
            unread_text(words.error));
        verdict_.findings.back().is_unread = true;
    }
    for (std::uint32_t entry = 0; entry < entries_; ++entry) {
        if (live_.at(entry) != kLostWord || !is_unread(entry)) continue;
        live_.at(entry) = is_untouched_ ? 0 : stored_.at(entry);
    }
}

/// A clean image has the same states in both places. Which one an open looks at is right.
void PageJudge::compare_with_live() {
    if (image_.recovery != Recovery::clean || is_untouched_ || !newest_) return;
    if (verdict_.cure != Cure::not_needed) return;
    std::uint32_t count = 0;
    for (std::uint32_t entry = 0; entry < entries_; ++entry) {
        if (live(entry) != stored_.at(entry)) ++count;
    }
    if (count == 0) return;
    add(FindingKind::live_table_differs, Cure::not_needed, page_place(),
        fmt::format("the live table differs in {} of its {} zones; the commit page counts", count,
                    entries_));
}

/// What the zones are, and whether their data is there.
void PageJudge::note_words() {
    const bool in_use = image_.recovery == Recovery::daemon_death;
    verdict_.words = in_use ? live_ : stored_;
    const Layout layout = layout_of(image_.superblock.geometry);
    for (std::uint32_t entry = 0; entry < entries_; ++entry) {
        const ZoneSite zone = site(entry);
        const Result<Word> word = decode_word(verdict_.words.at(entry));
        if (!word) continue;
        const std::string place = fmt::format("zone {}", to_number(zone.zone));
        if (word->reclaim_pending) {
            add(FindingKind::reclaim_pending, Cure::not_needed, place,
                "was reset; its space is given back at the next open");
        }
        if (word->record.state == ZoneState::implicit_open) ++verdict_.implicitly_open;
        if (word->record.state == ZoneState::explicit_open) ++verdict_.explicitly_open;
        if (word->record.state == ZoneState::closed) ++verdict_.closed;
        if (is_untouched_) continue;
        const bool is_conventional = zone.type == ZoneType::conventional;
        const std::uint64_t data = is_conventional ? zone.capacity : word->record.data_end;
        const std::uint64_t start =
            layout.data_offset + image_.superblock.geometry.start_of(zone.zone);
        if (data == 0 || start + data <= image_.storage_size) continue;
        const std::uint64_t there =
            image_.storage_size > start ? image_.storage_size - start : std::uint64_t{0};
        verdict_.findings.push_back(
            {FindingKind::data_missing, Cure::force, place,
             fmt::format("{} of its {} bytes of data {} behind the end of the storage",
                         data - there, data, is_conventional ? "may have been" : "were")});
    }
}

void PageJudge::plan() {
    if (verdict_.cure != Cure::repair && verdict_.cure != Cure::force) return;
    PageRepair& repair = verdict_.repair;
    repair.words = stored_;
    for (std::uint32_t entry = 0; entry < entries_; ++entry) {
        if (live_.at(entry) == live(entry)) continue;
        repair.live.push_back({bytes_.index * kZonesPerPage + entry, live_.at(entry)});
    }
    if (!must_rewrite_both_ && !must_rewrite_other_) return;
    // Counted from 0 again, the slot that counts now would stay the newer one.
    must_rewrite_both_ = must_rewrite_both_ || base_sequence() == 0;
    const std::uint32_t other = newest_ ? 1 - *newest_ : 0;
    repair.slots.push_back({other, base_sequence() + 1});
    if (must_rewrite_both_) repair.slots.push_back({1 - other, base_sequence() + 2});
}

}  // namespace

PageDiagnosis diagnose_page(const ImageFacts& image, const PageBytes& page) {
    return PageJudge(image, page).judge();
}

Page slot_bytes(const ImageFacts& image, std::uint32_t page, const PageRepair& repair,
                const PageRepair::SlotWrite& write) {
    CommitPage commit{.index = page,
                      .sequence = write.sequence,
                      .uuid = image.superblock.uuid,
                      .entry_count = entries_of_page(image.superblock.geometry, page)};
    std::copy_n(repair.words.begin(), commit.entry_count, commit.words.begin());
    return encode_commit_page(commit);
}

// --- The image as a whole -----------------------------------------------------------------------

std::vector<Finding> diagnose_length(const ImageFacts& image) {
    const std::uint64_t image_size = layout_of(image.superblock.geometry).image_size;
    if (image.storage_size >= image_size) return {};
    return {{FindingKind::truncated, Cure::repair, "image",
             fmt::format("it has {} bytes, its superblock says {}: the last {} are missing",
                         image.storage_size, image_size,
                         format_size(image_size - image.storage_size))}};
}

namespace {

/// Whether an open of the image closes as many implicitly open zones as are too many: the daemon's
/// death can leave a zone open that was closed to make room, where the live table is written page
/// by page.
bool closes_surplus(const ImageFacts& image, const ZoneCounts& counts) {
    return image.recovery == Recovery::daemon_death &&
           counts.explicitly_open <= image.superblock.geometry.max_open_zones;
}

}  // namespace

std::vector<Finding> diagnose_counts(const ImageFacts& image, const ZoneCounts& counts) {
    const ZoneGeometry& limits = image.superblock.geometry;
    std::vector<Finding> findings;
    // After a power loss no zone is open.
    const bool may_be_open = image.recovery != Recovery::power_loss;
    const std::uint64_t open = counts.implicitly_open + counts.explicitly_open;
    if (may_be_open && limits.max_open_zones != 0 && open > limits.max_open_zones) {
        const bool open_mends = closes_surplus(image, counts);
        findings.push_back(
            {FindingKind::over_open_limit, open_mends ? Cure::not_needed : Cure::repair, "zones",
             fmt::format("{} are open, the limit is {}{}", open, limits.max_open_zones,
                         open_mends ? ": the next open closes the rest" : "")});
    }
    // Commit pages may be of different rounds, so that a zone still counts as active in one page
    // that made room for another one in the next.
    const std::uint64_t active = open + counts.closed;
    if (limits.max_active_zones != 0 && active > limits.max_active_zones) {
        findings.push_back(
            {FindingKind::over_active_limit, Cure::not_needed, "zones",
             fmt::format("{} are active, the limit is {}: none can be written that is not, until "
                         "they are fewer",
                         active, limits.max_active_zones)});
    }
    return findings;
}

ZonesToClose zones_to_close(const ImageFacts& image, const ZoneCounts& counts) {
    const std::uint64_t limit = image.superblock.geometry.max_open_zones;
    const std::uint64_t open = counts.implicitly_open + counts.explicitly_open;
    if (image.recovery == Recovery::power_loss || limit == 0 || open <= limit) return {};
    if (closes_surplus(image, counts)) return {};
    const std::uint64_t excess = open - limit;
    const std::uint64_t implicit = std::min(excess, counts.implicitly_open);
    return {.implicitly_open = implicit, .explicitly_open = excess - implicit};
}

PageRepair close_zones(const ImageFacts& image, const PageBytes& page, ZonesToClose& left) {
    const PageDiagnosis found = diagnose_page(image, page);
    if (found.cure != Cure::not_needed) return {};
    const bool in_use = image.recovery == Recovery::daemon_death;
    const std::uint32_t entries = entries_of_page(image.superblock.geometry, page.index);
    PageRepair repair;
    repair.words = found.words;
    for (std::uint32_t entry = 0; entry < entries; ++entry) {
        const Result<Word> word = decode_word(repair.words.at(entry));
        if (!word) continue;
        const bool implicit = word->record.state == ZoneState::implicit_open;
        const bool is_explicit = word->record.state == ZoneState::explicit_open;
        std::uint64_t& budget = implicit ? left.implicitly_open : left.explicitly_open;
        if ((!implicit && !is_explicit) || budget == 0) continue;
        --budget;
        const std::uint64_t data_end = word->record.data_end;
        const std::uint64_t bits =
            bits_of(data_end == 0 ? ZoneState::empty : ZoneState::closed, data_end);
        repair.words.at(entry) = bits;
        repair.live.push_back({page.index * kZonesPerPage + entry, bits});
    }
    if (repair.live.empty() || in_use) return repair;
    // The page counts: written to the slot that does not.
    std::array<std::uint64_t, kSlots> sequences{};
    for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
        const ConstBytes bytes = page.slots.subspan(std::size_t{slot} * kPageSize, kPageSize);
        const auto decoded = decode_commit_page(bytes, image.superblock.uuid, page.index, entries);
        if (decoded) sequences.at(slot) = decoded->sequence;
    }
    const std::uint32_t older = sequences[1] > sequences[0] ? 0 : 1;
    repair.slots.push_back({older, sequences.at(1 - older) + 1});
    return repair;
}

}  // namespace zbdkit::zoned
