// SPDX-License-Identifier: Apache-2.0
#include "node/format/zoned_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "base/text.h"
#include "node/format/page_writes.h"

namespace zbdkit::zoned {
namespace {

/// Commit pages are read this many at a time, both slots.
constexpr std::uint32_t kPagesPerRead = 128;

Task<Result<void>> read_bytes(BlockNode& child, std::uint64_t offset, MutableBytes to) {
    const iovec segment = segment_of(to);
    Request request = read_request({offset, to.size()}, IoSegments(&segment, 1));
    const Result<void> result = co_await child.submit(request);
    co_return result;
}

Task<Result<void>> write_bytes(BlockNode& child, std::uint64_t offset, MutableBytes from) {
    const iovec segment = segment_of(from);
    Request request = write_request({offset, from.size()}, IoSegments(&segment, 1));
    const Result<void> result = co_await child.submit(request);
    co_return result;
}

constexpr std::array<std::uint64_t, 2> kCopies = {0, kSecondSuperblockOffset};

struct FoundSuperblock {
    Superblock superblock;
    std::uint8_t copy = 0;        ///< which of the two it is
    std::optional<Error> unread;  ///< what the medium said instead of the other one
};

/// The valid copy with the higher sequence. One that cannot be read may be passed over, although it
/// may be the newer: write_superblock() has written both before anything is served, and after the
/// last thing that was. Either copy therefore leads to states that lose nothing.
Task<Outcome<FoundSuperblock>> look_for_superblock(BlockNode& child) {
    if (child.info().size < kSecondSuperblockOffset + kPageSize) {
        co_return failure(fmt::format("'{}' is no zbdkit image: it has {}, less than the metadata "
                                      "of one",
                                      child.describe(), format_size(child.info().size)),
                          Errc::corrupt);
    }
    Outcome<FoundSuperblock> best = failure("");
    SuperblockFault fault = SuperblockFault::not_an_image;
    std::optional<Error> unread;
    AlignedBuffer buffer(kPageSize);
    for (std::uint8_t copy = 0; copy < kCopies.size(); ++copy) {
        const Result<void> read = co_await read_bytes(child, kCopies.at(copy), buffer.bytes());
        if (!read && read.error().code == Errc::io) {
            unread = read.error();
            continue;
        }
        if (!read)
            co_return failure(fmt::format("cannot read '{}'", child.describe()), read.error());
        const auto superblock = decode_superblock(buffer.bytes());
        if (!superblock) {
            // The worse news of the two copies is told: damage rather than "no image".
            if (superblock.error() != SuperblockFault::not_an_image) fault = superblock.error();
        } else if (!best || superblock->sequence > best->superblock.sequence) {
            best = FoundSuperblock{.superblock = *superblock, .copy = copy};
        }
    }
    if (!best && unread)
        co_return failure(fmt::format("cannot read '{}'", child.describe()), *unread);
    if (!best) {
        co_return failure(fmt::format("'{}' cannot be opened as a zoned image: {}",
                                      child.describe(), superblock_fault_text(fault)),
                          Errc::corrupt);
    }
    best->unread = unread;
    co_return best;
}

/// The same for an open, which tells of a copy that cannot be read. It is written first when the
/// image is marked as in use: that is what makes a drive replace a bad sector.
Task<Outcome<FoundSuperblock>> find_superblock(BlockNode& child) {
    FoundSuperblock found = co_await ok(look_for_superblock(child));
    if (found.unread) {
        spdlog::warn("'{}': the {} superblock cannot be read, the {} one counts: {}",
                     child.describe(), found.copy == 0 ? "second" : "first",
                     found.copy == 0 ? "first" : "second", describe(*found.unread));
    }
    co_return found;
}

/// What a zone is after the power went: like a drive, nothing is open. [crash contract, 5]
Word after_power_loss(Word word) {
    switch (word.record.state) {
        case ZoneState::implicit_open:
        case ZoneState::explicit_open:
        case ZoneState::closed:
            word.record.state = word.record.data_end == 0 ? ZoneState::empty : ZoneState::closed;
            break;
        case ZoneState::not_write_pointer:
        case ZoneState::empty:
        case ZoneState::full:
        case ZoneState::read_only:
        case ZoneState::offline: break;
    }
    return word;
}

}  // namespace

const char* recovery_name(Recovery recovery) {
    switch (recovery) {
        case Recovery::clean: return "clean";
        case Recovery::daemon_death: return "recovered from the live table";
        case Recovery::power_loss: return "recovered from the commit pages";
    }
    return "unknown";
}

Outcome<Uuid> host_boot_id() {
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string text;
    std::getline(file, text);
    std::erase(text, '-');
    Uuid id{};
    if (text.size() != 2 * id.size()) {
        return failure("cannot read this boot's id from /proc/sys/kernel/random/boot_id");
    }
    for (std::size_t i = 0; i < id.size(); ++i) {
        const std::string digits = text.substr(2 * i, 2);
        id.at(i) = std::byte(static_cast<unsigned char>(std::stoi(digits, nullptr, 16)));
    }
    return id;
}

Task<Outcome<Superblock>> read_superblock(BlockNode& child) {
    const FoundSuperblock found = co_await ok(look_for_superblock(child));
    co_return found.superblock;
}

// --- Opening ------------------------------------------------------------------------------------

Task<Outcome<std::unique_ptr<ZonedStore>>> ZonedStore::open(BlockNode& child,
                                                            const OpenOptions& options) {
    std::unique_ptr<ZonedStore> store(new ZonedStore(child));
    co_await ok(store->load(options));
    co_return store;
}

Task<Outcome<void>> ZonedStore::load(OpenOptions options) {
    const FoundSuperblock found = co_await ok(find_superblock(child_));
    superblock_ = found.superblock;
    newest_copy_ = found.copy;
    layout_ = layout_of(superblock_.geometry);
    if (layout_.image_size > child_.info().size) {
        co_return failure(fmt::format("'{}' is truncated: it has {} bytes, its superblock says {}",
                                      child_.describe(), child_.info().size, layout_.image_size),
                          Errc::corrupt);
    }
    if (!options.read_only && superblock_.read_only_features != 0) {
        co_return failure(fmt::format("'{}' uses features of a later version that this zbdkit can "
                                      "only read: expected read-only=on",
                                      child_.describe()),
                          Errc::read_only);
    }
    recovery_ = recovery_of(superblock_, options.boot_id);
    const std::vector<std::uint64_t> committed = co_await ok(read_commit_pages());
    co_await ok(live_.open(layout_, options.read_only));
    co_await ok(compare_with_live(committed));
    co_await ok(adopt(committed));
    if (options.read_only) {
        take_dirty_pages();  // what differs from the commit pages stays in the copy
        co_return Outcome<void>{};
    }
    if (superblock_.condition == Condition::in_use && superblock_.boot_id == Uuid{}) {
        const Result<void> rewritten = co_await rewrite_commit_pages();
        if (!rewritten) {
            co_return failure(fmt::format("cannot write the zone states of '{}' once more after a "
                                          "failed sync",
                                          child_.describe()),
                              rewritten.error());
        }
    }
    // Before the image says that its live table counts, that is as it should be.
    if (live_.has_unpublished()) {
        const Result<void> published = co_await live_.publish();
        if (!published) {
            co_return failure(fmt::format("cannot write the live table of '{}'", child_.describe()),
                              published.error());
        }
    }
    // A commit that was under way when the daemon died may have reached the storage without the
    // live table. What is served from here on must not be overtaken by it at a later power loss.
    // And what a power loss tore is whole again before the image counts as in use.
    if (!is_committed()) {
        const Result<void> settled = co_await flush();
        if (!settled) {
            co_return failure(
                fmt::format("cannot settle the zone states of '{}'", child_.describe()),
                settled.error());
        }
    }
    superblock_.condition = Condition::in_use;
    superblock_.boot_id = child_.info().durable_on_completion ? kEveryBoot : options.boot_id;
    co_return co_await write_superblock();
}

Task<Outcome<std::vector<std::uint64_t>>> ZonedStore::read_commit_pages() {
    const ZoneGeometry& geometry = superblock_.geometry;
    std::vector<std::uint64_t> words(geometry.zone_count());
    pages_.resize(layout_.page_count);
    AlignedBuffer buffer(std::size_t{std::min(kPagesPerRead, layout_.page_count)} * kSlots *
                         kPageSize);
    std::uint32_t unread_slots = 0;
    for (std::uint32_t first = 0; first < layout_.page_count; first += kPagesPerRead) {
        const std::uint32_t count = std::min(kPagesPerRead, layout_.page_count - first);
        const MutableBytes chunk = buffer.bytes().first(std::size_t{count} * kSlots * kPageSize);
        const Result<void> read = co_await read_bytes(child_, layout_.slot_offset(first, 0), chunk);
        if (!read && read.error().code != Errc::io) {
            co_return failure(fmt::format("cannot read the zone states of '{}'", child_.describe()),
                              read.error());
        }
        for (std::uint32_t page = first; page < first + count; ++page) {
            const std::size_t at = std::size_t{page - first} * kSlots * kPageSize;
            const MutableBytes slots = chunk.subspan(at, std::size_t{kSlots} * kPageSize);
            // One bad sector fails a whole chunk: slot by slot its neighbours can be read.
            SlotErrors unread{};
            if (!read) unread = co_await read_slots(page, slots);
            const auto entries = std::span(words).subspan(std::size_t{page} * kZonesPerPage,
                                                          entries_of_page(geometry, page));
            co_await ok(take_page(page, slots, unread, entries));
            if ((unread[0] || unread[1]) && ++unread_slots == 1) {
                spdlog::warn("'{}': a slot of commit page {} cannot be read: {}", child_.describe(),
                             page, describe(unread[0] ? *unread[0] : *unread[1]));
            }
        }
    }
    if (unread_slots > 1) {
        spdlog::warn("'{}': {} slots in all cannot be read", child_.describe(), unread_slots);
    }
    co_return words;
}

Task<ZonedStore::SlotErrors> ZonedStore::read_slots(std::uint32_t page, MutableBytes slots) {
    SlotErrors errors{};
    for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
        const MutableBytes bytes = slots.subspan(std::size_t{slot} * kPageSize, kPageSize);
        const Result<void> read =
            co_await read_bytes(child_, layout_.slot_offset(page, slot), bytes);
        if (!read) errors.at(slot) = read.error();
    }
    co_return errors;
}

