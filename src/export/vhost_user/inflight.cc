// SPDX-License-Identifier: Apache-2.0
#include "export/vhost_user/inflight.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <utility>

#include "virtio/ring_position.h"

namespace zbdkit::vhost_user {
namespace {

using Entry = InflightQueue::Entry;

constexpr std::uint16_t kVersion = 1;
constexpr std::uint64_t kStrideAlignment = 64;
/// What every field is aligned to: a region must start at a multiple of it.
constexpr std::uint64_t kFieldAlignment = 8;

struct SplitHeader {
    std::uint64_t features;
    std::uint16_t version;
    std::uint16_t entry_count;
    std::uint16_t last_batch_head;
    std::uint16_t used_index;
};
static_assert(sizeof(SplitHeader) == 16 && offsetof(SplitHeader, used_index) == 14);

struct SplitEntry {
    std::uint8_t inflight;
    std::uint8_t padding[5];
    std::uint16_t next;
    std::uint64_t counter;
};
static_assert(sizeof(SplitEntry) == 16 && offsetof(SplitEntry, next) == 6);

/// Four fields of the packed header that change together: one store, so that no crash finds some of
/// them changed.
struct PackedUsed {
    std::uint16_t index;
    std::uint16_t old_index;
    std::uint8_t wrap;
    std::uint8_t old_wrap;
    std::uint16_t padding;
};
static_assert(sizeof(PackedUsed) == 8 && offsetof(PackedUsed, wrap) == 4);

struct PackedHeader {
    std::uint64_t features;
    std::uint16_t version;
    std::uint16_t entry_count;
    std::uint16_t free_head;
    std::uint16_t old_free_head;
    std::uint64_t used;  ///< a PackedUsed
    std::uint64_t padding;
};
static_assert(sizeof(PackedHeader) == 32 && offsetof(PackedHeader, used) == 16);

struct PackedEntry {
    std::uint8_t inflight;
    std::uint8_t padding;
    std::uint16_t next;
    std::uint16_t last;
    std::uint16_t count;
    std::uint64_t counter;
    std::uint16_t id;
    std::uint16_t flags;
    std::uint32_t length;
    std::uint64_t address;
};
static_assert(sizeof(PackedEntry) == 32 && offsetof(PackedEntry, address) == 24);

/// Reads a field of the region once.
template <class T>
T get(T& field) {
    return std::atomic_ref<T>(field).load(std::memory_order_acquire);
}
/// Writes a field of the region whole, after everything written before.
template <class T>
void put(T& field, std::type_identity_t<T> value) {
    std::atomic_ref<T>(field).store(value, std::memory_order_release);
}

std::uint64_t split_stride(std::uint16_t entries) {
    return round_up(sizeof(SplitHeader) + entries * sizeof(SplitEntry), kStrideAlignment);
}
std::uint64_t packed_stride(std::uint16_t entries) {
    return round_up(sizeof(PackedHeader) + entries * sizeof(PackedEntry), kStrideAlignment);
}
/// Where the slots start: behind the queues, whichever kind they are.
std::uint64_t slots_offset(InflightShape shape) {
    return shape.queue_count * packed_stride(shape.queue_size);
}

std::unexpected<Failure> no_region(const std::string& why) {
    return failure("the inflight region " + why, Errc::corrupt);
}

/// Header and entries of one queue. `memory` is aligned to kFieldAlignment and long enough.
template <class Header, class EntryType>
struct QueueMemory {
    Header& header;
    std::span<EntryType> entries;

