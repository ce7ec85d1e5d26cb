// SPDX-License-Identifier: Apache-2.0
#include "tests/support/virtio/ring_driver.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "virtio/ring_memory.h"

namespace zbdkit::test {
namespace {

using ring_memory::full_barrier;
using ring_memory::load;
using ring_memory::store;
using std::memory_order_acquire;
using std::memory_order_relaxed;
using std::memory_order_release;

constexpr std::uint16_t kAvailBit = 0x80;
constexpr std::uint16_t kUsedBit = 0x8000;

std::uint16_t buffer_flags(const DriverBuffer& buffer) {
    return buffer.is_device_writable ? Descriptor::kWrite : std::uint16_t{0};
}

/// [virtio 1.3, 2.7]
class SplitDriver final : public RingDriver {
  public:
    SplitDriver(DriverMemory& memory, const Options& options)
        : RingDriver(memory, options),
          avail_index_(options.first_index),
          kicked_index_(options.first_index),
          used_index_(options.first_index),
          chains_(options.size) {
        const std::size_t size = options.size;
        layout_.guest_addresses = true;
        layout_.descriptors = memory.allocate(16 * size, 16);
        layout_.driver = memory.allocate(6 + 2 * size, 2);
        layout_.device = memory.allocate(6 + 8 * size, 4);
        layout_.log_guest_address = layout_.device;
        store(avail(2), avail_index_, memory_order_relaxed);
        store(used(2), used_index_, memory_order_relaxed);
        for (std::uint32_t i = options.size; i > 0; --i) {
            free_.push_back(static_cast<std::uint16_t>(i - 1));
        }
    }

    [[nodiscard]] std::uint32_t free_descriptors() const override {
        return static_cast<std::uint32_t>(free_.size());
    }

    void publish() override {
        unkicked_ += static_cast<std::uint16_t>(avail_index_ - published_index());
        store(avail(2), avail_index_, memory_order_release);
    }

    [[nodiscard]] bool take_kick() override {
        full_barrier();
        const std::uint32_t published = std::exchange(unkicked_, 0);
        const std::uint16_t before = std::exchange(kicked_index_, published_index());
        if (published == 0) return false;
        if (!options_.features.event_idx) {
            return load<std::uint16_t>(used(0), memory_order_acquire) == 0;
        }
        const auto event = load<std::uint16_t>(used(4 + 8 * options_.size), memory_order_acquire);
        // The text of 2.7.10.1: was the entry of index avail_event just made available?
        const std::uint16_t offset = static_cast<std::uint16_t>(event - before);
        return offset < published;
    }

    [[nodiscard]] std::optional<UsedChain> take_used() override {
        if (load<std::uint16_t>(used(2), memory_order_acquire) == used_index_) return std::nullopt;
        const std::size_t entry = 4 + 8 * (used_index_ % options_.size);
        const auto id = load<std::uint32_t>(used(entry), memory_order_relaxed);
        const auto written = load<std::uint32_t>(used(entry + 4), memory_order_relaxed);
        ZBDKIT_ASSERT(id < options_.size && !chains_[id].empty());
        free_.insert(free_.end(), chains_[id].rbegin(), chains_[id].rend());
        chains_[id].clear();
        ++used_index_;
        --in_flight_;
        return UsedChain{static_cast<std::uint16_t>(id), written};
    }

    bool enable_notifications(std::uint16_t more) override {
        if (options_.features.event_idx) {
            store(avail(4 + 2 * options_.size), static_cast<std::uint16_t>(used_index_ + more),
                  memory_order_relaxed);
        } else {
            store<std::uint16_t>(avail(0), 0, memory_order_relaxed);
        }
        full_barrier();
        return load<std::uint16_t>(used(2), memory_order_acquire) != used_index_;
    }