/// Takes the words of the slot that counts.
Outcome<void> ZonedStore::take_page(std::uint32_t page, ConstBytes slots, const SlotErrors& unread,
                                    std::span<std::uint64_t> words) {
    const auto entries = static_cast<std::uint32_t>(words.size());
    const auto place = [page, entries] {
        const std::uint32_t first = page * kZonesPerPage;
        return fmt::format("commit page {} (zones {} to {})", page, first, first + entries - 1);
    };
    PageMeta& meta = pages_.at(page);
    bool has_blank = false;
    bool has_torn = false;
    std::optional<Error> error;
    for (std::uint8_t slot = 0; slot < kSlots; ++slot) {
        const ConstBytes bytes = slots.subspan(std::size_t{slot} * kPageSize, kPageSize);
        if (unread.at(slot)) {
            error = unread.at(slot);
            continue;
        }
        const auto commit = decode_commit_page(bytes, superblock_.uuid, page, entries);
        if (!commit) {
            has_blank = has_blank || is_blank(bytes);
            has_torn = has_torn || !is_blank(bytes);
        }
        if (!commit || commit->sequence <= meta.sequence) continue;
        meta = {.sequence = commit->sequence, .slot = slot};
        std::copy_n(commit->words.begin(), entries, words.begin());
    }
    if (meta.sequence == 0) {
        return failure(
            fmt::format("'{}' is damaged: both copies of {} are unreadable{}", child_.describe(),
                        place(), error ? ": " + describe(*error) : ""),
            Errc::corrupt);
    }
    // One that cannot be read may have been the newer. The live table tells whether it was: it
    // counts where only the daemon died, and a clean image is compared with it.
    if (error && recovery_ == Recovery::power_loss) {
        return failure(fmt::format("'{}' is damaged: a slot of {} cannot be read and may have been "
                                   "the newer one: zbdkit check says what mends it: {}",
                                   child_.describe(), place(), describe(*error)),
                       Errc::corrupt);
    }
    // The second slot of a new page was never written.
    has_torn = has_torn || (has_blank && meta.sequence > 1);
    meta.has_bad_slot = has_torn || error;
    // Written anew before anything is served: a power loss would leave an image that is refused
    // because of the slot that cannot be read; and a torn one would be called damage later.
    if (error || (has_torn && recovery_ == Recovery::power_loss)) {
        mark_dirty(page * kZonesPerPage);
    }
    return {};
}

