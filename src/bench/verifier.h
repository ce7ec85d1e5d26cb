// SPDX-License-Identifier: Apache-2.0
// What this run wrote where, so that reads can be checked: a record for each block of the part of
// the disk in use. Knows also which blocks are on their way, for workloads that must not have two
// requests at one block of which one is a write. Pure, one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/units.h"
#include "bench/stamp.h"
#include "bench/workload.h"

namespace zbdkit::bench {

class Verifier {
  public:
    /// 16 bytes are kept for each block.
    static constexpr std::uint64_t kMaxBlocks = std::uint64_t{1} << 26;

    /// @param range       the part of the disk in use; at most kMaxBlocks blocks
    /// @param block_size  bytes; blocks of zones need not lie at multiples of it
    Verifier(ByteRange range, std::uint32_t block_size, std::uint64_t seed);

    /// Gives a write its place among the writes and fills its data.
    /// @param target  out or zone_append
    void stamp(Target& target, MutableBytes data);
    /// Notes that a write ended.
    /// @param placed  where its data is
    /// @return what is wrong: an append where one is already
    [[nodiscard]] std::optional<std::string> wrote(const Target& target, std::uint64_t placed);
    /// @param offset  of a block that was read
    /// @return what is wrong with it, or nothing; nothing also for a block that this run did not
    ///         write
    [[nodiscard]] std::optional<std::string> check(std::uint64_t offset, ConstBytes data);
    /// The blocks of a zone that was reset hold nothing any more.
    void forget(ByteRange zone);

    [[nodiscard]] bool is_known(std::uint64_t offset) const { return at(offset).sequence != 0; }
    /// Blocks that check() compared.
    [[nodiscard]] std::uint64_t checked() const { return checked_; }

    /// Marks a block as one that a request is on its way to.
    /// @return false if another one is, and one of both writes
    [[nodiscard]] bool lock(std::uint64_t offset, bool is_write);
    void unlock(std::uint64_t offset);

  private:
    struct Record {
        std::uint64_t sequence = 0;  ///< of the last write; 0: none of this run
        std::uint64_t position = 0;  ///< as its stamp says
    };
    [[nodiscard]] std::size_t index_of(std::uint64_t offset) const {
        return (offset - range_.offset) / block_size_;
    }
    [[nodiscard]] const Record& at(std::uint64_t offset) const {
        return records_[index_of(offset)];
    }

    static constexpr std::uint16_t kWriter = 0xffff;

    ByteRange range_;
    std::uint64_t block_size_;
    std::uint64_t seed_;
    std::uint64_t sequence_ = 0;
    std::uint64_t checked_ = 0;
    std::vector<Record> records_;
    std::vector<std::uint16_t> users_;  ///< readers on their way, or kWriter
};

}  // namespace zbdkit::bench
