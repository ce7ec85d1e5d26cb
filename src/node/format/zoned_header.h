// SPDX-License-Identifier: Apache-2.0
// The bytes of a zoned image: pure encoding, decoding and layout, no I/O. Little-endian.
//
//   image        = superblock | gap | superblock copy | live table | commit pages | data
//   superblock   = 4096 bytes at 0, and the same at 64 KiB
//   live table   = zone_count words of 8 bytes at 128 KiB, rounded up to 4096; no checksum
//   commit pages = for each 504 zones two slots of 4096 bytes; the valid one with the higher
//                  sequence counts
//   data         = at a multiple of 1 MiB; zone i at data_offset + i * zone_size
//
//   superblock:
//      0  8  magic "ZBDKIT\r\n"            88  4  zone_count
//      8  4  version = 1                   92  4  conventional_zones
//     12  4  header length = 4096          96  4  max_open_zones       (0 = no limit)
//     16  8  incompatible features        100  4  max_active_zones     (0 = no limit)
//     24  8  read-only compatible ones    104  4  write_granularity    (bytes)
//     32  8  compatible ones              108  4  block_size           (bytes)
//     40 16  uuid                         112  1  model: 1 host-managed, 2 host-aware
//     56  8  device_size   (bytes)        113  7  zero
//     64  8  zone_size     (bytes)        120  8  live_table_offset
//     72  8  zone_capacity (bytes)        128  8  commit_offset
//     80  8  max_append_bytes             136  8  data_offset
//    144  4  zones_per_page = 504         148  4  condition: 1 clean, 2 in use
//    152  8  sequence: the copy with the higher one counts
//    160 16  boot id of the host that has it in use
//    176 .. 4091  zero                   4092  4  CRC32C of bytes 0..4091
//
//   word (live table and commit page entry), 8 bytes:
//     bits 0-55  data end: bytes from the zone's start up to which data was written
//     bits 56-59 zone state, as in linux/blkzoned.h
//     bit  60    reclaim pending: the zone was reset, its space is still to be punched out
//     bits 61-63 zero
//
//   commit page:
//      0  4  magic "ZCPG"     4  4  page index     8  8  sequence    16 16  uuid
//     32  4  entry count     36 24  zero          60  4  CRC32C of the page with this field zero
//     64  8 x 504  words; those beyond the last zone are zero
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/error.h"
#include "base/units.h"
#include "zone/zone.h"
#include "zone/zone_table.h"

namespace zbdkit::zoned {

inline constexpr std::size_t kPageSize = 4096;
inline constexpr std::uint64_t kSecondSuperblockOffset = 64 * kKiB;
inline constexpr std::uint64_t kLiveTableOffset = 128 * kKiB;
inline constexpr std::uint64_t kDataAlignment = kMiB;
inline constexpr std::uint32_t kZonesPerPage = 504;
inline constexpr std::uint32_t kSlots = 2;
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::uint64_t kMaxZoneSize = std::uint64_t{1} << 55;
/// 32 GiB of live table would be absurd; this bounds what an open reads.
inline constexpr std::uint32_t kMaxZoneCount = 1U << 28;

using Page = std::array<std::byte, kPageSize>;
using Uuid = std::array<std::byte, 16>;

/// Instead of the boot of a host: the image is in use on storage where what completed outlives
/// every host, so that its live table counts whichever comes next.
inline constexpr Uuid kEveryBoot = [] {
    Uuid id{};
    id.fill(std::byte{0xff});
    return id;
}();

enum class Condition : std::uint32_t { clean = 1, in_use = 2 };

struct Superblock {
    ZoneGeometry geometry;
    std::uint32_t block_size = 4096;
    Uuid uuid{};
    Condition condition = Condition::clean;
    std::uint64_t sequence = 1;
    Uuid boot_id{};
    /// Features of later versions that this one may ignore; kept when it is written again.
    std::uint64_t compatible_features = 0;
    /// Features that allow reading only.
    std::uint64_t read_only_features = 0;