/// Recognises damage that one of the two tables alone does not show. Before anything is changed:
/// what mends it is in the other one.
Outcome<void> ZonedStore::compare_with_live(const std::vector<std::uint64_t>& committed) const {
    for (std::uint32_t zone = 0; zone < committed.size(); ++zone) {
        const std::uint32_t page = zone / kZonesPerPage;
        const bool has_bad_slot = pages_.at(page).has_bad_slot;
        const std::uint64_t live = live_.get(zone);
        // Nothing can have torn a slot of a clean image, whose live table has what the newer said.
        if (recovery_ == Recovery::clean && has_bad_slot && live != committed[zone]) {
            const std::uint32_t first = page * kZonesPerPage;
            return failure(
                fmt::format("'{}' is damaged: a slot of commit page {} (zones {} to {}) is "
                            "unreadable and was the newer one: zbdkit check says what mends it",
                            child_.describe(), page, first,
                            first + entries_of_page(superblock_.geometry, page) - 1),
                Errc::corrupt);
        }
        // Words are in the live table before they are committed, and a reset is so in both before
        // the zone is used again.
        const std::uint64_t live_end = stored_data_end(live);
        const std::uint64_t committed_end = stored_data_end(committed[zone]);
        if (recovery_ == Recovery::daemon_death && !has_bad_slot && live_end < committed_end &&
            decode_word(committed[zone])) {
            return failure(
                fmt::format("'{}' is damaged: the live table ends the data of zone {} at {}, of "
                            "which {} was committed: zbdkit check says what mends it",
                            child_.describe(), zone, live_end, committed_end),
                Errc::corrupt);
        }
    }
    return {};
}

