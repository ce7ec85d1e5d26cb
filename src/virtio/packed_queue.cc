// SPDX-License-Identifier: Apache-2.0
#include "virtio/packed_queue.h"

#include <fmt/format.h>

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

// Offsets within a descriptor of the ring.
constexpr std::size_t kLength = 8;
constexpr std::size_t kId = 12;
constexpr std::size_t kFlags = 14;
constexpr std::uint16_t kAvailable = 1U << 7;
constexpr std::uint16_t kUsed = 1U << 15;

// Event suppression areas. [virtio 1.3, 2.8.14]
constexpr std::uint64_t kAreaSize = 4;
constexpr std::size_t kEvent = 0;
constexpr std::size_t kEventFlags = 2;
constexpr std::uint16_t kEventsEnabled = 0;
constexpr std::uint16_t kEventsDisabled = 1;
constexpr std::uint16_t kEventsAtDescriptor = 2;
constexpr std::uint16_t kEventFlagsMask = 3;

constexpr std::uint16_t kWrapBit = 1U << 15;
constexpr std::size_t kIdCount = 65536;

}  // namespace

void PackedQueue::Position::advance(std::uint32_t count, std::uint32_t size) {
    const std::uint32_t next = index + count;  // count is at most size
    if (next >= size) wrap = !wrap;
    index = static_cast<std::uint16_t>(next >= size ? next - size : next);
}

std::uint16_t PackedQueue::Position::encode() const {
    return static_cast<std::uint16_t>(index | (wrap ? kWrapBit : 0));
}

PackedQueue::Position PackedQueue::Position::decode(std::uint16_t encoded) {
    return {static_cast<std::uint16_t>(encoded & ~kWrapBit), (encoded & kWrapBit) != 0};
}

PackedQueue::PackedQueue(Key, const Setup& setup)
    : features_(setup.features),
      size_(setup.size),
      addresses_(setup.addresses),
      builder_(setup.max_chain, setup.features.indirect),
      memory_(setup.memory),
      log_(setup.log),
      available_(Position::decode(static_cast<std::uint16_t>(setup.base))),
      used_(Position::decode(static_cast<std::uint16_t>(setup.base >> 16))),
      in_flight_(kIdCount) {
    taken_.reserve(setup.size);
}

Outcome<std::unique_ptr<VirtQueue>> PackedQueue::make(const Setup& setup) {
    auto queue = std::make_unique<PackedQueue>(Key{}, setup);
    if (queue->available_.index >= setup.size || queue->used_.index >= setup.size) {
        return failure(fmt::format("ring base {:#x}: an index is not below the queue size {}",
                                   setup.base, setup.size),
                       Errc::out_of_range);
    }
    Outcome<Parts> parts = queue->resolve_parts(*setup.memory);
    if (!parts) return std::unexpected(std::move(parts.error()));
    queue->parts_ = *parts;
    return queue;
}

Outcome<PackedQueue::Parts> PackedQueue::resolve_parts(const GuestMemory& memory) const {
    const auto find = [&](const char* name, std::uint64_t address, std::uint64_t length,
                          std::uint64_t alignment) {
        return ring_memory::resolve(memory,
                                    {name, address, length, alignment, addresses_.guest_addresses});
    };
    const Outcome<std::byte*> descriptors =
        find("descriptor ring", addresses_.descriptors, Descriptor::kSize * size_, 16);
    if (!descriptors) return std::unexpected(descriptors.error());
    const Outcome<std::byte*> driver = find("driver event area", addresses_.driver, kAreaSize, 4);
    if (!driver) return std::unexpected(driver.error());
    const Outcome<std::byte*> device = find("device event area", addresses_.device, kAreaSize, 4);
    if (!device) return std::unexpected(device.error());
    return Parts{*descriptors, *driver, *device, guest_address(memory, addresses_.descriptors),
                 guest_address(memory, addresses_.device)};
}

/// @param address  of a ring part that was resolved
std::uint64_t PackedQueue::guest_address(const GuestMemory& memory, std::uint64_t address) const {
    if (addresses_.guest_addresses) return address;
    return memory.guest_address(address).value_or(0);
}

