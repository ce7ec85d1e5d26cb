// SPDX-License-Identifier: Apache-2.0
#include "bench/stamp.h"

#include <fmt/format.h>

#include "base/crc32c.h"
#include "bench/random.h"

namespace zbdkit::bench {
namespace {

constexpr std::uint64_t kMagic = 0x6b6e63626b64627a;  // "zbdkbcnk"
constexpr std::size_t kPosition = 8;
constexpr std::size_t kSequence = 16;
constexpr std::size_t kSeed = 24;
constexpr std::size_t kChecksum = 32;
constexpr std::size_t kSize = 36;
constexpr std::size_t kBody = 40;

std::uint32_t size_of(ConstBytes block) { return static_cast<std::uint32_t>(block.size()); }

/// Of what the checksum covers: all but itself.
std::uint32_t checksum_of(ConstBytes block) {
    const std::uint32_t head = crc32c(block.first(kChecksum));
    const std::uint32_t rest = crc32c(block.subspan(kSize));
    // Two sums and not one of a copy: the block lies in shared memory and is large.
    return head ^ ((rest << 1) | (rest >> 31));
}

std::string describe(const Stamp& stamp) {
    return fmt::format("write {} of seed {} to byte {}", stamp.sequence, stamp.seed,
                       stamp.position);
}

}  // namespace

void write_stamp(const Stamp& stamp, MutableBytes block) {
    store_le(block.data(), kMagic);
    store_le(block.data() + kPosition, stamp.position);
    store_le(block.data() + kSequence, stamp.sequence);
    store_le(block.data() + kSeed, stamp.seed);
    store_le(block.data() + kSize, size_of(block));
    Random body(stamp.seed ^ (stamp.sequence << 32));
    for (std::size_t at = kBody; at < block.size(); at += 8)
        store_le(block.data() + at, body.next());
    store_le(block.data() + kChecksum, checksum_of(block));
}

std::optional<std::string> find_mismatch(const Stamp& expected, ConstBytes block) {
    const auto magic = load_le<std::uint64_t>(block.data());
    if (magic != kMagic) {
        return fmt::format("expected {}, found no stamp but {:#018x}", describe(expected), magic);
    }
    const Stamp found{.position = load_le<std::uint64_t>(block.data() + kPosition),
                      .sequence = load_le<std::uint64_t>(block.data() + kSequence),
                      .seed = load_le<std::uint64_t>(block.data() + kSeed)};
    if (found != expected) {
        return fmt::format("expected {}, found {}", describe(expected), describe(found));
    }
    const auto checksum = load_le<std::uint32_t>(block.data() + kChecksum);
    const std::uint32_t right = checksum_of(block);
    if (checksum == right && load_le<std::uint32_t>(block.data() + kSize) == size_of(block))
        return {};
    return fmt::format(
        "expected {}, found its stamp with other bytes: checksum {:#010x} says {:#010x}",
        describe(expected), right, checksum);
}

}  // namespace zbdkit::bench
