// SPDX-License-Identifier: Apache-2.0
// How far an earlier process got in returning chains of a ring, as the ring itself tells: what is
// to be known before a queue is made that goes on there. One thread. [virtio 1.3, 2.7.8, 2.8.1]
#pragma once

#include <cstdint>

#include "base/error.h"
#include "virtio/virt_queue.h"

namespace zbdkit {

/// @param setup  of a split ring
/// @return used.idx: how many chains were returned, modulo 2^16
/// Errors: the used ring is not within one region of guest memory, or misaligned.
[[nodiscard]] Outcome<std::uint16_t> split_used_index(const VirtQueue::Setup& setup);

/// A place in a packed ring and which lap around it that is.
struct PackedPosition {
    std::uint16_t index = 0;
    bool wrap = true;

    bool operator==(const PackedPosition&) const = default;

    /// @return the position `count` descriptors further, at most one lap
    [[nodiscard]] PackedPosition advanced(std::uint32_t count, std::uint32_t size) const;
    /// Index and wrap counter as RingBase has them.
    [[nodiscard]] std::uint16_t encode() const;
    [[nodiscard]] static PackedPosition decode(std::uint16_t encoded);
};

/// Whether the device returned a chain at this position in this lap.
/// @param setup  of a packed ring
/// Errors: the position is beyond the ring; the ring is not within one region of guest memory.
[[nodiscard]] Outcome<bool> packed_is_used(const VirtQueue::Setup& setup, PackedPosition position);

}  // namespace zbdkit
