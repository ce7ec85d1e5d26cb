// SPDX-License-Identifier: Apache-2.0
// Loads and stores of little-endian and native integers at any alignment, and the byte views of
// wire structs. With this header the codecs need no casts of their own.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace zbdkit {

using MutableBytes = std::span<std::byte>;
using ConstBytes = std::span<const std::byte>;

/// @param from  at least sizeof(T) readable bytes, any alignment
template <class T>
    requires std::is_unsigned_v<T>
[[nodiscard]] T load_le(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    if constexpr (std::endian::native == std::endian::big) value = std::byteswap(value);
    return value;
}

/// @param to  at least sizeof(T) writable bytes, any alignment
template <class T>
    requires std::is_unsigned_v<T>
void store_le(std::byte* to, T value) {
    if constexpr (std::endian::native == std::endian::big) value = std::byteswap(value);
    std::memcpy(to, &value, sizeof value);
}

/// The object representation of a wire struct.
template <class T>
    requires std::is_trivially_copyable_v<T>
[[nodiscard]] ConstBytes bytes_of(const T& object) {
    return std::as_bytes(std::span<const T, 1>(&object, 1));
}

template <class T>
    requires std::is_trivially_copyable_v<T>
[[nodiscard]] MutableBytes mutable_bytes_of(T& object) {
    return std::as_writable_bytes(std::span<T, 1>(&object, 1));
}

/// A pointer to plain memory as a pointer to bytes.
[[nodiscard]] inline std::byte* byte_pointer(void* memory) {
    return static_cast<std::byte*>(memory);
}
[[nodiscard]] inline const std::byte* byte_pointer(const void* memory) {
    return static_cast<const std::byte*>(memory);
}

}  // namespace zbdkit
