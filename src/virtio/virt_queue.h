// SPDX-License-Identifier: Apache-2.0
// The device's side of a virtqueue, split or packed. All of its memory is the guest's: nothing in
// it is trusted, everything is read once and checked. One thread.
//
// What a driver can get wrong, and what pop() makes of it:
//
//   the ring contradicts itself: Pop::broken, for good; nothing more is read
//     split   available index more than the queue size ahead of the device
//     split   head index not below the queue size
//     split   head that is in flight already
//     packed  chain that does not end within the queue size
//     packed  more descriptors in flight than the queue has
//     packed  buffer id that is in flight already
//     both    a memory region's file was truncated under the ring or its buffers
//   one chain is unusable, but its id is known: Pop::invalid, the ring goes on
//     split   next not below the queue size; descriptors that form a loop
//     both    more than max_chain descriptors, or an indirect table longer than that
//     both    indirect descriptor without VIRTIO_F_INDIRECT_DESC, with NEXT, or within a table
//     packed  indirect descriptor in a chain of several
//     both    indirect table of length 0, of no multiple of 16, or outside of guest memory
//     split   next beyond the indirect table; entries that form a loop
//     both    buffer that wraps or is not all guest memory
//     both    readable descriptor after a writable one
//     both    4 GiB or more in one chain
//   accepted, though the specification frowns on it
//     both    descriptors of length 0: skipped, wherever they point
//     both    indirect tables longer than the queue (Linux makes them), up to max_chain
//     both    indirect tables that cross memory regions; WRITE on an indirect descriptor: ignored
//     packed  AVAIL and USED bits of descriptors after the first, NEXT within a table: ignored
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/error.h"
#include "base/units.h"
#include "virtio/descriptor_chain.h"
#include "virtio/guest_memory.h"

namespace zbdkit {

/// Transport feature bits that change how rings work. [virtio 1.3, 6]
struct RingFeatures {
    bool indirect = false;   ///< VIRTIO_F_INDIRECT_DESC
    bool event_idx = false;  ///< VIRTIO_F_EVENT_IDX
    bool packed = false;     ///< VIRTIO_F_RING_PACKED
};

/// Where the parts of a ring are. Addresses are the front end's unless `guest_addresses`.
struct RingAddresses {
    std::uint64_t descriptors = 0;
    std::uint64_t driver = 0;  ///< split: available ring. packed: driver event suppression
    std::uint64_t device = 0;  ///< split: used ring. packed: device event suppression
    /// split: of the used ring, for the log. packed: ignored, the memory table tells.
    std::uint64_t log_guest_address = 0;
    bool log_used = false;  ///< VHOST_VRING_F_LOG
    bool guest_addresses = false;
};

/// Where the device is in a ring, as SET_VRING_BASE and GET_VRING_BASE carry it.
/// split: bits 0-15 next available index. packed: bits 0-14 available index, 15 its wrap counter,
/// 16-30 used index, 31 its wrap counter.
using RingBase = std::uint32_t;

class VirtQueue {
  public:
    struct Setup {
        RingFeatures features;
        std::uint32_t size = 0;  ///< descriptors; split: a power of two; 1 to 32768
        RingAddresses addresses;
        RingBase base = 0;
        std::shared_ptr<const GuestMemory> memory;
        std::shared_ptr<const DirtyLog> log;  ///< null: nothing is logged
        /// The most descriptors a chain may have, those of an indirect table included (but not
        /// the one that points to it); longer ones are refused. At least seg_max + 2; not 0.
        std::uint32_t max_chain = 0;
    };

    /// Errors: sizes, alignments or addresses that the specification forbids or that are no guest
    /// memory, with the ring part and the address in the message.
    [[nodiscard]] static Outcome<std::unique_ptr<VirtQueue>> make(const Setup& setup);

    VirtQueue() = default;
    VirtQueue(const VirtQueue&) = delete;
    VirtQueue& operator=(const VirtQueue&) = delete;
    virtual ~VirtQueue() = default;

    enum class Pop : std::uint8_t {
        chain,    ///< `chain` is filled in
        empty,    ///< nothing is available
        invalid,  ///< a chain was consumed whose buffers are unusable (bad address, wrong order,
                  ///< too long): `chain` has its id, no memory, and `refusal` says why;
                  ///< push(chain, 0) must return it
        broken,   ///< the ring itself contradicts the specification; it can only be stopped.
                  ///< Chains in flight may still be pushed.
    };
    /// Takes the next available chain.
    /// @param chain  cleared and filled in
    [[nodiscard]] virtual Pop pop(DescriptorChain& chain) = 0;

    /// The descriptors of the ring itself that the last pop() took, in chain order: what an
    /// inflight record keeps of a chain of a packed ring. A split ring keeps none: its driver
    /// leaves the table alone while a chain is in flight.
    [[nodiscard]] virtual std::span<const Descriptor> last_descriptors() const = 0;

    /// Takes a chain again that an earlier life of the device popped and did not push, as a
    /// vhost-user inflight record tells. Does not move the ring. Call before the first pop().
    /// @param id    split: head index. packed: buffer id
    /// @param ring  packed: what last_descriptors() was then. split: ignored
    /// @return as pop; broken if the id or the number of descriptors cannot be
    [[nodiscard]] virtual Pop pop_again(std::uint16_t id, std::span<const Descriptor> ring,
                                        DescriptorChain& chain) = 0;

    /// Puts a chain into the used ring. The driver sees it when publish() is called: in batches,
    /// so that the cache line that it looks at is not taken from it for each chain.
    /// @param chain    popped from this queue, and not put yet
    /// @param written  bytes written from the start of the writable memory
    virtual void put(const DescriptorChain& chain, std::uint32_t written) = 0;
    /// Makes visible to the driver what was put.
    virtual void publish() = 0;
    /// Returns one chain to the driver: put() and publish().
    void push(const DescriptorChain& chain, std::uint32_t written) {
        put(chain, written);
        publish();
    }

    /// Whether the driver wants to be notified of what was published since the last call. Nothing
    /// may be put and not published.
    [[nodiscard]] virtual bool take_notification() = 0;

    /// Asks the driver to kick, or not to, when it makes something available.
    /// @return for enable: true if chains became available meanwhile, so that pop() must be tried
    virtual bool enable_kicks() = 0;
    virtual void disable_kicks() = 0;

    /// @return where the device is now, all popped chains being pushed: what make() takes as base
    [[nodiscard]] virtual RingBase base() const = 0;
    /// @return why the ring is broken, or ""
    [[nodiscard]] virtual const char* broken_reason() const = 0;

    /// Changes of the memory table and of the log while the ring runs. Nothing may be put and not
    /// published.
    /// Errors: the ring is no longer in guest memory; it stays where it was, and must be stopped or
    /// given memory that it is in.
    [[nodiscard]] virtual Outcome<void> set_memory(std::shared_ptr<const GuestMemory> memory) = 0;
    virtual void set_log(std::shared_ptr<const DirtyLog> log) = 0;
    /// Marks what a request wrote into its writable memory. Call before put().
    /// @param written  bytes from the start of the writable memory
    virtual void log_written(const DescriptorChain& chain, std::uint64_t written) = 0;
};

}  // namespace zbdkit
