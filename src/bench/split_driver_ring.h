// SPDX-License-Identifier: Apache-2.0
// The driver's half of a split ring: see driver_ring.h. Slot n owns the descriptors from 3 n on,
// which are written again only when its request has another shape. [virtio 1.3, 2.7]
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bench/driver_ring.h"
#include "bench/shared_memory.h"
#include "virtio/ring_memory.h"
#include "virtio/virt_queue.h"

namespace zbdkit::bench {

class SplitDriverRing {
  public:
    /// @param size  descriptors, a power of two
    /// @return bytes that the constructor allocates at most
    [[nodiscard]] static std::uint64_t memory_needed(std::uint32_t size) {
        return std::uint64_t{26} * size + 12 + 3 * kAlignment;
    }
    /// @param memory      outlives this
    /// @param size        descriptors, a power of two up to 32768, kDescriptorsPerSlot a slot
    /// @param slot_count  at least 1
    /// @param event_idx   whether VIRTIO_F_EVENT_IDX was negotiated
    SplitDriverRing(SharedMemory& memory, std::uint32_t size, std::uint32_t slot_count,
                    bool event_idx)
        : size_(size), event_idx_(event_idx), chains_(slot_count), in_flight_(slot_count) {
        addresses_.descriptors = memory.allocate(std::uint64_t{16} * size, kAlignment);
        addresses_.driver = memory.allocate(std::uint64_t{2} * size + 6, kAlignment);
        addresses_.device = memory.allocate(std::uint64_t{8} * size + 6, kAlignment);
        descriptors_ = memory.at(addresses_.descriptors);
        available_ = memory.at(addresses_.driver);
        used_ = memory.at(addresses_.device);
    }

    [[nodiscard]] const RingAddresses& addresses() const { return addresses_; }
    [[nodiscard]] static RingBase first_base() { return 0; }

    void put(std::uint32_t slot, const Chain& chain) {
        if (chains_[slot] != chain) write_chain(slot, chain);
        in_flight_[slot] = 1;
        const auto head = static_cast<std::uint16_t>(slot * kDescriptorsPerSlot);
        std::byte* const entry = available_ + kEntries + (available_index_ & (size_ - 1)) * 2;
        ring_memory::store(entry, head, std::memory_order_relaxed);
        ++available_index_;
    }

    void publish() {
        ring_memory::store(available_ + kIndex, available_index_, std::memory_order_release);
    }

    [[nodiscard]] bool take_kick() {
        // The index must be out before we read what the server wants to know. [2.7.13.3.1]
        ring_memory::full_barrier();
        const std::uint16_t before = kicked_index_;
        kicked_index_ = available_index_;
        if (before == available_index_) return false;
        constexpr auto kOrder = std::memory_order_relaxed;
        if (!event_idx_) return (ring_memory::load<std::uint16_t>(used_, kOrder) & 1) == 0;
        const auto event = ring_memory::load<std::uint16_t>(used_ + kEntries + 8 * size_, kOrder);
        return ring_memory::passed_event(event, before, available_index_);
    }

    [[nodiscard]] Used take_used() {
        if (used_index_ == used_seen_) {
            used_seen_ =
                ring_memory::load<std::uint16_t>(used_ + kIndex, std::memory_order_acquire);
            if (used_index_ == used_seen_) return {};
        }
        const std::byte* const entry = used_ + kEntries + (used_index_ & (size_ - 1)) * 8;
        const auto id = ring_memory::load<std::uint32_t>(entry, std::memory_order_relaxed);
        const std::uint32_t slot = id / kDescriptorsPerSlot;
        const bool is_known =
            id % kDescriptorsPerSlot == 0 && slot < in_flight_.size() && in_flight_[slot] != 0;
        if (!is_known) return {.kind = Used::Kind::wrong, .slot = id};
        ++used_index_;
        in_flight_[slot] = 0;
        return {.kind = Used::Kind::slot, .slot = slot};
    }

