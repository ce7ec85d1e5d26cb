// SPDX-License-Identifier: Apache-2.0
// Everything inside zbdkit is in bytes. The units of the outside world are types of their own and
// convert only through checked functions, so that a guest's sector 2^55 becomes an error and not
// offset 0.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <optional>

namespace zbdkit {

inline constexpr std::uint64_t kSectorSize = 512;
inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;

/// The largest byte offset zbdkit handles: what a signed file offset can say.
inline constexpr std::uint64_t kMaxOffset =
    static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());

/// A range of bytes. Two u64 parameters are never passed side by side; this is.
struct ByteRange {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;

    /// One past the last byte. Only meaningful if is_sane().
    [[nodiscard]] constexpr std::uint64_t end() const { return offset + length; }
    /// True if the end does not pass kMaxOffset (so end() does not wrap).
    [[nodiscard]] constexpr bool is_sane() const {
        return offset <= kMaxOffset && length <= kMaxOffset - offset;
    }
    [[nodiscard]] constexpr bool contains(const ByteRange& other) const {
        return other.offset >= offset && other.end() <= end();
    }
    constexpr auto operator<=>(const ByteRange&) const = default;
};

/// A count or address in 512-byte sectors, the unit of virtio-blk, blkzoned and ublk.
class Sectors {
  public:
    constexpr Sectors() = default;
    constexpr explicit Sectors(std::uint64_t count) : count_(count) {}

    [[nodiscard]] constexpr std::uint64_t count() const { return count_; }
    /// @return bytes, or nothing if that passes kMaxOffset
    [[nodiscard]] constexpr std::optional<std::uint64_t> to_bytes() const {
        if (count_ > kMaxOffset / kSectorSize) return std::nullopt;
        return count_ * kSectorSize;
    }
    /// @param bytes  any; the remainder below a sector is cut off
    [[nodiscard]] static constexpr Sectors floor(std::uint64_t bytes) {
        return Sectors(bytes / kSectorSize);
    }
    constexpr auto operator<=>(const Sectors&) const = default;

  private:
    std::uint64_t count_ = 0;
};

/// The number of a zone, 0-based.
enum class ZoneIndex : std::uint32_t {};

[[nodiscard]] constexpr std::uint32_t to_number(ZoneIndex index) {
    return static_cast<std::uint32_t>(index);
}

/// True if `alignment` (a power of two or any positive number) divides `value`.
[[nodiscard]] constexpr bool is_aligned(std::uint64_t value, std::uint64_t alignment) {
    return value % alignment == 0;
}

[[nodiscard]] constexpr bool is_power_of_two(std::uint64_t value) {
    return value != 0 && (value & (value - 1)) == 0;
}

/// @param alignment  not 0; the sum must not wrap
[[nodiscard]] constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t alignment) {
    return (value + alignment - 1) / alignment * alignment;
}

[[nodiscard]] constexpr std::uint64_t round_down(std::uint64_t value, std::uint64_t alignment) {
    return value / alignment * alignment;
}

}  // namespace zbdkit
