// SPDX-License-Identifier: Apache-2.0
// Where a write's data goes, kept by whoever sent the request in memory that outlives the process.
// A node that writes at a write pointer says the place before the first byte is written; after a
// crash the place and the zone's pointer together tell whether the write happened, so that it is
// never done twice. Pure; one thread, but the reader may be another, later process.
//
//   slot = u64 place   byte on the device plus 1; 0: nothing is recorded
//          u64 length  bytes of the data; 0: all of it is there, and the pointer is over it
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/units.h"

namespace zbdkit {

struct WriteSlot {
    std::uint64_t place = 0;
    std::uint64_t length = 0;
};
static_assert(sizeof(WriteSlot) == 16 && offsetof(WriteSlot, length) == 8);

/// A request's hold on its slot, or on none: then nothing is recorded and all calls are free.
class WriteRecord {
  public:
    WriteRecord() = default;
    explicit WriteRecord(WriteSlot& slot) : slot_(&slot) {}

    /// The data is about to be written there. To be called before the first byte is, by a node
    /// that keeps the write pointer, while nobody can reset or finish the zone.
    void placed(ByteRange range) const {
        if (slot_ == nullptr) return;
        withdrawn();
        store(slot_->length, range.length);
        store(slot_->place, range.offset - shift_ + 1);
    }
    /// All of it is there and the write pointer has passed it. To be called before anybody can
    /// reset the zone.
    void landed() const {
        if (slot_ != nullptr) store(slot_->length, 0);
    }
    /// Nothing is there, the place goes to others. To be called before it can.
    void withdrawn() const {
        if (slot_ != nullptr) store(slot_->place, 0);
    }

    /// The same slot for a node whose offset 0 is byte `offset` of its child.
    [[nodiscard]] WriteRecord shifted(std::uint64_t offset) const {
        WriteRecord below = *this;
        below.shift_ += offset;
        return below;
    }

    /// What a slot says, read once: whoever else has the memory may change it at any time.
    [[nodiscard]] static WriteSlot read(WriteSlot& slot) {
        constexpr auto kOrder = std::memory_order_acquire;
        return {.place = std::atomic_ref<std::uint64_t>(slot.place).load(kOrder),
                .length = std::atomic_ref<std::uint64_t>(slot.length).load(kOrder)};
    }

  private:
    /// In this order and whole, as seen by a process that comes after this one died in between.
    static void store(std::uint64_t& to, std::uint64_t value) {
        std::atomic_ref<std::uint64_t>(to).store(value, std::memory_order_release);
    }

    WriteSlot* slot_ = nullptr;
    std::uint64_t shift_ = 0;
};

}  // namespace zbdkit