    static QueueMemory at(std::byte* memory, std::uint16_t entry_count) {
        void* const header = memory;
        void* const entries = memory + sizeof(Header);
        return {*static_cast<Header*>(header), {static_cast<EntryType*>(entries), entry_count}};
    }
    [[nodiscard]] bool is_new() const { return get(header.version) == 0; }
    /// Errors: versions and sizes that are not these.
    [[nodiscard]] Outcome<void> check_header() const {
        const std::uint16_t version = get(header.version);
        const std::uint16_t count = get(header.entry_count);
        if (version == kVersion && count == entries.size()) return {};
        return no_region(fmt::format("has version {} and {} entries, expected {} and {}", version,
                                     count, kVersion, entries.size()));
    }
};

/// An entry in flight, to be sorted by age.
struct Aged {
    std::uint64_t counter;
    InflightQueue::Left left;
};

/// @return the chains in the order in which they were taken
std::vector<InflightQueue::Left> in_order(std::vector<Aged> found) {
    std::ranges::sort(found, {}, &Aged::counter);
    std::vector<InflightQueue::Left> left;
    for (Aged& one : found) left.push_back(std::move(one.left));
    return left;
}

// --- split rings --------------------------------------------------------------------------------

using SplitMemory = QueueMemory<SplitHeader, SplitEntry>;

class SplitInflight final : public InflightQueue {
  public:
    SplitInflight(SplitMemory memory, std::span<WriteSlot> slots)
        : memory_(memory), slots_(slots) {}

    [[nodiscard]] Outcome<void> start(const VirtQueue::Setup& setup) {
        const Outcome<std::uint16_t> used = split_used_index(setup);
        if (!used) return std::unexpected(used.error());
        used_index_ = *used;
        const Outcome<void> ready = memory_.is_new() ? initialise() : resume(setup.size);
        if (!ready) return ready;
        // Every chain below used.idx was returned; of those above, the ones in flight were taken.
        base_ = static_cast<std::uint16_t>(used_index_ + left_.size());
        return {};
    }

    [[nodiscard]] Entry took(const DescriptorChain& chain,
                             std::span<const Descriptor> /*descriptors*/) override {
        WriteRecord(slots_[chain.id]).withdrawn();
        SplitEntry& entry = memory_.entries[chain.id];
        put(entry.counter, next_counter_++);
        put(entry.inflight, 1);
        return chain.id;
    }

    void before_push(Entry entry) override {
        put(memory_.entries[entry].next, get(memory_.header.last_batch_head));
        put(memory_.header.last_batch_head, entry);
    }

    void after_push(Entry entry) override {
        put(memory_.entries[entry].inflight, 0);
        put(memory_.header.used_index, ++used_index_);
    }

  private:
    Outcome<void> initialise() {
        put(memory_.header.entry_count, static_cast<std::uint16_t>(memory_.entries.size()));
        put(memory_.header.used_index, used_index_);
        put(memory_.header.version, kVersion);
        return {};
    }

    Outcome<void> resume(std::uint32_t ring_size) {
        if (const Outcome<void> checked = memory_.check_header(); !checked) return checked;
        if (const Outcome<void> settled = settle_last_batch(); !settled) return settled;
        std::vector<Aged> found;
        for (std::size_t i = 0; i < memory_.entries.size(); ++i) {
            if (!is_marked(memory_.entries[i])) continue;
            if (i >= ring_size) return no_region("has entries in flight beyond the ring");
            const auto head = static_cast<std::uint16_t>(i);
            found.push_back({get(memory_.entries[i].counter), {head, head, {}}});
        }
        left_ = in_order(std::move(found));
        next_counter_ = left_.empty() ? 0 : get(memory_.entries[left_.back().entry].counter) + 1;
        return {};
    }

    /// The ring says that more chains were returned than the region knows: the last ones were,
    /// though their entries may still be marked.
    Outcome<void> settle_last_batch() {
        const auto returned =
            static_cast<std::uint16_t>(used_index_ - get(memory_.header.used_index));
        std::ptrdiff_t marked = std::ranges::count_if(memory_.entries, is_marked);
        if (returned > memory_.entries.size() && marked != 0) {
            return no_region(fmt::format("is {} chains behind the ring", returned));
        }
        std::uint16_t at = get(memory_.header.last_batch_head);
        for (std::uint16_t i = 0; i < returned && marked != 0; ++i) {
            if (at >= memory_.entries.size()) return no_region("has a batch that leaves it");
            if (is_marked(memory_.entries[at])) --marked;
            put(memory_.entries[at].inflight, 0);
            at = get(memory_.entries[at].next);
        }
        put(memory_.header.used_index, used_index_);
        return {};
    }

