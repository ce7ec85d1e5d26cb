// SPDX-License-Identifier: Apache-2.0
// What the driver's halves of split and packed rings have in common, for a client that has a fixed
// number of requests of up to three buffers. Each request has a slot; the ring has descriptors for
// all of them, so that there is always room. Both kinds have the same members and no virtual ones:
//
//   layout(memory, size)     takes the memory of a ring
//   put(slot, chain)         adds the request of a slot that is not in flight
//   publish()                makes what was put visible
//   take_kick()              whether the server wants a kick for what was published since
//   take_used()              the next slot that came back
//   enable_calls()           asks for a call; true if something came back meanwhile
//   disable_calls()          asks for none; cheap if that was said already
//
// What the server writes is checked: it may be any program. One thread.
#pragma once

#include <cstdint>

#include "virtio/descriptor_chain.h"

namespace zbdkit::bench {

/// Descriptors that a slot needs at most: header, data and tail.
inline constexpr std::uint32_t kDescriptorsPerSlot = 3;

/// The buffers of a request, by the server's addresses.
struct Chain {
    std::uint64_t header = 0;  ///< 16 readable bytes
    std::uint64_t data = 0;
    std::uint64_t tail = 0;         ///< writable: status in the last byte
    std::uint32_t data_length = 0;  ///< 0: there is no data
    std::uint32_t tail_length = 0;
    bool data_is_writable = false;

    bool operator==(const Chain&) const = default;
    [[nodiscard]] std::uint32_t descriptor_count() const {
        return data_length == 0 ? kDescriptorsPerSlot - 1 : kDescriptorsPerSlot;
    }
};

/// What take_used() found.
struct Used {
    enum class Kind : std::uint8_t { nothing, slot, wrong };
    Kind kind = Kind::nothing;
    std::uint32_t slot = 0;  ///< wrong: the id that the server gave, which is none in flight
};

}  // namespace zbdkit::bench