    bool operator==(const Superblock&) const = default;
};

/// Where the parts are. Follows from the geometry alone.
struct Layout {
    std::uint64_t live_table_offset = kLiveTableOffset;
    std::uint64_t live_table_length = 0;  ///< bytes, a multiple of kPageSize
    std::uint64_t commit_offset = 0;
    std::uint32_t page_count = 0;  ///< commit pages, two slots each
    std::uint64_t data_offset = 0;
    std::uint64_t image_size = 0;  ///< data_offset + device_size

    [[nodiscard]] std::uint64_t slot_offset(std::uint32_t page, std::uint32_t slot) const {
        return commit_offset + (std::uint64_t{page} * kSlots + slot) * kPageSize;
    }
};
/// @param geometry  checked; device_size at most kMaxOffset less the metadata
[[nodiscard]] Layout layout_of(const ZoneGeometry& geometry);

[[nodiscard]] Page encode_superblock(const Superblock& superblock);

/// Why bytes are no superblock that this version can use.
enum class SuperblockFault : std::uint8_t {
    not_an_image,  ///< the magic is another one
    bad_checksum,
    future_version,
    unknown_feature,  ///< an incompatible feature bit
    bad_geometry,     ///< checksum right, but the numbers contradict each other
};
[[nodiscard]] const char* superblock_fault_text(SuperblockFault fault);
[[nodiscard]] std::expected<Superblock, SuperblockFault> decode_superblock(ConstBytes bytes);

/// The same of a superblock whose magic and checksum are damaged, as if they were right:
/// a guess, to be confirmed by what else there is of the image.
[[nodiscard]] std::expected<Superblock, SuperblockFault> salvage_superblock(ConstBytes bytes);

/// The rules every geometry obeys, whatever guest it is for.
/// @return "" or what is wrong, for people
[[nodiscard]] const char* geometry_fault(const ZoneGeometry& geometry, std::uint32_t block_size);

/// Where the zone states come from when an image is opened.
enum class Recovery : std::uint8_t {
    clean,         ///< closed in good order: commit pages
    daemon_death,  ///< in use by this boot of the host, or by every: live table
    power_loss,    ///< in use, another boot: commit pages; open zones are closed now
};
[[nodiscard]] Recovery recovery_of(const Superblock& superblock, const Uuid& boot_id);

/// One zone's word.
struct Word {
    ZoneRecord record;
    bool reclaim_pending = false;
    bool operator==(const Word&) const = default;
};
[[nodiscard]] std::uint64_t encode_word(const Word& word);
/// Errors: corrupt, for states that do not exist, bits that must be zero, and space to be reclaimed
/// of a zone that is not empty: an open would destroy its data.
[[nodiscard]] Result<Word> decode_word(std::uint64_t bits);

/// The data end in a word's bits, whatever else they say.
[[nodiscard]] std::uint64_t stored_data_end(std::uint64_t bits);

struct CommitPage {
    std::uint32_t index = 0;
    std::uint64_t sequence = 0;
    Uuid uuid{};
    std::uint32_t entry_count = 0;  ///< 1 to kZonesPerPage
    std::array<std::uint64_t, kZonesPerPage> words{};
};
[[nodiscard]] Page encode_commit_page(const CommitPage& page);
/// Why bytes are not the commit page that should be there.
enum class PageFault : std::uint8_t {
    not_a_page,  ///< the magic is another one
    bad_checksum,
    foreign,  ///< of another image, place or entry count, or without a sequence
};
[[nodiscard]] const char* page_fault_text(PageFault fault);
/// Checks magic, checksum, uuid, index and entry count.
[[nodiscard]] std::expected<CommitPage, PageFault> decode_commit_page(ConstBytes bytes,
                                                                      const Uuid& uuid,
                                                                      std::uint32_t index,
                                                                      std::uint32_t entry_count);

/// Whether the bytes are all zero, as those of a slot that was never written.
[[nodiscard]] bool is_blank(ConstBytes bytes);

/// How many zones page `index` holds.
[[nodiscard]] std::uint32_t entries_of_page(const ZoneGeometry& geometry, std::uint32_t index);

}  // namespace zbdkit::zoned