    static bool is_marked(SplitEntry& entry) { return get(entry.inflight) != 0; }

    SplitMemory memory_;
    std::span<WriteSlot> slots_;
    std::uint16_t used_index_ = 0;
    std::uint64_t next_counter_ = 0;
};

// --- packed rings -------------------------------------------------------------------------------

using PackedMemory = QueueMemory<PackedHeader, PackedEntry>;

/// The lists are also kept here: at run time nothing is read back from the region.
class PackedInflight final : public InflightQueue {
  public:
    PackedInflight(PackedMemory memory, std::span<WriteSlot> slots)
        : memory_(memory),
          slots_(slots),
          next_(memory.entries.size()),
          last_(memory.entries.size()),
          count_(memory.entries.size()) {}

    [[nodiscard]] Outcome<void> start(const VirtQueue::Setup& setup) {
        const Outcome<void> ready = memory_.is_new() ? initialise(setup) : resume(setup);
        if (!ready) return ready;
        // The device returns as many descriptors as it took: what lies between is in flight.
        std::uint32_t taken = 0;
        for (const Left& left : left_) taken += static_cast<std::uint32_t>(left.descriptors.size());
        if (taken > setup.size) return no_region("has more descriptors in flight than the ring");
        const std::uint16_t available = used_.advanced(taken, setup.size).encode();
        base_ = available | (RingBase{used_.encode()} << 16);
        ring_size_ = setup.size;
        return {};
    }

    [[nodiscard]] Entry took(const DescriptorChain& /*chain*/,
                             std::span<const Descriptor> descriptors) override {
        const Entry head = free_head_;
        for (const Descriptor& descriptor : descriptors) {
            last_[head] = free_head_;
            fill(memory_.entries[free_head_], descriptor);
            free_head_ = next_[free_head_];
        }
        count_[head] = static_cast<std::uint16_t>(descriptors.size());
        WriteRecord(slots_[head]).withdrawn();
        PackedEntry& entry = memory_.entries[head];
        put(entry.last, last_[head]);
        put(entry.count, count_[head]);
        put(entry.counter, next_counter_++);
        // In flight as soon as the old free list no longer has it, but not before.
        put(entry.inflight, 1);
        put(memory_.header.free_head, free_head_);
        put(memory_.header.old_free_head, free_head_);
        return head;
    }

    void before_push(Entry entry) override {
        const PackedPosition old = used_;
        used_ = used_.advanced(count_[entry], ring_size_);
        next_[last_[entry]] = free_head_;
        put(memory_.entries[last_[entry]].next, free_head_);
        free_head_ = entry;
        put(memory_.header.free_head, entry);
        put_used(old);
    }

    void after_push(Entry entry) override {
        put(memory_.entries[entry].inflight, 0);
        put(memory_.header.old_free_head, entry);
        put_used(used_);
    }

  private:
    static void fill(PackedEntry& entry, const Descriptor& descriptor) {
        put(entry.id, descriptor.link);
        put(entry.flags, descriptor.flags);
        put(entry.length, descriptor.length);
        put(entry.address, descriptor.address);
    }

    void put_used(PackedPosition old) {
        const PackedUsed used{.index = used_.index,
                              .old_index = old.index,
                              .wrap = used_.wrap,
                              .old_wrap = old.wrap,
                              .padding = 0};
        put(memory_.header.used, std::bit_cast<std::uint64_t>(used));
    }

    Outcome<void> initialise(const VirtQueue::Setup& setup) {
        const auto count = static_cast<std::uint16_t>(memory_.entries.size());
        for (std::uint16_t i = 0; i < count; ++i) {
            next_[i] = static_cast<std::uint16_t>(i + 1);
            put(memory_.entries[i].next, next_[i]);
        }
        used_ = PackedPosition::decode(static_cast<std::uint16_t>(setup.base >> 16));
        put_used(used_);
        put(memory_.header.entry_count, count);
        put(memory_.header.version, kVersion);
        return {};
    }