/// Fills the live table from what counts.
Outcome<void> ZonedStore::adopt(const std::vector<std::uint64_t>& committed) {
    for (std::uint32_t zone = 0; zone < committed.size(); ++zone) {
        const bool from_live = recovery_ == Recovery::daemon_death;
        const std::uint64_t found = from_live ? live_.get(zone) : committed[zone];
        const Result<Word> word = decode_word(found);
        if (!word) {
            return failure(fmt::format("'{}' is damaged: zone {} in the {}", child_.describe(),
                                       zone, from_live ? "live table" : "commit pages"),
                           word.error());
        }
        const std::uint64_t bits =
            recovery_ == Recovery::power_loss ? encode_word(after_power_loss(*word)) : found;
        if (bits != live_.get(zone)) live_.set(zone, bits);
        if (bits != committed[zone]) mark_dirty(zone);
    }
    return {};
}

/// After a failed sync the newer slots may be in the host's cache alone, and the host thinks that
/// it wrote them. They must be durable before the older ones, which are, are written over.
Task<Result<void>> ZonedStore::rewrite_commit_pages() {
    AlignedBuffer buffer(kPageSize);
    for (std::uint32_t page = 0; page < layout_.page_count; ++page) {
        const std::uint64_t offset = layout_.slot_offset(page, pages_.at(page).slot);
        co_await ok(read_bytes(child_, offset, buffer.bytes()));
        co_await ok(write_bytes(child_, offset, buffer.bytes()));
    }
    co_return co_await sync_child();
}

