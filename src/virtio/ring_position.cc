// SPDX-License-Identifier: Apache-2.0
#include "virtio/ring_position.h"

#include <fmt/format.h>

#include "virtio/ring_memory.h"

namespace zbdkit {
namespace {

constexpr std::size_t kUsedIndex = 2;          // in the used ring
constexpr std::uint16_t kAvailable = 1U << 7;  // flags of a packed descriptor
constexpr std::uint16_t kUsed = 1U << 15;
constexpr std::uint16_t kWrapBit = 1U << 15;

}  // namespace

Outcome<std::uint16_t> split_used_index(const VirtQueue::Setup& setup) {
    const ring_memory::Part part{.name = "used ring",
                                 .address = setup.addresses.device,
                                 .length = 4 + 8 * std::uint64_t{setup.size},
                                 .alignment = 4,
                                 .is_guest_address = setup.addresses.guest_addresses};
    const Outcome<std::byte*> used = ring_memory::resolve(*setup.memory, part);
    if (!used) return std::unexpected(used.error());
    return ring_memory::load<std::uint16_t>(*used + kUsedIndex, std::memory_order_acquire);
}

PackedPosition PackedPosition::advanced(std::uint32_t count, std::uint32_t size) const {
    const std::uint32_t next = index + count;
    if (next < size) return {static_cast<std::uint16_t>(next), wrap};
    return {static_cast<std::uint16_t>(next - size), !wrap};
}

std::uint16_t PackedPosition::encode() const {
    return static_cast<std::uint16_t>(index | (wrap ? kWrapBit : 0));
}

PackedPosition PackedPosition::decode(std::uint16_t encoded) {
    return {static_cast<std::uint16_t>(encoded & ~kWrapBit), (encoded & kWrapBit) != 0};
}

Outcome<bool> packed_is_used(const VirtQueue::Setup& setup, PackedPosition position) {
    if (position.index >= setup.size) {
        return failure(
            fmt::format("position {} is not below the queue size {}", position.index, setup.size),
            Errc::out_of_range);
    }
    const ring_memory::Part part{.name = "descriptor ring",
                                 .address = setup.addresses.descriptors,
                                 .length = Descriptor::kSize * std::uint64_t{setup.size},
                                 .alignment = 16,
                                 .is_guest_address = setup.addresses.guest_addresses};
    const Outcome<std::byte*> ring = ring_memory::resolve(*setup.memory, part);
    if (!ring) return std::unexpected(ring.error());
    const std::uint16_t flags =
        ring_memory::load_packed_flags(*ring + position.index * Descriptor::kSize);
    return ((flags & kAvailable) != 0) == position.wrap && ((flags & kUsed) != 0) == position.wrap;
}

}  // namespace zbdkit