    Outcome<void> resume(const VirtQueue::Setup& setup) {
        if (const Outcome<void> checked = memory_.check_header(); !checked) return checked;
        if (const Outcome<void> settled = settle_last_push(setup); !settled) return settled;
        std::vector<bool> seen(memory_.entries.size());
        if (const Outcome<void> walked = walk_free_list(seen); !walked) return walked;
        return collect_left(seen);
    }

    /// A push that was under way is completed if the ring shows its chain as returned, else undone.
    Outcome<void> settle_last_push(const VirtQueue::Setup& setup) {
        const auto used = std::bit_cast<PackedUsed>(get(memory_.header.used));
        const PackedPosition now{used.index, used.wrap != 0};
        const PackedPosition old{used.old_index, used.old_wrap != 0};
        if (now.index >= setup.size) return no_region("has a used index beyond the ring");
        const Outcome<bool> returned = packed_is_used(setup, old);
        if (!returned) return std::unexpected(returned.error());
        if (now != old && *returned) {
            put(memory_.header.old_free_head, get(memory_.header.free_head));
            used_ = now;
        } else {
            put(memory_.header.free_head, get(memory_.header.old_free_head));
            used_ = old;
        }
        put_used(used_);
        return {};
    }

    /// What is free is not in flight, whatever its mark says.
    Outcome<void> walk_free_list(std::vector<bool>& seen) {
        free_head_ = get(memory_.header.free_head);
        for (std::uint16_t at = free_head_; at < seen.size(); at = next_[at]) {
            if (seen[at]) return no_region("has a free list that forms a loop");
            seen[at] = true;
            put(memory_.entries[at].inflight, 0);
            next_[at] = get(memory_.entries[at].next);
        }
        return {};
    }

    Outcome<void> collect_left(std::vector<bool>& seen) {
        std::vector<Aged> found;
        for (std::size_t i = 0; i < seen.size(); ++i) {
            if (seen[i] || get(memory_.entries[i].inflight) == 0) continue;
            Outcome<Left> left = read_chain(static_cast<Entry>(i), seen);
            if (!left) return std::unexpected(left.error());
            found.push_back({get(memory_.entries[i].counter), std::move(*left)});
        }
        if (std::ranges::count(seen, false) != 0) return no_region("has entries in no list");
        left_ = in_order(std::move(found));
        next_counter_ = left_.empty() ? 0 : get(memory_.entries[left_.back().entry].counter) + 1;
        return {};
    }

    Outcome<Left> read_chain(Entry head, std::vector<bool>& seen) {
        Left left{.entry = head, .id = 0, .descriptors = {}};
        count_[head] = get(memory_.entries[head].count);
        Entry at = head;
        for (std::uint16_t i = 0; i < count_[head]; ++i) {
            if (at >= seen.size() || seen[at]) return no_region("has a chain that leaves it");
            seen[at] = true;
            PackedEntry& entry = memory_.entries[at];
            left.descriptors.push_back({.address = get(entry.address),
                                        .length = get(entry.length),
                                        .flags = get(entry.flags),
                                        .link = get(entry.id)});
            last_[head] = at;
            next_[at] = get(entry.next);
            at = next_[at];
        }
        if (left.descriptors.empty() || get(memory_.entries[head].last) != last_[head]) {
            return no_region("has a chain of another length than it says");
        }
        left.id = left.descriptors.back().link;
        return left;
    }

