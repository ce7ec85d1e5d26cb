// SPDX-License-Identifier: Apache-2.0
// What a block holds in a run with --verify: who wrote it, and where to. Pure.
//
//   block = magic:u64 position:u64 sequence:u64 seed:u64 checksum:u32 size:u32 body
//   body     bytes that follow from seed and sequence, so two writes differ everywhere
//   checksum CRC32C of what is before it, and of what is behind it rotated by a bit, XORed
// All of it is little-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"

namespace zbdkit::bench {

struct Stamp {
    std::uint64_t position = 0;  ///< bytes; of an append, where its zone starts
    std::uint64_t sequence = 0;  ///< counts the writes of a run, from 1
    std::uint64_t seed = 0;      ///< of the run

    bool operator==(const Stamp&) const = default;
};

/// Fills a block.
/// @param block  at least a sector, a multiple of 8
void write_stamp(const Stamp& stamp, MutableBytes block);

/// @return what is wrong with a block that should be as write_stamp() made it, with what was
///         expected and what was found; nothing if it is right
[[nodiscard]] std::optional<std::string> find_mismatch(const Stamp& expected, ConstBytes block);

}  // namespace zbdkit::bench