    void disable_notifications() override {
        if (options_.features.event_idx) {
            // As far away as can be.
            store(avail(4 + 2 * options_.size), static_cast<std::uint16_t>(used_index_ - 1),
                  memory_order_relaxed);
        } else {
            store<std::uint16_t>(avail(0), 1, memory_order_relaxed);
        }
    }

  private:
    [[nodiscard]] std::byte* avail(std::size_t offset) const {
        return host(layout_.driver + offset);
    }
    [[nodiscard]] std::byte* used(std::size_t offset) const {
        return host(layout_.device + offset);
    }
    [[nodiscard]] std::uint16_t published_index() const {
        return load<std::uint16_t>(avail(2), memory_order_relaxed);
    }

    void write_descriptor(std::uint16_t index, const Descriptor& descriptor) const {
        std::byte* const at = host(layout_.descriptors + index * Descriptor::kSize);
        store_le(at, descriptor.address);
        store_le(at + 8, descriptor.length);
        store_le(at + 12, descriptor.flags);
        store_le(at + 14, descriptor.link);
    }

    [[nodiscard]] std::optional<std::uint16_t> add_descriptors(
        std::span<const DriverBuffer> direct, std::span<const DriverBuffer> in_table) override {
        const std::size_t needed = direct.size() + (in_table.empty() ? 0 : 1);
        if (needed > free_.size()) return std::nullopt;
        std::vector<std::uint16_t> taken(free_.rbegin(),
                                         free_.rbegin() + static_cast<std::ptrdiff_t>(needed));
        free_.resize(free_.size() - needed);
        for (std::size_t i = 0; i < needed; ++i) {
            Descriptor descriptor =
                i < direct.size()
                    ? Descriptor{direct[i].guest_address, direct[i].length, buffer_flags(direct[i])}
                    : write_table(taken[i], in_table);
            if (i + 1 < needed) {
                descriptor.flags |= Descriptor::kNext;
                descriptor.link = taken[i + 1];
            }
            write_descriptor(taken[i], descriptor);
        }
        const std::uint16_t head = taken.front();
        store(avail(4 + 2 * (avail_index_ % options_.size)), head, memory_order_relaxed);
        ++avail_index_;
        chains_[head] = std::move(taken);
        return head;
    }

    std::uint16_t avail_index_;
    std::uint16_t kicked_index_;
    std::uint16_t used_index_;
    std::vector<std::uint16_t> free_;                 ///< descriptor indices; the last goes first
    std::vector<std::vector<std::uint16_t>> chains_;  ///< by head: its descriptors
};

/// [virtio 1.3, 2.8]
class PackedDriver final : public RingDriver {
  public:
    PackedDriver(DriverMemory& memory, const Options& options)
        : RingDriver(memory, options), free_slots_(options.size), slots_of_(options.size) {
        ZBDKIT_ASSERT(options.first_index == 0);
        layout_.guest_addresses = true;
        layout_.descriptors = memory.allocate(std::size_t{16} * options.size, 16);
        layout_.driver = memory.allocate(4, 4);
        layout_.device = memory.allocate(4, 4);
        layout_.log_guest_address = layout_.descriptors;
        for (std::uint32_t i = options.size; i > 0; --i) {
            free_ids_.push_back(static_cast<std::uint16_t>(i - 1));
        }
    }

    [[nodiscard]] std::uint32_t free_descriptors() const override { return free_slots_; }

    /// The first descriptor of each chain becomes available last.
    void publish() override {
        for (const Pending& pending : pending_) {
            store(slot(pending.slot) + 14, pending.flags, memory_order_release);
            unkicked_ += pending.slots;
        }
        pending_.clear();
    }

