// SPDX-License-Identifier: Apache-2.0
// A disk with a volatile cache, as a file on a host is one: what was written is seen at once, and
// is on the medium only after a sync. Until then every version that a sector had since the last
// sync may be what a power cut leaves, each sector for itself: writes are lost, torn and reordered
// at the grain of a sector.
//
// The bytes can be mapped. Stores through the mapping are seen at once too; what of them a power
// cut leaves is either the bytes of the last sync or the present ones.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "base/units.h"
#include "tests/sim/random.h"

namespace zbdkit::sim {

class SimDisk {
  public:
    static constexpr std::size_t kSector = 512;

    /// All zeroes, on the medium. @param size  bytes, a multiple of kSector
    explicit SimDisk(std::size_t size) : seen_(size), medium_(size) {}

    [[nodiscard]] std::size_t size() const { return seen_.size(); }
    /// What a reader sees, and what a mapping is made of.
    [[nodiscard]] MutableBytes bytes() { return seen_; }
    [[nodiscard]] ConstBytes bytes() const { return seen_; }

    /// Stores through a mapping go to this range; it must not be written in other ways.
    void set_mapped(ByteRange range) { mapped_ = range; }

    /// @param offset  bytes, like the length a multiple of kSector
    void write(std::uint64_t offset, ConstBytes data);
    void zero(ByteRange range);

    /// A point in the order of writes, for sync().
    [[nodiscard]] std::uint64_t now() const { return sequence_; }
    /// Everything written up to `point` is on the medium.
    void sync(std::uint64_t point);
    /// Sectors that a power cut may lose.
    [[nodiscard]] std::size_t unsynced() const { return versions_.size(); }

    /// A write was cut off: of this range any part of it may be there.
    void note_cut(ByteRange range) { cuts_.push_back(range); }
    /// Whether the bytes of this range may be of different writes: one to it was cut off, or not
    /// synced when the power went, and none went over all of that since.
    [[nodiscard]] bool may_be_torn(ByteRange range) const;
    /// Who uses the disk says that all is whole from here on.
    void forget_cuts() { cuts_.clear(); }

    /// What is left after the power went.
    [[nodiscard]] SimDisk after_power_cut(Random& random) const;

  private:
    using Sector = std::array<std::byte, kSector>;
    struct Version {
        std::uint64_t sequence = 0;
        Sector data{};
    };

    void put(std::uint64_t sector, const Sector& data);

    std::vector<std::byte> seen_;
    std::vector<std::byte> medium_;
    /// By sector, oldest first: what it was since the last sync.
    std::unordered_map<std::uint64_t, std::vector<Version>> versions_;
    std::vector<ByteRange> cuts_;
    ByteRange mapped_{};
    std::uint64_t sequence_ = 0;
};

}  // namespace zbdkit::sim
