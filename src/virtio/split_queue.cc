// SPDX-License-Identifier: Apache-2.0
#include "virtio/split_queue.h"

#include <utility>

#include "base/assert.h"
#include "virtio/ring_memory.h"

namespace zbdkit {
namespace {

using ring_memory::full_barrier;
using ring_memory::load;
using ring_memory::store;
using std::memory_order_acquire;
using std::memory_order_relaxed;
using std::memory_order_release;

// Offsets within the available and the used ring.
constexpr std::size_t kFlags = 0;
constexpr std::size_t kIndex = 2;
constexpr std::size_t kEntries = 4;
constexpr std::size_t kAvailableEntrySize = 2;
constexpr std::size_t kUsedEntrySize = 8;

constexpr std::uint16_t kNoInterrupt = 1;  // available.flags
constexpr std::uint16_t kNoNotify = 1;     // used.flags

}  // namespace

SplitQueue::SplitQueue(Key, const Setup& setup)
    : features_(setup.features),
      size_(static_cast<std::uint16_t>(setup.size)),
      addresses_(setup.addresses),
      builder_(setup.max_chain, setup.features.indirect),
      memory_(setup.memory),
      log_(setup.log),
      next_available_(static_cast<std::uint16_t>(setup.base)),
      available_index_(next_available_),
      in_flight_(setup.size) {}

Outcome<std::unique_ptr<VirtQueue>> SplitQueue::make(const Setup& setup) {
    auto queue = std::make_unique<SplitQueue>(Key{}, setup);
    Outcome<Parts> parts = queue->resolve_parts(*setup.memory);
    if (!parts) return std::unexpected(std::move(parts.error()));
    queue->parts_ = *parts;
    // Not the base: with an inflight record the device has taken more than it returned.
    queue->used_index_ = load<std::uint16_t>(parts->used + kIndex, memory_order_relaxed);
    queue->published_index_ = queue->used_index_;
    return queue;
}

Outcome<SplitQueue::Parts> SplitQueue::resolve_parts(const GuestMemory& memory) const {
    const std::uint64_t event = features_.event_idx ? 2 : 0;
    const auto find = [&](const char* name, std::uint64_t address, std::uint64_t length,
                          std::uint64_t alignment) {
        return ring_memory::resolve(memory,
                                    {name, address, length, alignment, addresses_.guest_addresses});
    };
    const Outcome<std::byte*> descriptors =
        find("descriptor table", addresses_.descriptors, Descriptor::kSize * size_, 16);
    if (!descriptors) return std::unexpected(descriptors.error());
    const Outcome<std::byte*> available =
        find("available ring", addresses_.driver, 4 + kAvailableEntrySize * size_ + event, 2);
    if (!available) return std::unexpected(available.error());
    const Outcome<std::byte*> used =
        find("used ring", addresses_.device, 4 + kUsedEntrySize * size_ + event, 4);
    if (!used) return std::unexpected(used.error());
    return Parts{*descriptors, *available, *used};
}

VirtQueue::Pop SplitQueue::break_ring(const char* reason) {
    broken_reason_ = reason;
    return Pop::broken;
}

/// Reads available.idx. What the driver wrote before it is visible afterwards.
/// @return false if that broke the ring
bool SplitQueue::fetch_available_index() {
    available_index_ = load<std::uint16_t>(parts_.available + kIndex, memory_order_acquire);
    if (static_cast<std::uint16_t>(available_index_ - next_available_) <= size_) return true;
    break_ring("available index is more than the queue size ahead");
    return false;
}

/// The index is fetched only when the chains of the last fetch are used up: once per batch.
bool SplitQueue::has_available() {
    if (available_index_ != next_available_) return true;
    return fetch_available_index() && available_index_ != next_available_;
}

VirtQueue::Pop SplitQueue::pop(DescriptorChain& chain) {
    chain.clear();
    if (is_broken()) return Pop::broken;
    if (memory_->is_truncated()) return break_ring("guest memory was truncated");
    if (!has_available()) return is_broken() ? Pop::broken : Pop::empty;

    const std::size_t slot = next_available_ % size_;
    const auto head = load<std::uint16_t>(parts_.available + kEntries + slot * kAvailableEntrySize,
                                          memory_order_relaxed);
    if (head >= size_) return break_ring("head index is not below the queue size");
    if (in_flight_[head]) return break_ring("head index is in flight already");
    ++next_available_;
    return take(head, chain);
}

VirtQueue::Pop SplitQueue::pop_again(std::uint16_t id, std::span<const Descriptor>,
                                     DescriptorChain& chain) {
    chain.clear();
    if (is_broken()) return Pop::broken;
    if (id >= size_) return break_ring("inflight head index is not below the queue size");
    if (in_flight_[id]) return break_ring("inflight head index is in flight already");
    return take(id, chain);
}

VirtQueue::Pop SplitQueue::take(std::uint16_t head, DescriptorChain& chain) {
    in_flight_[head] = true;
    chain.id = head;
    builder_.start(chain, memory_);
    return collect(head) ? Pop::chain : Pop::invalid;
}

/// Follows a chain through the table. [virtio 1.3, 2.7.5]
bool SplitQueue::collect(std::uint16_t head) {
    std::uint16_t index = head;
    for (std::uint32_t taken = 0; taken < size_; ++taken) {
        const Descriptor descriptor =
            ring_memory::load_split_descriptor(parts_.descriptors + index * Descriptor::kSize);
        if ((descriptor.flags & Descriptor::kIndirect) != 0) {
            // Ends the chain, alone or after direct descriptors. [virtio 1.3, 2.7.5.3.2]
            return builder_.add_table(descriptor, ChainBuilder::TableOrder::linked);
        }
        if (!builder_.add_buffer(descriptor)) return false;
        if ((descriptor.flags & Descriptor::kNext) == 0) return true;
        if (descriptor.link >= size_) return builder_.refuse("descriptor link leaves the table");
        index = descriptor.link;
    }
    return builder_.refuse("descriptors form a loop");
}

void SplitQueue::put(const DescriptorChain& chain, std::uint32_t written) {
    ZBDKIT_ASSERT(chain.id < size_ && in_flight_[chain.id]);
    in_flight_[chain.id] = false;

    const std::size_t at = kEntries + (used_index_ % size_) * kUsedEntrySize;
    store<std::uint32_t>(parts_.used + at, chain.id, memory_order_relaxed);
    store<std::uint32_t>(parts_.used + at + 4, written, memory_order_relaxed);
    log_used({at, kUsedEntrySize});
    ++used_index_;
}

void SplitQueue::publish() {
    if (used_index_ == published_index_) return;
    store(parts_.used + kIndex, used_index_, memory_order_release);
    log_used({kIndex, 2});
    unnotified_ += static_cast<std::uint16_t>(used_index_ - published_index_);
    published_index_ = used_index_;
}

bool SplitQueue::take_notification() {
    ZBDKIT_ASSERT(used_index_ == published_index_);
    const std::uint32_t pushed = std::exchange(unnotified_, 0);
    if (pushed == 0) return false;
    // used.idx must be out before we look at what the driver wants, as the driver first says what
    // it wants and then looks at used.idx: one of both sees the other. [virtio 1.3, 2.7.7.2]
    full_barrier();
    if (!std::exchange(notified_before_, true)) return true;
    if (!features_.event_idx) {
        const auto flags = load<std::uint16_t>(parts_.available + kFlags, memory_order_relaxed);
        return (flags & kNoInterrupt) == 0;
    }
    if (pushed > 0xffff) return true;  // went all around, passing any event
    const auto event = load<std::uint16_t>(
        parts_.available + kEntries + kAvailableEntrySize * size_, memory_order_relaxed);
    return ring_memory::passed_event(event, static_cast<std::uint16_t>(used_index_ - pushed),
                                     used_index_);
}

bool SplitQueue::enable_kicks() {
    if (is_broken()) return true;
    if (features_.event_idx) {
        const std::size_t at = kEntries + kUsedEntrySize * size_;
        store(parts_.used + at, next_available_, memory_order_relaxed);
        log_used({at, 2});
    } else {
        store<std::uint16_t>(parts_.used + kFlags, 0, memory_order_relaxed);
        log_used({kFlags, 2});
    }
    // A chain that became available before the driver could see this came without a kick.
    full_barrier();
    return !fetch_available_index() || available_index_ != next_available_;
}

void SplitQueue::disable_kicks() {
    if (features_.event_idx) {
        // The driver kicks when it passes avail_event: there it has been already.
        const std::size_t at = kEntries + kUsedEntrySize * size_;
        store(parts_.used + at, static_cast<std::uint16_t>(next_available_ - 1),
              memory_order_relaxed);
        log_used({at, 2});
        return;
    }
    store(parts_.used + kFlags, kNoNotify, memory_order_relaxed);
    log_used({kFlags, 2});
}

Outcome<void> SplitQueue::set_memory(std::shared_ptr<const GuestMemory> memory) {
    Outcome<Parts> parts = resolve_parts(*memory);
    if (!parts) return std::unexpected(std::move(parts.error()));
    parts_ = *parts;
    memory_ = std::move(memory);
    return {};
}

void SplitQueue::set_log(std::shared_ptr<const DirtyLog> log) { log_ = std::move(log); }

void SplitQueue::log_used(ByteRange within_used_ring) const {
    if (log_ == nullptr || !addresses_.log_used) return;
    log_->mark({addresses_.log_guest_address + within_used_ring.offset, within_used_ring.length});
}

void SplitQueue::log_written(const DescriptorChain& chain, std::uint64_t written) {
    if (log_ != nullptr) mark_written(*log_, chain, written);
}

}  // namespace zbdkit