    [[nodiscard]] bool take_kick() override {
        full_barrier();
        const std::uint32_t published = std::exchange(unkicked_, 0);
        if (published == 0) return false;
        const auto area = load<std::uint32_t>(host(layout_.device), memory_order_acquire);
        const std::uint32_t flags = area >> 16;
        ZBDKIT_ASSERT(flags <= 2 && (flags != 2 || options_.features.event_idx));
        if (flags != 2) return flags == 0;
        // Was the descriptor at (offset, wrap) among the `published` last ones?
        std::uint32_t index = next_;
        bool wrap = wrap_;
        for (std::uint32_t i = 0; i < published; ++i) {
            wrap = index == 0 ? !wrap : wrap;
            index = index == 0 ? options_.size - 1 : index - 1;
            if (index == (area & 0x7fff) && wrap == ((area & 0x8000) != 0)) return true;
        }
        return false;
    }

    [[nodiscard]] std::optional<UsedChain> take_used() override {
        const std::byte* const at = slot(used_next_);
        const auto flags = load<std::uint16_t>(at + 14, memory_order_acquire);
        if (!is_used(flags)) return std::nullopt;
        const auto id = load<std::uint16_t>(at + 12, memory_order_relaxed);
        const auto length = load<std::uint32_t>(at + 8, memory_order_relaxed);
        ZBDKIT_ASSERT(id < options_.size && slots_of_[id] != 0);
        const std::uint32_t slots = std::exchange(slots_of_[id], 0);
        used_next_ += slots;
        if (used_next_ >= options_.size) {
            used_next_ -= options_.size;
            used_wrap_ = !used_wrap_;
        }
        free_slots_ += slots;
        free_ids_.push_back(id);
        --in_flight_;
        return UsedChain{id, (flags & Descriptor::kWrite) != 0 ? length : 0};
    }

    bool enable_notifications(std::uint16_t more) override {
        std::uint32_t event = used_next_ + more;
        bool wrap = used_wrap_;
        if (event >= options_.size) {
            event -= options_.size;
            wrap = !wrap;
        }
        const bool at_descriptor = options_.features.event_idx;
        if (at_descriptor) {
            store(host(layout_.driver), static_cast<std::uint16_t>(event | (wrap ? 0x8000 : 0)),
                  memory_order_relaxed);
        }
        store<std::uint16_t>(host(layout_.driver) + 2, at_descriptor ? 2 : 0, memory_order_release);
        full_barrier();
        return is_used(load<std::uint16_t>(slot(used_next_) + 14, memory_order_acquire));
    }

    void disable_notifications() override {
        store<std::uint16_t>(host(layout_.driver) + 2, 1, memory_order_relaxed);
    }

  private:
    struct Pending {
        std::uint32_t slot = 0;
        std::uint32_t slots = 0;
        std::uint16_t flags = 0;
    };

    [[nodiscard]] std::byte* slot(std::uint32_t index) const {
        return host(layout_.descriptors + index * Descriptor::kSize);
    }
    [[nodiscard]] bool is_used(std::uint16_t flags) const {
        return ((flags & kAvailBit) != 0) == used_wrap_ && ((flags & kUsedBit) != 0) == used_wrap_;
    }

    [[nodiscard]] std::optional<std::uint16_t> add_descriptors(
        std::span<const DriverBuffer> direct, std::span<const DriverBuffer> in_table) override {
        ZBDKIT_ASSERT(direct.empty() || in_table.empty());
        const auto needed = static_cast<std::uint32_t>(direct.size() + (in_table.empty() ? 0 : 1));
        if (needed > free_slots_) return std::nullopt;
        free_slots_ -= needed;
        const std::uint16_t id = free_ids_.back();
        free_ids_.pop_back();
        slots_of_[id] = needed;

        Pending head{next_, needed, 0};
        for (std::uint32_t i = 0; i < needed; ++i) {
            Descriptor descriptor =
                in_table.empty()
                    ? Descriptor{direct[i].guest_address, direct[i].length, buffer_flags(direct[i])}
                    : write_table(id, in_table);
            if (i + 1 < needed) descriptor.flags |= Descriptor::kNext;
            descriptor.flags |= wrap_ ? kAvailBit : kUsedBit;
            std::byte* const at = slot(next_);
            store_le(at, descriptor.address);
            store_le(at + 8, descriptor.length);
            store_le(at + 12, id);
            if (i == 0) {
                head.flags = descriptor.flags;
            } else {
                store(at + 14, descriptor.flags, memory_order_relaxed);
            }
            if (++next_ == options_.size) {
                next_ = 0;
                wrap_ = !wrap_;
            }
        }
        pending_.push_back(head);
        return id;
    }

