// SPDX-License-Identifier: Apache-2.0
// Random numbers for choosing blocks: small, fast and the same everywhere for a seed (SplitMix64).
#pragma once

#include <cstdint>

namespace zbdkit::bench {

class Random {
  public:
    explicit Random(std::uint64_t seed) : state_(seed) {}

    [[nodiscard]] std::uint64_t next() {
        state_ += 0x9e3779b97f4a7c15;
        std::uint64_t mixed = state_;
        mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
        mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
        return mixed ^ (mixed >> 31);
    }
    /// @param bound  1 to 2^32 - 1
    /// @return 0 to bound - 1, all equally likely but for one in 2^32
    [[nodiscard]] std::uint64_t below(std::uint64_t bound) {
        return ((next() >> 32) * bound) >> 32;
    }

  private:
    std::uint64_t state_;
};

}  // namespace zbdkit::bench
