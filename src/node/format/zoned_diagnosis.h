// SPDX-License-Identifier: Apache-2.0
// What is wrong with the metadata of a zoned image, and what would mend it. Pure: bytes in,
// findings and the bytes to write out; who calls reads and writes. An image is looked at in pieces,
// first both superblocks, then each commit page with its part of the live table, because a large
// one has gigabytes of metadata.
//
// What mends must never lower what can be read. A finding has one of these cures:
//   repair  there is one safe answer: another place holds what the damaged one held
//   force   there is none: zones become full to their capacity, so that all that was ever written
//           to them can still be read (and what was not is read as whatever the storage has there)
//   none    nothing here can mend it
//
// What the medium does not give (a bad sector) is judged like bytes that make no sense, but for
// what a power loss explains: it tears what was being written, and leaves no sector unreadable.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "node/format/zoned_header.h"

namespace zbdkit::zoned {

/// Each has its row in docs/manual/check.md.
enum class FindingKind : std::uint8_t {
    superblock_unreadable,   ///< one copy
    superblocks_lost,        ///< both copies
    superblock_later,        ///< one copy is of a later version
    superblock_foreign,      ///< the copies describe different disks
    superblock_stale,        ///< a write to one copy was lost
    superblock_conflict,     ///< of one sequence, and different
    superblock_sequence,     ///< a sequence that no image reaches
    superblock_interrupted,  ///< note: a change of the condition was
    unknown_features,        ///< note
    truncated,               ///< the storage ends before the image does
    data_missing,            ///< data of a zone behind the end of the storage
    slot_unreadable,         ///< one of two
    slot_foreign,            ///< of another image or place
    slot_stale,              ///< a write to it was lost
    slot_conflict,           ///< both of one sequence, and different
    slot_sequence,           ///< a sequence that no page reaches
    slot_torn,               ///< note: by a power loss
    page_lost,               ///< both slots
    word_impossible,         ///< state or bits that do not exist
    word_beyond_capacity,    ///< more data than the zone can have
    word_contradictory,      ///< a state that this zone with this data cannot have
    word_behind,             ///< the live table has less data than was committed
    live_table_unreadable,   ///< the medium does not give a part of it
    live_table_differs,      ///< note: from the commit pages of a clean image
    reclaim_pending,         ///< note: of a zone that was reset
    over_open_limit,         ///< more zones open than may be
    over_active_limit,       ///< note: more zones active than may be
};
/// "slot-unreadable": for programs.
[[nodiscard]] const char* finding_kind_name(FindingKind kind);

enum class Cure : std::uint8_t {
    not_needed,  ///< a note, no damage
    repair,
    force,
    none,
};
/// What a repair with this cure does about it: "written anew from the other copy".
[[nodiscard]] const char* cure_text(FindingKind kind, Cure cure);
/// The graver of two.
[[nodiscard]] Cure worse(Cure a, Cure b);

struct Finding {
    FindingKind kind{};
    Cure cure = Cure::not_needed;
    std::string place;  ///< "commit page 3, slot 1", "zone 17"
    std::string text;   ///< what is wrong with it
    /// The medium does not give its bytes: writing them anew may not help.
    bool is_unread = false;

    [[nodiscard]] bool is_damage() const { return cure != Cure::not_needed; }
};

// --- Superblocks --------------------------------------------------------------------------------

/// One of the two copies, as it was read.
struct SuperblockCopy {
    std::optional<Error> unread;  ///< what the medium said, if it gave no bytes
    std::expected<Superblock, SuperblockFault> found =
        std::unexpected(SuperblockFault::not_an_image);
    /// What it would say if magic, version and checksum were right; nothing if it makes no sense.
    std::optional<Superblock> salvaged;
    /// Whether the first commit page, where this copy has it, is one of this copy's disk.
    bool has_pages = false;
};
/// @param page  kPageSize bytes; sets all but has_pages
[[nodiscard]] SuperblockCopy look_at_superblock(ConstBytes page);
/// @param slots  both slots of the first commit page, where `superblock` has it
[[nodiscard]] bool has_own_page(const Superblock& superblock, ConstBytes slots);

struct SuperblockDiagnosis {
    std::vector<Finding> findings;
    Cure cure = Cure::not_needed;
    /// What the image is, and what the copies are to say; nothing if that cannot be known.
    std::optional<Superblock> superblock;
    std::vector<std::uint8_t> rewrite;  ///< copies to write it to, with a sync after each
};
/// @param boot_id  of this boot of the host
[[nodiscard]] SuperblockDiagnosis diagnose_superblocks(const std::array<SuperblockCopy, 2>& copies,
                                                       const Uuid& boot_id);

// --- Zone states --------------------------------------------------------------------------------

/// What is known of the image when its pages are looked at.
struct ImageFacts {
    Superblock superblock;
    Recovery recovery = Recovery::clean;
    std::uint64_t storage_size = 0;  ///< bytes there are