    [[nodiscard]] bool enable_calls() {
        if (event_idx_) {
            write_event(used_index_);
        } else {
            ring_memory::store<std::uint16_t>(available_, 0, std::memory_order_relaxed);
        }
        calls_disabled_ = false;
        // What came back before the server could see this comes without a call. [2.7.14]
        ring_memory::full_barrier();
        used_seen_ = ring_memory::load<std::uint16_t>(used_ + kIndex, std::memory_order_acquire);
        return used_seen_ != used_index_;
    }

    void disable_calls() {
        if (event_idx_) {
            // An event behind is passed only after a lap of the 16-bit index; it is moved on before
            // that, and rarely, because the server reads it after every batch. It stays a ring's
            // size behind: the server may be about to compare it with where its batch began.
            constexpr std::size_t kFar = 0x4000;
            const auto passed = static_cast<std::uint16_t>(used_index_ - event_);
            if (calls_disabled_ && passed < size_ + kFar) return;
            write_event(static_cast<std::uint16_t>(used_index_ - 1 - size_));
        } else if (!calls_disabled_) {
            ring_memory::store<std::uint16_t>(available_, 1, std::memory_order_relaxed);
        }
        calls_disabled_ = true;
    }

  private:
    static constexpr std::uint64_t kAlignment = 64;
    // Offsets within the available and the used ring.
    static constexpr std::size_t kIndex = 2;
    static constexpr std::size_t kEntries = 4;

    void write_chain(std::uint32_t slot, const Chain& chain) {
        const auto head = static_cast<std::uint16_t>(slot * kDescriptorsPerSlot);
        const auto data = static_cast<std::uint16_t>(head + 1);
        const auto tail = static_cast<std::uint16_t>(head + 2);
        constexpr std::uint16_t kNext = Descriptor::kNext;
        constexpr std::uint16_t kWrite = Descriptor::kWrite;
        const bool has_data = chain.data_length != 0;
        write_descriptor(head, {.address = chain.header,
                                .length = 16,
                                .flags = kNext,
                                .link = has_data ? data : tail});
        if (has_data) {
            const std::uint16_t flags = chain.data_is_writable ? kNext | kWrite : kNext;
            write_descriptor(
                data,
                {.address = chain.data, .length = chain.data_length, .flags = flags, .link = tail});
        }
        write_descriptor(tail,
                         {.address = chain.tail, .length = chain.tail_length, .flags = kWrite});
        chains_[slot] = chain;
    }

    void write_descriptor(std::uint16_t index, const Descriptor& descriptor) {
        constexpr auto kOrder = std::memory_order_relaxed;
        std::byte* const at = descriptors_ + std::size_t{16} * index;
        ring_memory::store(at, descriptor.address, kOrder);
        ring_memory::store(at + 8, descriptor.length, kOrder);
        ring_memory::store(at + 12, descriptor.flags, kOrder);
        ring_memory::store(at + 14, descriptor.link, kOrder);
    }

    void write_event(std::uint16_t event) {
        event_ = event;
        ring_memory::store(available_ + kEntries + 2 * size_, event, std::memory_order_relaxed);
    }

    const std::size_t size_;
    const bool event_idx_;
    RingAddresses addresses_;
    std::byte* descriptors_ = nullptr;
    std::byte* available_ = nullptr;
    std::byte* used_ = nullptr;

    std::uint16_t available_index_ = 0;
    std::uint16_t kicked_index_ = 0;  ///< available_index_ at the last take_kick()
    std::uint16_t used_index_ = 0;    ///< the entry that take_used() looks at
    std::uint16_t used_seen_ = 0;     ///< used.idx as last read
    std::uint16_t event_ = 0;         ///< used_event as written
    bool calls_disabled_ = false;
    std::vector<Chain> chains_;            ///< by slot: what its descriptors say
    std::vector<std::uint8_t> in_flight_;  ///< by slot
};

}  // namespace zbdkit::bench