VirtQueue::Pop PackedQueue::break_ring(const char* reason) {
    broken_reason_ = reason;
    return Pop::broken;
}

bool PackedQueue::is_available(std::uint16_t flags) const {
    const bool available = (flags & kAvailable) != 0;
    const bool used = (flags & kUsed) != 0;
    return available == available_.wrap && used != available_.wrap;
}

VirtQueue::Pop PackedQueue::pop(DescriptorChain& chain) {
    chain.clear();
    if (is_broken()) return Pop::broken;
    if (memory_->is_truncated()) return break_ring("guest memory was truncated");
    const std::uint16_t first_flags = ring_memory::load_packed_flags(slot(available_.index));
    if (!is_available(first_flags)) return Pop::empty;

    if (!take_descriptors(first_flags)) return Pop::broken;
    const std::uint16_t id = taken_.back().link;  // only the last one's counts [2.8.6]
    if (in_flight_[id]) return break_ring("buffer id is in flight already");
    available_.advance(static_cast<std::uint32_t>(taken_.size()), size_);
    return take(id, chain);
}

/// Copies the ring's descriptors of a chain to taken_. The driver makes the first one available
/// last, so the others are there.
/// @return false if that broke the ring
bool PackedQueue::take_descriptors(std::uint16_t first_flags) {
    taken_.clear();
    taken_.push_back(ring_memory::load_packed_descriptor(slot(available_.index), first_flags));
    Position at = available_;
    while ((taken_.back().flags & Descriptor::kNext) != 0) {
        if (taken_.size() == size_) {
            break_ring("chain does not end within the queue size");
            return false;
        }
        at.advance(1, size_);
        const std::byte* const next = slot(at.index);
        taken_.push_back(
            ring_memory::load_packed_descriptor(next, ring_memory::load_packed_flags(next)));
    }
    if (taken_.size() > size_ - slots_in_flight_) {
        break_ring("more descriptors are available than the queue has");
        return false;
    }
    return true;
}

VirtQueue::Pop PackedQueue::pop_again(std::uint16_t id, std::span<const Descriptor> ring,
                                      DescriptorChain& chain) {
    chain.clear();
    if (is_broken()) return Pop::broken;
    if (ring.empty() || ring.size() > size_ - slots_in_flight_) {
        return break_ring("inflight chain has no descriptors, or more than the queue");
    }
    if (in_flight_[id]) return break_ring("inflight buffer id is in flight already");
    taken_.assign(ring.begin(), ring.end());
    return take(id, chain);
}

VirtQueue::Pop PackedQueue::take(std::uint16_t id, DescriptorChain& chain) {
    in_flight_[id] = true;
    slots_in_flight_ += static_cast<std::uint32_t>(taken_.size());
    chain.id = id;
    chain.descriptor_count = static_cast<std::uint16_t>(taken_.size());
    builder_.start(chain, memory_);
    return collect() ? Pop::chain : Pop::invalid;
}

bool PackedQueue::collect() {
    for (const Descriptor& descriptor : taken_) {
        if ((descriptor.flags & Descriptor::kIndirect) == 0) {
            if (!builder_.add_buffer(descriptor)) return false;
        } else if (taken_.size() != 1) {
            return builder_.refuse("indirect descriptor in a chain of several");
        } else {
            return builder_.add_table(descriptor, ChainBuilder::TableOrder::sequential);
        }
    }
    return true;
}

