// SPDX-License-Identifier: Apache-2.0
// A virtio-blk request as a driver lays it out, in memory of its own for each segment, so that
// ASan sees every byte touched outside of them. One thread.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/iovec.h"
#include "virtio/blk_wire.h"
#include "virtio/descriptor_chain.h"

namespace zbdkit::test {

using Bytes = std::vector<std::byte>;

[[nodiscard]] inline Bytes bytes(std::size_t count, unsigned value) {
    return Bytes(count, std::byte(value));
}

/// The 16 bytes that every request begins with.
[[nodiscard]] inline Bytes header_bytes(std::uint32_t type, std::uint64_t sector) {
    Bytes header(16);
    store_le<std::uint32_t>(header.data(), type);
    store_le<std::uint64_t>(header.data() + 8, sector);
    return header;
}

/// A range of DISCARD and WRITE_ZEROES.
[[nodiscard]] inline Bytes range_bytes(std::uint64_t sector, std::uint32_t sector_count,
                                       std::uint32_t flags) {
    Bytes range(16);
    store_le<std::uint64_t>(range.data(), sector);
    store_le<std::uint32_t>(range.data() + 8, sector_count);
    store_le<std::uint32_t>(range.data() + 12, flags);
    return range;
}

[[nodiscard]] inline Bytes operator+(Bytes left, const Bytes& right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

class BlkChain {
  public:
    /// What writable memory holds before anything is written.
    static constexpr std::byte kUntouched{0xee};

    /// @param readable           all readable bytes
    /// @param writable_size      how many writable bytes
    /// @param readable_pieces    lengths of the first segments; one more takes what is left
    /// @param writable_pieces    the same
    BlkChain(const Bytes& readable, std::size_t writable_size,
             const std::vector<std::size_t>& readable_pieces = {},
             const std::vector<std::size_t>& writable_pieces = {}) {
        cut(readable, readable_pieces, readable_, chain.readable);
        cut(Bytes(writable_size, kUntouched), writable_pieces, writable_, chain.writable);
        std::uint64_t address = 0x1000;
        for (const Bytes& piece : writable_) {
            chain.writable_guest.push_back({address, piece.size()});
            address += 0x10000;
        }
    }
    BlkChain(const BlkChain&) = delete;
    BlkChain& operator=(const BlkChain&) = delete;

    /// All writable bytes.
    [[nodiscard]] Bytes written() const {
        Bytes all;
        for (const Bytes& piece : writable_) all.insert(all.end(), piece.begin(), piece.end());
        return all;
    }
    [[nodiscard]] unsigned status() const { return std::to_integer<unsigned>(written().back()); }
    [[nodiscard]] std::uint64_t u64_at(std::size_t position) const {
        return load_le<std::uint64_t>(written().data() + position);
    }
    [[nodiscard]] unsigned byte_at(std::size_t position) const {
        return std::to_integer<unsigned>(written().at(position));
    }

    DescriptorChain chain;

  private:
    static void cut(const Bytes& all, const std::vector<std::size_t>& pieces,
                    std::vector<Bytes>& parts, IoVector& segments) {
        auto from = all.begin();
        for (const std::size_t piece : pieces) {
            parts.emplace_back(from, from + static_cast<std::ptrdiff_t>(piece));
            from += static_cast<std::ptrdiff_t>(piece);
        }
        if (from != all.end()) parts.emplace_back(from, all.end());
        for (Bytes& part : parts) segments.push_back(segment_of(MutableBytes(part)));
    }

    std::vector<Bytes> readable_;
    std::vector<Bytes> writable_;
};

}  // namespace zbdkit::test