Task<Outcome<void>> ZonedStore::write_superblock() {
    Superblock next = superblock_;
    ++next.sequence;
    AlignedBuffer buffer(kPageSize);
    std::ranges::copy(encode_superblock(next), buffer.bytes().begin());
    // The copy that counts is left alone until the other one, which may be damaged, is durable. It
    // must be durable itself by then: a daemon that died may have left it in the host's cache.
    Result<void> step = co_await sync_child();
    for (std::size_t i = 0; i < kCopies.size() && step; ++i) {
        const auto copy = static_cast<std::uint8_t>(1 - newest_copy_);
        step = co_await write_bytes(child_, kCopies.at(copy), buffer.bytes());
        if (step) step = co_await sync_child();
        if (!step) break;
        newest_copy_ = copy;
        superblock_.sequence = next.sequence;
    }
    if (!step) {
        co_return failure(fmt::format("cannot write the superblock of '{}'", child_.describe()),
                          step.error());
    }
    co_return Outcome<void>{};
}

// --- Words --------------------------------------------------------------------------------------

void ZonedStore::mark_dirty(std::uint32_t zone) {
    const std::uint32_t page = zone / kZonesPerPage;
    if (std::exchange(pages_.at(page).dirty, true)) return;
    dirty_pages_.push_back(page);
}

Result<Word> ZonedStore::word(ZoneIndex zone) const {
    return decode_word(live_.get(to_number(zone)));
}

void ZonedStore::put(ZoneIndex zone, const Word& word) {
    live_.set(to_number(zone), encode_word(word));
    mark_dirty(to_number(zone));
}

bool ZonedStore::is_committed(ZoneIndex zone) const {
    return !rounds_.is_running() && !pages_.at(to_number(zone) / kZonesPerPage).dirty;
}

// --- Rounds -------------------------------------------------------------------------------------

Task<Result<void>> ZonedStore::flush() { return rounds_.join(); }

Task<Result<void>> ZonedStore::commit(std::span<const Change> changes) {
    staged_.insert(staged_.end(), changes.begin(), changes.end());
    return rounds_.join();
}

std::vector<std::uint32_t> ZonedStore::take_dirty_pages() {
    for (const std::uint32_t page : dirty_pages_) pages_.at(page).dirty = false;
    return std::exchange(dirty_pages_, {});
}

/// The commit pages as the round writes them: the live words, and the round's changes over them.
AlignedBuffer ZonedStore::images_of(std::span<const std::uint32_t> pages,
                                    std::span<const Change> changes) const {
    AlignedBuffer images(pages.size() * kPageSize);
    std::unordered_map<std::uint32_t, std::uint64_t> changed;
    for (const Change& change : changes) {
        changed[to_number(change.zone)] = encode_word(change.word);
    }
    for (std::size_t i = 0; i < pages.size(); ++i) {
        CommitPage commit{.index = pages[i],
                          .sequence = pages_.at(pages[i]).sequence + 1,
                          .uuid = superblock_.uuid,
                          .entry_count = entries_of_page(superblock_.geometry, pages[i])};
        for (std::uint32_t entry = 0; entry < commit.entry_count; ++entry) {
            const std::uint32_t zone = pages[i] * kZonesPerPage + entry;
            const auto change = changed.find(zone);
            commit.words.at(entry) = change == changed.end() ? live_.get(zone) : change->second;
        }
        const Page page = encode_commit_page(commit);
        std::ranges::copy(page, images.bytes().subspan(i * kPageSize).begin());
    }
    return images;
}

