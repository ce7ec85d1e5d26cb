// SPDX-License-Identifier: Apache-2.0
// The live table of a zoned image: a word a zone that outlives the daemon, but not a power loss.
// Where the storage can be mapped into memory, it is memory shared with the storage and a store is
// all it takes. Elsewhere it is a copy, and publish() writes the pages that changed before a change
// may be acknowledged; all who wait at a moment share the writes. One reactor.
#pragma once

#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/error.h"
#include "block/node.h"
#include "io/shared_round.h"
#include "io/task.h"
#include "node/format/zoned_header.h"

namespace zbdkit::zoned {

class LiveTable {
  public:
    /// @param child  outlives the table
    explicit LiveTable(BlockNode& child) : child_(child) {}

    /// Maps or reads the table.
    /// @param read_only  changes stay in memory
    /// Errors: messages that name the image.
    [[nodiscard]] Task<Outcome<void>> open(const Layout& layout, bool read_only);

    [[nodiscard]] std::uint64_t get(std::uint32_t zone) const;
    void set(std::uint32_t zone, std::uint64_t bits);

    /// Whether changes wait for publish(): never where the table is mapped.
    [[nodiscard]] bool has_unpublished() const {
        return !changed_pages_.empty() || rounds_.is_running();
    }
    /// Waits until the words as they are now outlive the daemon.
    /// Errors: what the child says; the pages are written again with the next call.
    [[nodiscard]] Task<Result<void>> publish() { return rounds_.join(); }
    /// Waits for the last write. Nobody may be waiting in publish().
    [[nodiscard]] Task<void> drain() { return rounds_.drain(); }

  private:
    [[nodiscard]] Task<Result<void>> write_changed_pages();
    void mark_changed(std::uint32_t page);

    BlockNode& child_;
    std::uint64_t offset_ = 0;  ///< of the table on the child, bytes
    NodeMapping mapping_;
    AlignedBuffer copy_;  ///< instead of the mapping
    MutableBytes words_;  ///< one of the two
    bool is_written_ = false;
    std::vector<bool> is_changed_;  ///< by page
    std::vector<std::uint32_t> changed_pages_;
    SharedRound rounds_{[this] { return write_changed_pages(); }};
};

}  // namespace zbdkit::zoned
