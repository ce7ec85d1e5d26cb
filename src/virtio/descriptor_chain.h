// SPDX-License-Identifier: Apache-2.0
// One request as the guest laid it out: a list of readable and then of writable memory. Descriptors
// are copied out of guest memory once, before anything is checked; the bytes they point to stay the
// guest's and may change at any time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/iovec.h"
#include "base/units.h"
#include "virtio/guest_memory.h"

namespace zbdkit {

/// One descriptor as it stood in guest memory. [virtio 1.3, 2.7.5 and 2.8.13]
struct Descriptor {
    static constexpr std::size_t kSize = 16;
    static constexpr std::uint16_t kNext = 1;
    static constexpr std::uint16_t kWrite = 2;
    static constexpr std::uint16_t kIndirect = 4;

    std::uint64_t address = 0;  ///< guest-physical
    std::uint32_t length = 0;
    std::uint16_t flags = 0;
    std::uint16_t link = 0;  ///< split: the next descriptor. packed: the buffer id

    bool operator==(const Descriptor&) const = default;
};

struct DescriptorChain {
    IoVector readable;  ///< driver to device
    IoVector writable;  ///< device to driver
    /// Guest-physical ranges of `writable`, in order, for the dirty log.
    boost::container::small_vector<ByteRange, 8> writable_guest;

    std::uint16_t id = 0;  ///< split: head index. packed: buffer id
    /// packed: how many ring descriptors the chain took (1 for an indirect one)
    std::uint16_t descriptor_count = 0;

    /// Why pop() called the chain invalid, or "". Static text, for a (rate-limited) log.
    const char* refusal = "";

    /// Keeps the memory mapped while the request is in flight, and until the chain is used again or
    /// drops it.
    std::shared_ptr<const GuestMemory> memory;

    /// Forgets the request, and keeps the memory.
    void clear() {
        readable.clear();
        writable.clear();
        writable_guest.clear();
        id = 0;
        descriptor_count = 0;
        refusal = "";
    }
};

/// Marks in the dirty log what was written to a chain.
/// @param written  bytes from the start of the writable memory
void mark_written(const DirtyLog& log, const DescriptorChain& chain, std::uint64_t written);

}  // namespace zbdkit