void PackedQueue::put(const DescriptorChain& chain, std::uint32_t written) {
    ZBDKIT_ASSERT(in_flight_[chain.id] && chain.descriptor_count <= slots_in_flight_);
    in_flight_[chain.id] = false;
    slots_in_flight_ -= chain.descriptor_count;

    // One used descriptor for the whole chain, over slots whose chains were all copied. The
    // flags come last: they make it visible. The driver looks at the first one that it has not
    // seen, so the flags of that one make all of a batch visible.
    std::byte* const at = slot(used_.index);
    const std::uint16_t owner = used_.wrap ? kAvailable | kUsed : 0;
    const auto flags = static_cast<std::uint16_t>(owner | (written == 0 ? 0 : Descriptor::kWrite));
    store(at + kLength, written, memory_order_relaxed);
    store(at + kId, chain.id, memory_order_relaxed);
    if (unpublished_) {
        store(at + kFlags, flags, memory_order_release);
    } else {
        unpublished_ = {.slot = at, .flags = flags};
    }
    log_ring(parts_.descriptors_guest + used_.index * Descriptor::kSize, Descriptor::kSize);

    used_.advance(chain.descriptor_count, size_);
    unnotified_slots_ += chain.descriptor_count;
}

void PackedQueue::publish() {
    if (!unpublished_) return;
    store(unpublished_->slot + kFlags, unpublished_->flags, memory_order_release);
    unpublished_.reset();
}

bool PackedQueue::take_notification() {
    ZBDKIT_ASSERT(!unpublished_);
    const std::uint32_t slots = std::exchange(unnotified_slots_, 0);
    if (slots == 0) return false;
    // As in the split ring: what was used must be out before we look at what the driver wants.
    full_barrier();
    if (!std::exchange(notified_before_, true)) return true;
    return driver_event_passed(slots);
}

/// @param slots  descriptors that became used since this was asked last
bool PackedQueue::driver_event_passed(std::uint32_t slots) const {
    // The driver writes the event before the flags that point to it.
    const auto flags = static_cast<std::uint16_t>(
        load<std::uint16_t>(parts_.driver_area + kEventFlags, memory_order_acquire) &
        kEventFlagsMask);
    if (flags == kEventsDisabled) return false;
    if (flags != kEventsAtDescriptor || !features_.event_idx) return true;

    const Position event =
        Position::decode(load<std::uint16_t>(parts_.driver_area + kEvent, memory_order_relaxed));
    if (event.index >= size_) return true;  // nowhere: better one notification too many
    // Positions on a circle of two laps, one for each wrap counter.
    const std::uint32_t circle = 2 * size_;
    const auto on_circle = [&](Position position) {
        return position.index + (position.wrap ? 0 : size_);
    };
    if (slots >= circle) return true;
    const std::uint32_t behind = (on_circle(used_) + circle - on_circle(event)) % circle;
    return behind != 0 && behind <= slots;
}

bool PackedQueue::enable_kicks() {
    if (is_broken()) return true;
    if (features_.event_idx) {
        write_device_area(available_.encode(), kEventsAtDescriptor);
    } else {
        write_device_area(0, kEventsEnabled);
    }
    // A chain that became available before the driver could see this came without a kick.
    full_barrier();
    return is_available(ring_memory::load_packed_flags(slot(available_.index)));
}

void PackedQueue::disable_kicks() { write_device_area(0, kEventsDisabled); }

void PackedQueue::write_device_area(std::uint16_t event, std::uint16_t flags) {
    // One store for both, as the driver reads both in one.
    store(parts_.device_area, static_cast<std::uint32_t>(event | (std::uint32_t{flags} << 16)),
          memory_order_relaxed);
    log_ring(parts_.device_area_guest, kAreaSize);
}

RingBase PackedQueue::base() const {
    return available_.encode() | (RingBase{used_.encode()} << 16);
}

Outcome<void> PackedQueue::set_memory(std::shared_ptr<const GuestMemory> memory) {
    Outcome<Parts> parts = resolve_parts(*memory);
    if (!parts) return std::unexpected(std::move(parts.error()));
    parts_ = *parts;
    memory_ = std::move(memory);
    return {};
}

void PackedQueue::set_log(std::shared_ptr<const DirtyLog> log) { log_ = std::move(log); }

void PackedQueue::log_ring(std::uint64_t guest_address, std::uint64_t length) const {
    if (log_ == nullptr || !addresses_.log_used) return;
    log_->mark({guest_address, length});
}

void PackedQueue::log_written(const DescriptorChain& chain, std::uint64_t written) {
    if (log_ != nullptr) mark_written(*log_, chain, written);
}

}  // namespace zbdkit
