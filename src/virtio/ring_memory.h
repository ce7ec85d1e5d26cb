// SPDX-License-Identifier: Apache-2.0
// Single accesses to the memory that a ring shares with its driver. Each is one atomic access of
// its own size, so the compiler can neither repeat it (the driver may change the value between
// two reads) nor tear it; values are little-endian there and native here.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/error.h"
#include "virtio/descriptor_chain.h"
#include "virtio/guest_memory.h"

namespace zbdkit::ring_memory {

/// @return the same integer with its bytes in little-endian order, or back
template <class T>
    requires std::is_unsigned_v<T>
[[nodiscard]] constexpr T little_endian(T value) {
    if constexpr (std::endian::native == std::endian::big) value = std::byteswap(value);
    return value;
}

/// @param at  aligned to T, within a ring part that resolve() accepted
template <class T>
    requires std::is_unsigned_v<T>
[[nodiscard]] T load(const std::byte* at, std::memory_order order) {
    // SAFETY: `at` is aligned and in a mapping of at least sizeof(T) bytes (resolve() checked
    // both); all access to it from this side is atomic, and T has no invalid values. atomic_ref
    // of const T is C++26, hence the const_cast; nothing is stored.
    T& shared = *const_cast<T*>(reinterpret_cast<const T*>(at));
    return little_endian(std::atomic_ref<T>(shared).load(order));
}

/// @param at  as for load(); and the device may write there
template <class T>
    requires std::is_unsigned_v<T>
void store(std::byte* at, T value, std::memory_order order) {
    // SAFETY: as in load().
    T& shared = *reinterpret_cast<T*>(at);
    std::atomic_ref<T>(shared).store(little_endian(value), order);
}

/// Reads a descriptor of the split ring's table, every field once.
/// @param at  aligned to 16
[[nodiscard]] inline Descriptor load_split_descriptor(const std::byte* at) {
    constexpr auto kOrder = std::memory_order_relaxed;
    return {.address = load<std::uint64_t>(at, kOrder),
            .length = load<std::uint32_t>(at + 8, kOrder),
            .flags = load<std::uint16_t>(at + 12, kOrder),
            .link = load<std::uint16_t>(at + 14, kOrder)};
}

/// Reads the flags of a descriptor of the packed ring. If they say that it is available, or used,
/// the rest of it is there.
/// @param at  aligned to 16
[[nodiscard]] inline std::uint16_t load_packed_flags(const std::byte* at) {
    return load<std::uint16_t>(at + 14, std::memory_order_acquire);
}

/// Reads the rest of a descriptor of the packed ring, every field once.
/// @param flags  what load_packed_flags() gave
[[nodiscard]] inline Descriptor load_packed_descriptor(const std::byte* at, std::uint16_t flags) {
    constexpr auto kOrder = std::memory_order_relaxed;
    return {.address = load<std::uint64_t>(at, kOrder),
            .length = load<std::uint32_t>(at + 8, kOrder),
            .flags = flags,
            .link = load<std::uint16_t>(at + 12, kOrder)};
}

/// The full barrier between publishing something and reading what the driver wants to know of it,
/// or between asking for kicks and looking for what came before them. [virtio 1.3, 2.7.13.3.1]
inline void full_barrier() { std::atomic_thread_fence(std::memory_order_seq_cst); }

/// Part of a ring as the front end placed it.
struct Part {
    const char* name = "";  ///< for messages
    std::uint64_t address = 0;
    std::uint64_t length = 0;
    std::uint64_t alignment = 0;
    bool is_guest_address = false;
};

/// Finds a ring part in this process.
/// Errors: an address that is misaligned (as given, or where it is mapped), or a part that does
/// not lie within one memory region; with its name and numbers.
[[nodiscard]] Outcome<std::byte*> resolve(const GuestMemory& memory, const Part& part);

/// Whether `event` is one of the positions that were passed on the way from `before` to `now`;
/// positions count modulo 2^16. [virtio 1.3, 2.7.7.2]
[[nodiscard]] constexpr bool passed_event(std::uint16_t event, std::uint16_t before,
                                          std::uint16_t now) {
    return static_cast<std::uint16_t>(now - event - 1) < static_cast<std::uint16_t>(now - before);
}

}  // namespace zbdkit::ring_memory
