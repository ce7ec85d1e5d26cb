// SPDX-License-Identifier: Apache-2.0
// The device's side of a packed virtqueue: one ring of descriptors that driver and device both
// write, and an event suppression area of each. One thread. Made by VirtQueue::make.
// [virtio 1.3, 2.8]
//
//   descriptor ring  16 n  {le64 address | le32 length | le16 id | le16 flags}[n]
//   driver area      4     le16 {offset 0-14, wrap 15} | le16 {flags 0-1}    written by the driver
//   device area      4     the same, written here
// A descriptor is available if its AVAIL bit equals the driver's wrap counter and its USED bit does
// not; it is used if both equal the device's wrap counter. Both counters start at 1.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "virtio/chain_builder.h"
#include "virtio/virt_queue.h"

namespace zbdkit {

class PackedQueue final : public VirtQueue {
    struct Key {};  // only make() constructs

  public:
    PackedQueue(Key, const Setup& setup);

    /// @param setup  its size is right for a packed ring
    /// Errors: as VirtQueue::make; a base beyond the ring
    [[nodiscard]] static Outcome<std::unique_ptr<VirtQueue>> make(const Setup& setup);

    [[nodiscard]] Pop pop(DescriptorChain& chain) override;
    [[nodiscard]] std::span<const Descriptor> last_descriptors() const override { return taken_; }
    [[nodiscard]] Pop pop_again(std::uint16_t id, std::span<const Descriptor> ring,
                                DescriptorChain& chain) override;
    void put(const DescriptorChain& chain, std::uint32_t written) override;
    void publish() override;
    [[nodiscard]] bool take_notification() override;
    bool enable_kicks() override;
    void disable_kicks() override;
    [[nodiscard]] RingBase base() const override;
    [[nodiscard]] const char* broken_reason() const override { return broken_reason_; }
    [[nodiscard]] Outcome<void> set_memory(std::shared_ptr<const GuestMemory> memory) override;
    void set_log(std::shared_ptr<const DirtyLog> log) override;
    void log_written(const DescriptorChain& chain, std::uint64_t written) override;

  private:
    /// A place in the ring, and which lap around it this is.
    struct Position {
        std::uint16_t index = 0;
        bool wrap = true;

        void advance(std::uint32_t count, std::uint32_t size);
        /// Index and wrap counter as event areas and RingBase have them.
        [[nodiscard]] std::uint16_t encode() const;
        [[nodiscard]] static Position decode(std::uint16_t encoded);
    };

    /// The parts of the ring in this process, and where the written ones are for the guest.
    struct Parts {
        std::byte* descriptors = nullptr;
        std::byte* driver_area = nullptr;
        std::byte* device_area = nullptr;
        std::uint64_t descriptors_guest = 0;
        std::uint64_t device_area_guest = 0;
    };

    [[nodiscard]] Outcome<Parts> resolve_parts(const GuestMemory& memory) const;
    [[nodiscard]] std::uint64_t guest_address(const GuestMemory& memory,
                                              std::uint64_t address) const;

    [[nodiscard]] bool is_available(std::uint16_t flags) const;
    [[nodiscard]] std::byte* slot(std::uint16_t index) const {
        return parts_.descriptors + index * Descriptor::kSize;
    }
    [[nodiscard]] bool take_descriptors(std::uint16_t first_flags);
    [[nodiscard]] Pop take(std::uint16_t id, DescriptorChain& chain);
    [[nodiscard]] bool collect();
    [[nodiscard]] bool driver_event_passed(std::uint32_t slots) const;
    void write_device_area(std::uint16_t event, std::uint16_t flags);
    Pop break_ring(const char* reason);
    [[nodiscard]] bool is_broken() const { return *broken_reason_ != '\0'; }
    void log_ring(std::uint64_t guest_address, std::uint64_t length) const;

    const RingFeatures features_;
    const std::uint32_t size_;
    const RingAddresses addresses_;
    ChainBuilder builder_;
    Parts parts_;
    std::shared_ptr<const GuestMemory> memory_;
    std::shared_ptr<const DirtyLog> log_;

    Position available_;             ///< where pop() takes from
    Position used_;                  ///< where push() writes
    std::vector<Descriptor> taken_;  ///< ring descriptors of the last chain
    std::vector<bool> in_flight_;    ///< by buffer id, which may be any 16-bit number
    std::uint32_t slots_in_flight_ = 0;

    bool notified_before_ = false;  ///< the first batch of a ring is always notified
    /// The first of what was put and not published: its flags, which the driver waits for.
    struct Unpublished {
        std::byte* slot;
        std::uint16_t flags;
    };
    std::optional<Unpublished> unpublished_;
    std::uint32_t unnotified_slots_ = 0;  ///< used since the last take_notification()
    const char* broken_reason_ = "";
};

}  // namespace zbdkit
