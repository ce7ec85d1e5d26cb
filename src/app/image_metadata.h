// SPDX-License-Identifier: Apache-2.0
// The metadata of a zoned image as bytes: reads superblocks, commit pages and live words in large
// pieces, and writes single ones. Decides nothing. For as long as a check; one reactor.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/buffer.h"
#include "base/error.h"
#include "block/node.h"
#include "io/task.h"
#include "node/format/zoned_diagnosis.h"
#include "node/format/zoned_header.h"

namespace zbdkit::app {

class ImageMetadata {
  public:
    /// Commit pages are read this many at a time, both slots. Their live words fill whole blocks.
    static constexpr std::uint32_t kPagesPerRead = 128;

    /// @param storage  outlives this
    explicit ImageMetadata(BlockNode& storage);

    [[nodiscard]] BlockNode& storage() { return storage_; }

    /// Both copies, and whether each one's first commit page is where it says.
    /// What lies beyond the end of the storage is read as zeroes, here and below. What the medium
    /// does not give (Errc::io) is no error, here and below: it is said with the pieces that lack.
    [[nodiscard]] Task<Outcome<std::array<zoned::SuperblockCopy, 2>>> read_superblocks();

    /// Reads up to kPagesPerRead commit pages and the live words of their zones.
    /// @return how many
    [[nodiscard]] Task<Outcome<std::uint32_t>> read_pages(const zoned::Superblock& superblock,
                                                          std::uint32_t first);
    /// One of the pages read last.
    [[nodiscard]] zoned::PageBytes page(std::uint32_t index) const;
    /// Whether its live words share a block that cannot be read with those of the next page, which
    /// was read with it: none of them can be written without the others.
    [[nodiscard]] bool shares_unread_block(std::uint32_t index) const;

    [[nodiscard]] Task<Outcome<void>> write_superblock(std::uint8_t copy,
                                                       const zoned::Superblock& superblock);
    /// Writes what mends one of the pages read last, each step durable before the next begins.
    [[nodiscard]] Task<Outcome<void>> write_repair(const zoned::ImageFacts& image,
                                                   std::uint32_t page,
                                                   const zoned::PageRepair& repair);
    [[nodiscard]] Task<Outcome<void>> sync();

  private:
    /// What the medium said instead of each kPageSize bytes.
    using ReadErrors = std::vector<std::optional<Error>>;
    [[nodiscard]] Task<Result<void>> read_bytes(std::uint64_t offset, MutableBytes to);
    [[nodiscard]] Task<Outcome<ReadErrors>> read(std::uint64_t offset, MutableBytes to);
    [[nodiscard]] Task<Outcome<void>> write(std::uint64_t offset, MutableBytes from);
    [[nodiscard]] Task<Outcome<void>> write_live_words(const zoned::ImageFacts& image,
                                                       const zoned::PageRepair& repair);

    BlockNode& storage_;
    AlignedBuffer slots_;
    AlignedBuffer live_;
    ReadErrors slot_errors_;
    ReadErrors live_errors_;
    zoned::Superblock superblock_;  ///< of the pages read last
    std::uint32_t first_ = 0;       ///< the first of them
    std::uint64_t live_begin_ = 0;  ///< byte of the live table that live_ begins with
};

}  // namespace zbdkit::app