    /// Made, and never opened for writing: every zone is as it was made, the live table unused.
    [[nodiscard]] bool is_untouched() const {
        return recovery == Recovery::clean && superblock.sequence == 1;
    }
};

/// Live words that the medium does not give.
struct UnreadWords {
    std::uint32_t first = 0;  ///< entry of the page
    std::uint32_t count = 0;
    Error error;  ///< what the medium said
};

/// One commit page, and the live words of its zones.
struct PageBytes {
    std::uint32_t index = 0;
    ConstBytes slots;  ///< both
    ConstBytes live;   ///< 8 bytes for each zone of the page
    /// What the medium said instead of a slot; its bytes are not looked at.
    std::array<std::optional<Error>, kSlots> unread_slots{};
    std::vector<UnreadWords> unread_live{};
};

using PageWords = std::array<std::uint64_t, kZonesPerPage>;

/// What to write, in this order, with a sync after each step; interrupted anywhere, it leaves an
/// image that is no worse and can be mended by doing it again.
struct PageRepair {
    struct LiveWord {
        std::uint32_t zone = 0;
        std::uint64_t bits = 0;
    };
    struct SlotWrite {
        std::uint32_t slot = 0;
        std::uint64_t sequence = 0;
    };
    std::vector<LiveWord> live;    ///< first, and all of them
    std::vector<SlotWrite> slots;  ///< then each by itself
    PageWords words{};             ///< of the slots
    [[nodiscard]] bool is_empty() const { return live.empty() && slots.empty(); }
};

struct PageDiagnosis {
    std::vector<Finding> findings;
    Cure cure = Cure::not_needed;  ///< of the page as a whole: it is mended as a whole
    PageRepair repair;
    PageWords words{};  ///< what counts, once mended
    std::uint32_t implicitly_open = 0;
    std::uint32_t explicitly_open = 0;
    std::uint32_t closed = 0;
};
[[nodiscard]] PageDiagnosis diagnose_page(const ImageFacts& image, const PageBytes& page);

/// How many zones are open, of all pages.
struct ZoneCounts {
    std::uint64_t implicitly_open = 0;
    std::uint64_t explicitly_open = 0;
    std::uint64_t closed = 0;
};
/// Over the limits.
[[nodiscard]] std::vector<Finding> diagnose_counts(const ImageFacts& image,
                                                   const ZoneCounts& counts);

/// How many open zones are to be closed.
struct ZonesToClose {
    std::uint64_t implicitly_open = 0;
    std::uint64_t explicitly_open = 0;
    [[nodiscard]] bool is_empty() const { return implicitly_open == 0 && explicitly_open == 0; }
};
/// As few as the limit demands, implicitly open ones first.
[[nodiscard]] ZonesToClose zones_to_close(const ImageFacts& image, const ZoneCounts& counts);
/// Closes open zones of a page that is sound, as many as `left` says, and lowers `left`.
[[nodiscard]] PageRepair close_zones(const ImageFacts& image, const PageBytes& page,
                                     ZonesToClose& left);

/// The bytes of a slot that a repair writes.
[[nodiscard]] Page slot_bytes(const ImageFacts& image, std::uint32_t page, const PageRepair& repair,
                              const PageRepair::SlotWrite& write);

/// Whether the storage ends before the image does. Longer it mends as long as no data is missing:
/// what diagnose_page() says of the zones decides that.
[[nodiscard]] std::vector<Finding> diagnose_length(const ImageFacts& image);

}  // namespace zbdkit::zoned
