// SPDX-License-Identifier: Apache-2.0
// The log of filter "write_log" on disk: version 1 of the format of Linux's dm-log-writes target,
// which replay-log and QEMU's blklogwrites know too. Pure codec; all numbers little-endian; a
// sector is as large as the super says.
//
//   log     = super entry*                            entries: `entries` of the super
//   super   = magic:u64 version:u64 entries:u64 sector-size:u32 zeroes        one sector
//   entry   = header data
//   header  = sector:u64 sectors:u64 flags:u64 text-length:u64 text zeroes    one sector
//   data    = `sectors` sectors, of an entry that is neither discard nor mark
//   flags   = 1 flush | 2 FUA | 4 discard | 8 mark | 16 metadata
//   text    = `text-length` bytes, of a mark only
//
// The format has no zones. We write an append as a write to where its data landed, and a zone
// action as a mark, which replayers of plain devices pass over and ours for zoned ones can redo:
//
//   text    = ("zone_open" | "zone_close" | "zone_finish" | "zone_reset") " " first-sector
//           | "zone_reset_all"
//
// where first-sector is the start of the zone in sectors of 512 bytes, in decimal, as blkzone
// takes it, whatever the log's sector size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/error.h"
#include "block/op.h"

namespace zbdkit::write_log {

inline constexpr std::uint64_t kMagic = 0x006a'7366'7773'6872;
inline constexpr std::uint64_t kVersion = 1;
inline constexpr std::uint64_t kMinSectorSize = 512;
inline constexpr std::uint64_t kMaxSectorSize = 64 * 1024;

/// Bytes of the encoded super; zeroes fill its sector.
inline constexpr std::size_t kSuperSize = 28;
/// Bytes of an encoded header with the longest text of ours; zeroes fill its sector.
inline constexpr std::size_t kHeaderSize = 96;
/// Bytes of a header before its text.
inline constexpr std::size_t kHeaderFields = 32;

enum Flag : std::uint64_t {
    kFlush = 1,
    kFua = 2,
    kDiscard = 4,
    kMark = 8,
    kMetadata = 16,
};

struct Super {
    std::uint64_t entries = 0;
    std::uint64_t sector_size = kMinSectorSize;  ///< bytes
    bool operator==(const Super&) const = default;
};

/// @param to  kSuperSize bytes
void encode_super(const Super& super, MutableBytes to);

/// Errors: corrupt for another magic; not_supported for another version or a sector size that is
/// no power of two from kMinSectorSize to kMaxSectorSize.
/// @param from  kSuperSize bytes
[[nodiscard]] Result<Super> decode_super(ConstBytes from);

/// True if a log may have sectors of that size.
[[nodiscard]] bool is_sector_size(std::uint64_t bytes);

struct Header {
    std::uint64_t sector = 0;   ///< of the device, in the log's sector size
    std::uint64_t sectors = 0;  ///< in the log's sector size
    std::uint64_t flags = 0;
    std::uint64_t text_length = 0;  ///< bytes, of a mark

    /// How many sectors of data follow the header's own.
    [[nodiscard]] std::uint64_t data_sectors() const {
        return (flags & (kDiscard | kMark)) != 0 ? 0 : sectors;
    }
    bool operator==(const Header&) const = default;
};

/// @param text  of a mark, at most kHeaderSize - kHeaderFields bytes; sets text_length
/// @param to    kHeaderSize bytes
void encode_header(const Header& header, std::string_view text, MutableBytes to);

/// Errors: corrupt for an unknown flag, or a text that does not fit into the sector.
/// @param from         kHeaderFields bytes at least
/// @param sector_size  of the log, bytes
[[nodiscard]] Result<Header> decode_header(ConstBytes from, std::uint64_t sector_size);

/// The text of the mark for a zone action.
/// @param zone_start  bytes; 0 for zone_reset_all
[[nodiscard]] std::string mark_text(Op action, std::uint64_t zone_start);

}  // namespace zbdkit::write_log
