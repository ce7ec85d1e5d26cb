// SPDX-License-Identifier: Apache-2.0
// The device's side of a split virtqueue: a descriptor table and the available ring, written by the
// driver, and the used ring, written here. One thread. Made by VirtQueue::make. [virtio 1.3, 2.7]
//
//   descriptor table  16 n    {le64 address | le32 length | le16 flags | le16 next}[n]
//   available ring    6 + 2n  le16 flags | le16 idx | le16 ring[n] | le16 used_event
//   used ring         6 + 8n  le16 flags | le16 idx | {le32 id | le32 length}[n] | le16 avail_event
// The event fields are there only with VIRTIO_F_EVENT_IDX. An idx counts modulo 2^16.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "virtio/chain_builder.h"
#include "virtio/virt_queue.h"

namespace zbdkit {

class SplitQueue final : public VirtQueue {
    struct Key {};  // only make() constructs

  public:
    SplitQueue(Key, const Setup& setup);
    /// @param setup  its size is right for a split ring
    /// Errors: as VirtQueue::make
    [[nodiscard]] static Outcome<std::unique_ptr<VirtQueue>> make(const Setup& setup);

    [[nodiscard]] Pop pop(DescriptorChain& chain) override;
    [[nodiscard]] std::span<const Descriptor> last_descriptors() const override { return {}; }
    [[nodiscard]] Pop pop_again(std::uint16_t id, std::span<const Descriptor> ring,
                                DescriptorChain& chain) override;
    void put(const DescriptorChain& chain, std::uint32_t written) override;
    void publish() override;
    [[nodiscard]] bool take_notification() override;
    bool enable_kicks() override;
    void disable_kicks() override;
    [[nodiscard]] RingBase base() const override { return next_available_; }
    [[nodiscard]] const char* broken_reason() const override { return broken_reason_; }
    [[nodiscard]] Outcome<void> set_memory(std::shared_ptr<const GuestMemory> memory) override;
    void set_log(std::shared_ptr<const DirtyLog> log) override;
    void log_written(const DescriptorChain& chain, std::uint64_t written) override;

  private:
    /// The parts of the ring in this process.
    struct Parts {
        std::byte* descriptors = nullptr;
        std::byte* available = nullptr;
        std::byte* used = nullptr;
    };

    [[nodiscard]] Outcome<Parts> resolve_parts(const GuestMemory& memory) const;

    [[nodiscard]] bool has_available();
    [[nodiscard]] bool fetch_available_index();
    [[nodiscard]] Pop take(std::uint16_t head, DescriptorChain& chain);
    [[nodiscard]] bool collect(std::uint16_t head);
    Pop break_ring(const char* reason);
    [[nodiscard]] bool is_broken() const { return *broken_reason_ != '\0'; }
    void log_used(ByteRange within_used_ring) const;

    const RingFeatures features_;
    const std::uint16_t size_;
    const RingAddresses addresses_;
    ChainBuilder builder_;
    Parts parts_;
    std::shared_ptr<const GuestMemory> memory_;
    std::shared_ptr<const DirtyLog> log_;

    std::uint16_t next_available_ = 0;   ///< the position pop() takes from
    std::uint16_t available_index_ = 0;  ///< available.idx as last read
    std::uint16_t used_index_ = 0;       ///< used.idx, of which this side is the only writer
    std::uint16_t published_index_ = 0;  ///< of used_index_, what the driver sees
    std::vector<bool> in_flight_;        ///< by head

    bool notified_before_ = false;  ///< the first batch of a ring is always notified
    std::uint32_t unnotified_ = 0;  ///< pushed since the last take_notification()
    const char* broken_reason_ = "";
};

}  // namespace zbdkit