    PackedMemory memory_;
    std::span<WriteSlot> slots_;
    PackedPosition used_;
    std::uint32_t ring_size_ = 0;
    std::uint16_t free_head_ = 0;
    std::vector<Entry> next_;           // by entry, for all
    std::vector<Entry> last_;           // by the first entry of a chain in flight
    std::vector<std::uint16_t> count_;  // the same
    std::uint64_t next_counter_ = 0;
};

template <class Queue>
Outcome<std::unique_ptr<InflightQueue>> started(std::unique_ptr<Queue> queue,
                                                const VirtQueue::Setup& setup) {
    const Outcome<void> ready = queue->start(setup);
    if (!ready) return std::unexpected(ready.error());
    std::unique_ptr<InflightQueue> made = std::move(queue);
    return made;
}

}  // namespace

std::uint64_t inflight_size(InflightShape shape) {
    const std::uint64_t slots = std::uint64_t{shape.queue_count} * shape.queue_size;
    return slots_offset(shape) + slots * sizeof(WriteSlot);
}

Outcome<UniqueFd> make_inflight_file(InflightShape shape) {
    UniqueFd file(::memfd_create("zbdkit-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    const auto size = static_cast<off_t>(inflight_size(shape));
    if (!file || ::ftruncate(file.get(), size) != 0 ||
        ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
        return failure("cannot make an inflight region", error_from_errno(errno, "memfd"));
    }
    return file;
}

InflightRegion::InflightRegion(Key, std::shared_ptr<const MemoryRegion> mapping,
                               InflightShape shape)
    : mapping_(std::move(mapping)),
      shape_(shape),
      earlier_(std::size_t{shape.queue_count} * shape.queue_size) {}

Outcome<std::unique_ptr<InflightRegion>> InflightRegion::map(const SetInflightFd& message, int fd) {
    const std::uint64_t needed = inflight_size(message.shape);
    if (message.range.length < needed) {
        return failure(fmt::format("the inflight region has {} bytes, expected {} for {} queues of "
                                   "{}",
                                   message.range.length, needed, message.shape.queue_count,
                                   message.shape.queue_size),
                       Errc::out_of_range);
    }
    if (!is_aligned(message.range.offset, kFieldAlignment)) {
        return failure(fmt::format("the inflight region is at offset {}, expected a multiple of {}",
                                   message.range.offset, kFieldAlignment),
                       Errc::misaligned);
    }
    const MemoryRegion::Place place{.size = needed, .fd_offset = message.range.offset};
    Outcome<std::shared_ptr<const MemoryRegion>> mapping = MemoryRegion::map(place, fd);
    if (!mapping) return failure("the inflight region as " + mapping.error().message);
    return std::make_unique<InflightRegion>(Key{}, std::move(*mapping), message.shape);
}

std::span<WriteSlot> InflightRegion::slots(unsigned queue) {
    const std::uint64_t offset = queue * std::uint64_t{shape_.queue_size} * sizeof(WriteSlot);
    void* const first = mapping_->memory() + slots_offset(shape_) + offset;
    return {static_cast<WriteSlot*>(first), shape_.queue_size};
}

std::span<EarlierWrite> InflightRegion::earlier(unsigned queue) {
    return std::span(earlier_).subspan(std::size_t{queue} * shape_.queue_size, shape_.queue_size);
}

Outcome<std::unique_ptr<InflightQueue>> InflightRegion::attach(unsigned queue,
                                                               const VirtQueue::Setup& setup) {
    if (queue >= shape_.queue_count || setup.size > shape_.queue_size) {
        return failure(fmt::format("the inflight region is for {} queues of {}, too small for "
                                   "queue {} of {}",
                                   shape_.queue_count, shape_.queue_size, queue, setup.size),
                       Errc::out_of_range);
    }
    const std::uint64_t stride =
        setup.features.packed ? packed_stride(shape_.queue_size) : split_stride(shape_.queue_size);
    std::byte* const memory = mapping_->memory() + queue * stride;
    if (setup.features.packed) {
        const PackedMemory packed = PackedMemory::at(memory, shape_.queue_size);
        return started(std::make_unique<PackedInflight>(packed, slots(queue)), setup);
    }
    const SplitMemory split = SplitMemory::at(memory, shape_.queue_size);
    return started(std::make_unique<SplitInflight>(split, slots(queue)), setup);
}

}  // namespace zbdkit::vhost_user
