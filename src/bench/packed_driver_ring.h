// SPDX-License-Identifier: Apache-2.0
// The driver's half of a packed ring: see driver_ring.h. The buffer id of a chain is its slot.
// [virtio 1.3, 2.8]
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bench/driver_ring.h"
#include "bench/shared_memory.h"
#include "virtio/ring_memory.h"
#include "virtio/ring_position.h"
#include "virtio/virt_queue.h"

namespace zbdkit::bench {

class PackedDriverRing {
  public:
    /// @return bytes that the constructor allocates at most
    [[nodiscard]] static std::uint64_t memory_needed(std::uint32_t size) {
        return std::uint64_t{16} * size + 8 + 3 * kAlignment;
    }
    /// As SplitDriverRing, but any size up to 32768.
    PackedDriverRing(SharedMemory& memory, std::uint32_t size, std::uint32_t slot_count,
                     bool event_idx)
        : size_(size), event_idx_(event_idx), descriptor_counts_(slot_count) {
        addresses_.descriptors = memory.allocate(std::uint64_t{16} * size, kAlignment);
        addresses_.driver = memory.allocate(4, kAlignment);
        addresses_.device = memory.allocate(4, kAlignment);
        descriptors_ = memory.at(addresses_.descriptors);
        driver_area_ = memory.at(addresses_.driver);
        device_area_ = memory.at(addresses_.device);
    }

    [[nodiscard]] const RingAddresses& addresses() const { return addresses_; }
    /// Position 0, both wrap counters 1.
    [[nodiscard]] static RingBase first_base() { return 0x80008000; }

    /// The server sees the chain at once: its first descriptor becomes available last.
    void put(std::uint32_t slot, const Chain& chain) {
        const std::uint32_t count = chain.descriptor_count();
        const std::uint16_t index = next_.index;
        const std::uint16_t first_flags = available_flags() | Descriptor::kNext;
        write_body({chain.header, 16, slot});
        advance();
        if (chain.data_length != 0) {
            const std::uint16_t write = chain.data_is_writable ? Descriptor::kWrite : kNoFlag;
            write_body({chain.data, chain.data_length, slot});
            write_flags(next_.index, available_flags() | Descriptor::kNext | write,
                        std::memory_order_relaxed);
            advance();
        }
        write_body({chain.tail, chain.tail_length, slot});
        write_flags(next_.index, available_flags() | Descriptor::kWrite, std::memory_order_relaxed);
        advance();
        write_flags(index, first_flags, std::memory_order_release);
        descriptor_counts_[slot] = static_cast<std::uint8_t>(count);
        unkicked_ += count;
    }

    void publish() {}

    [[nodiscard]] bool take_kick() {
        // The chains must be out before we read what the server wants to know. [2.8.21.3.1]
        ring_memory::full_barrier();
        const std::uint32_t put = unkicked_;
        unkicked_ = 0;
        if (put == 0) return false;
        const auto area = ring_memory::load<std::uint32_t>(device_area_, std::memory_order_relaxed);
        const std::uint32_t flags = area >> 16 & 3;
        if (flags != kDescriptorEvent) return flags == kEnabled;
        const PackedPosition event = PackedPosition::decode(static_cast<std::uint16_t>(area));
        // Positions of the lap before ours count from -size on.
        const std::uint32_t lap = event.wrap == next_.wrap ? 0 : size_;
        const auto at = static_cast<std::uint16_t>(event.index - lap);
        const auto before = static_cast<std::uint16_t>(next_.index - put);
        return ring_memory::passed_event(at, before, next_.index);
    }

    [[nodiscard]] Used take_used() {
        const std::byte* const at = slot_at(used_.index);
        const std::uint16_t flags = ring_memory::load_packed_flags(at);
        const bool available = (flags & kAvailable) != 0;
        const bool used = (flags & kUsed) != 0;
        if (available != used || used != used_.wrap) return {};
        const std::uint16_t id =
            ring_memory::load<std::uint16_t>(at + 12, std::memory_order_relaxed);
        if (id >= descriptor_counts_.size() || descriptor_counts_[id] == 0) {
            return {.kind = Used::Kind::wrong, .slot = id};
        }
        used_ = used_.advanced(descriptor_counts_[id], size_);
        descriptor_counts_[id] = 0;
        return {.kind = Used::Kind::slot, .slot = id};
    }

    [[nodiscard]] bool enable_calls() {
        write_driver_area(event_idx_ ? kDescriptorEvent : kEnabled);
        calls_disabled_ = false;
        ring_memory::full_barrier();
        const std::uint16_t flags = ring_memory::load_packed_flags(slot_at(used_.index));
        const bool available = (flags & kAvailable) != 0;
        return available == used_.wrap && ((flags & kUsed) != 0) == used_.wrap;
    }

    void disable_calls() {
        if (calls_disabled_) return;
        calls_disabled_ = true;
        write_driver_area(kDisabled);
    }

  private:
    static constexpr std::uint64_t kAlignment = 64;
    static constexpr std::uint16_t kNoFlag = 0;
    static constexpr std::uint16_t kAvailable = 0x80;
    static constexpr std::uint16_t kUsed = 0x8000;
    // Flags of the event areas. [2.8.10]
    static constexpr std::uint32_t kEnabled = 0;
    static constexpr std::uint32_t kDisabled = 1;
    static constexpr std::uint32_t kDescriptorEvent = 2;

    struct Body {
        std::uint64_t address;
        std::uint32_t length;
        std::uint32_t slot;
    };

    [[nodiscard]] std::byte* slot_at(std::uint16_t index) const {
        return descriptors_ + std::size_t{16} * index;
    }
    [[nodiscard]] std::uint16_t available_flags() const { return next_.wrap ? kAvailable : kUsed; }
    void advance() { next_ = next_.advanced(1, size_); }

    /// All of the descriptor at next_ but its flags.
    void write_body(const Body& body) {
        constexpr auto kOrder = std::memory_order_relaxed;
        std::byte* const at = slot_at(next_.index);
        ring_memory::store(at, body.address, kOrder);
        ring_memory::store(at + 8, body.length, kOrder);
        ring_memory::store(at + 12, static_cast<std::uint16_t>(body.slot), kOrder);
    }
    void write_flags(std::uint16_t index, int flags, std::memory_order order) {
        ring_memory::store(slot_at(index) + 14, static_cast<std::uint16_t>(flags), order);
    }
    void write_driver_area(std::uint32_t flags) {
        const std::uint32_t area = flags << 16 | used_.encode();
        ring_memory::store(driver_area_, area, std::memory_order_relaxed);
    }

    const std::uint32_t size_;
    const bool event_idx_;
    RingAddresses addresses_;
    std::byte* descriptors_ = nullptr;
    std::byte* driver_area_ = nullptr;
    std::byte* device_area_ = nullptr;

    PackedPosition next_;         ///< where put() writes
    PackedPosition used_;         ///< where take_used() looks
    std::uint32_t unkicked_ = 0;  ///< descriptors put since the last take_kick()
    bool calls_disabled_ = false;
    std::vector<std::uint8_t> descriptor_counts_;  ///< by slot; 0: not in flight
};

}  // namespace zbdkit::bench