Task<Result<void>> ZonedStore::sync_child() {
    Request request = flush_request();
    const Result<void> result = co_await child_.submit(request);
    if (!result && !std::exchange(sync_failed_, true)) co_await distrust();
    co_return result;
}

/// What the host could not write it may drop, while this daemon and its live table go on. So the
/// next open, also in this boot, is to find the image as after a power loss: in use by no boot.
/// Need not be durable, after another boot that is what it finds anyway; so the copy that counts,
/// which is durable, is left alone.
Task<void> ZonedStore::distrust() {
    Superblock superblock = superblock_;
    superblock.condition = Condition::in_use;
    superblock.boot_id = {};
    ++superblock.sequence;
    AlignedBuffer buffer(kPageSize);
    std::ranges::copy(encode_superblock(superblock), buffer.bytes().begin());
    const std::uint64_t other = kCopies.at(1U - newest_copy_);
    const Result<void> written = co_await write_bytes(child_, other, buffer.bytes());
    if (!written) {
        spdlog::error("'{}': a sync failed, and the superblock cannot be told so: {}",
                      child_.describe(), zbdkit::describe(written.error()));
    }
}

/// Each to the slot that does not count yet.
/// @param images  of all pages, one behind the other
Task<Result<void>> ZonedStore::write_commit_pages(std::span<const std::uint32_t> pages,
                                                  MutableBytes images) {
    std::vector<PageWrite> writes;
    for (const std::uint32_t page : pages) {
        const auto other_slot = static_cast<std::uint8_t>(1 - pages_.at(page).slot);
        writes.push_back({.offset = layout_.slot_offset(page, other_slot),
                          .page = images.subspan(writes.size() * kPageSize, kPageSize)});
    }
    co_return co_await write_pages(child_, writes);
}

Task<Result<void>> ZonedStore::run_round() {
    const std::vector<Change> changes = std::exchange(staged_, {});
    if (sync_failed_) {
        co_return fail(Errc::io, "an earlier sync of the image failed: it must be opened again");
    }
    for (const Change& change : changes) mark_dirty(to_number(change.zone));
    // The images are made before the data is synced: they cover only what was complete by then.
    const std::vector<std::uint32_t> pages = take_dirty_pages();
    AlignedBuffer images = images_of(pages, changes);
    // What is committed has outlived the daemon before: at an open after its death the live table
    // is never behind, unless it is damaged.
    Result<void> result;
    if (live_.has_unpublished()) result = co_await live_.publish();
    if (result) result = co_await sync_child();
    if (result) result = co_await write_commit_pages(pages, images.bytes());
    if (result && !pages.empty()) result = co_await sync_child();
    for (const std::uint32_t page : pages) {
        if (!result) {
            mark_dirty(page * kZonesPerPage);
            continue;
        }
        PageMeta& meta = pages_.at(page);
        meta.slot = static_cast<std::uint8_t>(1 - meta.slot);
        ++meta.sequence;
    }
    if (result) {
        for (const Change& change : changes) {
            live_.set(to_number(change.zone), encode_word(change.word));
            if (on_commit_ != nullptr) on_commit_(observer_context_, change);
        }
    }
    co_return result;
}

Task<Outcome<void>> ZonedStore::close() {
    const Result<void> flushed = co_await flush();
    co_await rounds_.drain();
    co_await live_.drain();
    if (!flushed) {
        co_return failure(fmt::format("'{}' is left marked as in use", child_.describe()),
                          flushed.error());
    }
    superblock_.condition = Condition::clean;
    superblock_.boot_id = {};
    co_return co_await write_superblock();
}

}  // namespace zbdkit::zoned
