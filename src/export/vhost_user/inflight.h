// SPDX-License-Identifier: Apache-2.0
// The inflight region: memory that the front end keeps while back ends come and go, in which each
// ring notes what it took and has not returned. A back end that is started again takes those
// requests up. The first part is as the protocol documents it, so that other back ends can take
// over; behind it is a slot for each entry, in which nodes note where a write's data goes
// (block/write_record.h). The session owns the region, each running ring its queue of it. Whatever
// stands in it may be the work of a hostile front end: it is read once, and refused unless it makes
// sense. One reactor. [vhost-user, "Inflight I/O tracking"]
//
//   region         queue * Q   padding   slots           native byte order
//     queue        at q * stride; stride: header and n entries, rounded up to 64 bytes
//     slots        at Q * (32 + 32 n rounded up to 64), of either kind of ring;
//                  n * {u64 place  u64 length} * Q
//
//   split queue    16    u64 features 0 | u16 version 1, 0: new | u16 n | u16 last_batch_head
//                        u16 used_idx
//     entry        16    u8 inflight | u8 * 5 | u16 next in batch | u64 counter
//                  at the head index of its chain
//   packed queue   32    u64 features 0 | u16 version 1, 0: new | u16 n | u16 free_head
//                        u16 old_free_head | u16 used_idx | u16 old_used_idx | u8 used_wrap
//                        u8 old_used_wrap | u8 * 10
//     entry        32    u8 inflight | u8 | u16 next | u16 last | u16 num | u64 counter
//                        u16 id | u16 flags | u32 len | u64 addr
//                  one for each descriptor of a chain, linked by next; those not in use form the
//                  free list, whose last entry has next = n
//
// A store is whole, and stores become visible in order, to a process that comes after this one was
// killed between two of them; each step below leaves the region fit for that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"
#include "block/earlier_write.h"
#include "block/write_record.h"
#include "export/vhost_user/wire.h"
#include "virtio/guest_memory.h"
#include "virtio/virt_queue.h"

namespace zbdkit::vhost_user {

/// Bytes of a region of that shape, for either kind of ring.
[[nodiscard]] std::uint64_t inflight_size(InflightShape shape);
/// A new region: a file that can neither grow nor shrink, all zero.
/// Errors: what the kernel says.
[[nodiscard]] Outcome<UniqueFd> make_inflight_file(InflightShape shape);

/// What one ring notes in the region. Lives as long as the ring runs, and not longer than the
/// region.
class InflightQueue {
  public:
    using Entry = std::uint16_t;
    /// A chain that an earlier process took and did not return: what VirtQueue::pop_again wants.
    struct Left {
        Entry entry = 0;
        std::uint16_t id = 0;
        std::vector<Descriptor> descriptors;
    };

    InflightQueue() = default;
    InflightQueue(const InflightQueue&) = delete;
    InflightQueue& operator=(const InflightQueue&) = delete;
    virtual ~InflightQueue() = default;

    /// Where the device is in the ring. The front end's word for it may be out of date.
    [[nodiscard]] RingBase base() const { return base_; }
    /// The chains to be taken again, in the order in which they were taken.
    [[nodiscard]] const std::vector<Left>& left() const { return left_; }

    /// Notes a chain that was popped.
    /// @param descriptors  VirtQueue::last_descriptors()
    /// @return its entry, free of any record
    [[nodiscard]] virtual Entry took(const DescriptorChain& chain,
                                     std::span<const Descriptor> descriptors) = 0;
    /// To be called before the entry's chain is put and after it was published, in the same order.
    /// Several chains may be between the two on a split ring, and one on a packed ring, during
    /// which nothing may be taken.
    virtual void before_push(Entry entry) = 0;
    virtual void after_push(Entry entry) = 0;

  protected:
    RingBase base_ = 0;
    std::vector<Left> left_;
};

class InflightRegion {
    struct Key {};  // only map() constructs

  public:
    InflightRegion(Key, std::shared_ptr<const MemoryRegion> mapping, InflightShape shape);

    /// Maps a region that a front end hands over.
    /// @param fd  may be closed afterwards
    /// Errors: too small for its shape, or beyond the end of the file; what mmap says.
    [[nodiscard]] static Outcome<std::unique_ptr<InflightRegion>> map(const SetInflightFd& message,
                                                                      int fd);

    [[nodiscard]] const InflightShape& shape() const { return shape_; }

    /// Reads what was going on in a ring, and goes on from there.
    /// @param setup  of the ring; its base counts only if the region is new
    /// Errors: a ring larger than the region's entries, or a region that is not of this ring or
    /// contradicts itself; the ring is not in guest memory.
    [[nodiscard]] Outcome<std::unique_ptr<InflightQueue>> attach(unsigned queue,
                                                                 const VirtQueue::Setup& setup);

    /// Where nodes note the places of a queue's writes, by entry.
    [[nodiscard]] std::span<WriteSlot> slots(unsigned queue);
    /// What an earlier process did of the writes of a queue, by entry; to be found out, from the
    /// slots and the zones, before any ring runs.
    [[nodiscard]] std::span<EarlierWrite> earlier(unsigned queue);

  private:
    std::shared_ptr<const MemoryRegion> mapping_;  // shared with nobody
    InflightShape shape_;
    std::vector<EarlierWrite> earlier_;  // of all queues
};

}  // namespace zbdkit::vhost_user
