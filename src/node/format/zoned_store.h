// SPDX-License-Identifier: Apache-2.0
// ZonedStore: what a zoned image remembers of its zones, and how that becomes durable.
//   live table    a word a zone that outlives the daemon: put() is one store, and where the
//                 storage cannot be mapped publish() writes it out before anybody is told;
//   commit pages  what counts after power loss: written by rounds of
//                   sync data -> write the changed pages to their older slots -> sync.
// flush() and commit() join the next round, so that all who wait at a moment share its two syncs.
// At open the condition of the image says which of the two counts. One reactor.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/error.h"
#include "block/node.h"
#include "io/shared_round.h"
#include "io/task.h"
#include "node/format/live_table.h"
#include "node/format/zoned_header.h"

namespace zbdkit::zoned {

[[nodiscard]] const char* recovery_name(Recovery recovery);

/// The id of this boot of the host. Errors: the kernel does not tell it.
[[nodiscard]] Outcome<Uuid> host_boot_id();

/// Reads the superblock: the valid copy with the higher sequence. Says nothing of another one that
/// cannot be read: the open does.
/// Errors: no copy is usable; the message says why and names `child`.
[[nodiscard]] Task<Outcome<Superblock>> read_superblock(BlockNode& child);

class ZonedStore {
  public:
    struct OpenOptions {
        bool read_only = false;  ///< nothing is written; the states are a copy
        Uuid boot_id{};
    };

    /// Reads and checks all metadata and, unless read-only, marks the image as in use.
    /// @param child  outlives the store
    /// Errors: messages that name the image and what is wrong with it.
    [[nodiscard]] static Task<Outcome<std::unique_ptr<ZonedStore>>> open(
        BlockNode& child, const OpenOptions& options);
    ZonedStore(const ZonedStore&) = delete;
    ZonedStore& operator=(const ZonedStore&) = delete;
    ~ZonedStore() = default;

    [[nodiscard]] const Superblock& superblock() const { return superblock_; }
    [[nodiscard]] const Layout& layout() const { return layout_; }
    [[nodiscard]] Recovery recovery() const { return recovery_; }

    /// Errors: corrupt.
    [[nodiscard]] Result<Word> word(ZoneIndex zone) const;

    /// Changes a zone's word in the live table. Durable with the next flush().
    void put(ZoneIndex zone, const Word& word);

    /// Whether the zone's word, as it is now, is durable. May be false for one that is.
    [[nodiscard]] bool is_committed(ZoneIndex zone) const;
    /// The same for all zones.
    [[nodiscard]] bool is_committed() const {
        return !rounds_.is_running() && dirty_pages_.empty();
    }

    /// Whether words changed that would not outlive the daemon yet.
    [[nodiscard]] bool has_unpublished() const { return live_.has_unpublished(); }
    /// Waits until the words as they are now outlive the daemon: before a change is acknowledged.
    /// Errors: what the child says.
    [[nodiscard]] Task<Result<void>> publish() { return live_.publish(); }

    /// Makes everything durable that was completed before the call: data, and the words over it.
    /// Errors: what the child says; after a failed sync every later call fails too, because the
    /// host may have dropped what it could not write, and the next open counts the commit pages.
    [[nodiscard]] Task<Result<void>> flush();

    struct Change {
        ZoneIndex zone{};
        Word word;
    };
    /// Makes changes of zones durable, all or none of them acknowledged, and only then part of the
    /// live table, before any later round can begin.
    /// Errors: as flush(); the live table is unchanged then.
    [[nodiscard]] Task<Result<void>> commit(std::span<const Change> changes);

    /// Sets who is told of each committed change: one observer, for the node, called in the very
    /// turn in which the change becomes part of the live table, so that the node's own table and
    /// this one never differ. It must not call the store.
    void set_commit_observer(void (*on_commit)(void* context, const Change& change),
                             void* context) {
        on_commit_ = on_commit;
        observer_context_ = context;
    }

    /// Flushes and marks the image as clean.
    [[nodiscard]] Task<Outcome<void>> close();

  private:
    struct PageMeta {
        std::uint64_t sequence = 0;
        std::uint8_t slot = 0;  ///< the one that counts; the other is written next
        bool dirty = false;
        bool has_bad_slot = false;  ///< when it was read: so the other one may not be the newest
    };
    explicit ZonedStore(BlockNode& child) : child_(child), live_(child) {}

    [[nodiscard]] Task<Outcome<void>> load(OpenOptions options);
    [[nodiscard]] Task<Outcome<std::vector<std::uint64_t>>> read_commit_pages();
    /// What the medium said instead of each slot of a page.
    using SlotErrors = std::array<std::optional<Error>, kSlots>;
    [[nodiscard]] Task<SlotErrors> read_slots(std::uint32_t page, MutableBytes slots);
    [[nodiscard]] Outcome<void> take_page(std::uint32_t page, ConstBytes slots,
                                          const SlotErrors& unread, std::span<std::uint64_t> words);
    [[nodiscard]] Outcome<void> compare_with_live(
        const std::vector<std::uint64_t>& committed) const;
    [[nodiscard]] Outcome<void> adopt(const std::vector<std::uint64_t>& committed);
    [[nodiscard]] Task<Outcome<void>> write_superblock();

    void mark_dirty(std::uint32_t zone);

    [[nodiscard]] Task<Result<void>> write_commit_pages(std::span<const std::uint32_t> pages,
                                                        MutableBytes images);
    [[nodiscard]] Task<Result<void>> run_round();
    std::vector<std::uint32_t> take_dirty_pages();
    [[nodiscard]] AlignedBuffer images_of(std::span<const std::uint32_t> pages,
                                          std::span<const Change> changes) const;
    [[nodiscard]] Task<Result<void>> sync_child();
    [[nodiscard]] Task<void> distrust();
    [[nodiscard]] Task<Result<void>> rewrite_commit_pages();

    BlockNode& child_;
    Superblock superblock_;
    std::uint8_t newest_copy_ = 0;  ///< of the superblock: the last one known to be durable
    Layout layout_;
    Recovery recovery_ = Recovery::clean;

    LiveTable live_;

    std::vector<PageMeta> pages_;
    std::vector<std::uint32_t> dirty_pages_;

    std::vector<Change> staged_;  ///< for the next round
    bool sync_failed_ = false;
    SharedRound rounds_{[this] { return run_round(); }};
    void (*on_commit_)(void* context, const Change& change) = nullptr;
    void* observer_context_ = nullptr;
};

}  // namespace zbdkit::zoned