    std::uint32_t next_ = 0;
    bool wrap_ = true;
    std::uint32_t used_next_ = 0;
    bool used_wrap_ = true;
    std::uint32_t free_slots_;
    std::vector<std::uint16_t> free_ids_;
    std::vector<std::uint32_t> slots_of_;  ///< by id: ring descriptors of the chain, 0 if free
    std::vector<Pending> pending_;         ///< added, not published
};

}  // namespace

RingDriver::RingDriver(DriverMemory& memory, const Options& options)
    : memory_(memory), options_(options), tables_(options.size) {}

std::unique_ptr<RingDriver> RingDriver::make(DriverMemory& memory, const Options& options) {
    if (options.features.packed) return std::make_unique<PackedDriver>(memory, options);
    return std::make_unique<SplitDriver>(memory, options);
}

RingAddresses RingDriver::addresses() const {
    RingAddresses addresses = layout_;
    addresses.guest_addresses = false;
    addresses.descriptors = DriverMemory::to_user_address(layout_.descriptors);
    addresses.driver = DriverMemory::to_user_address(layout_.driver);
    addresses.device = DriverMemory::to_user_address(layout_.device);
    return addresses;
}

RingBase RingDriver::first_base() const {
    return options_.features.packed ? 0x80008000 : RingBase{options_.first_index};
}

VirtQueue::Setup RingDriver::device_setup(std::shared_ptr<const GuestMemory> memory,
                                          std::uint32_t max_chain) const {
    return {.features = options_.features,
            .size = options_.size,
            .addresses = addresses(),
            .base = first_base(),
            .memory = std::move(memory),
            .log = nullptr,
            .max_chain = max_chain};
}

std::optional<std::uint16_t> RingDriver::add(std::span<const DriverBuffer> buffers,
                                             ChainForm form) {
    ZBDKIT_ASSERT(!buffers.empty());
    const std::size_t direct = form == ChainForm::direct  ? buffers.size()
                               : form == ChainForm::mixed ? 1
                                                          : 0;
    ZBDKIT_ASSERT(form != ChainForm::mixed || buffers.size() > 1);
    const auto id = add_descriptors(buffers.first(direct), buffers.subspan(direct));
    if (id) ++in_flight_;
    return id;
}

Descriptor RingDriver::write_table(std::uint32_t slot, std::span<const DriverBuffer> buffers) {
    Table& table = tables_[slot];
    if (table.entries < buffers.size()) {
        table = {memory_.allocate(buffers.size() * Descriptor::kSize), buffers.size()};
    }
    for (std::size_t i = 0; i < buffers.size(); ++i) {
        std::byte* const at = host(table.guest_address + i * Descriptor::kSize);
        const bool is_packed = options_.features.packed;
        std::uint16_t flags = buffer_flags(buffers[i]);
        if (!is_packed && i + 1 < buffers.size()) flags |= Descriptor::kNext;
        store_le(at, buffers[i].guest_address);
        store_le(at + 8, buffers[i].length);
        store_le(at + (is_packed ? 14 : 12), flags);
        store_le(at + (is_packed ? 12 : 14), static_cast<std::uint16_t>(is_packed ? 0 : i + 1));
    }
    return {table.guest_address, static_cast<std::uint32_t>(buffers.size() * Descriptor::kSize),
            Descriptor::kIndirect};
}

std::byte* RingDriver::host(std::uint64_t guest_address) const {
    return memory_.at({guest_address, 1}).data();
}

}  // namespace zbdkit::test
