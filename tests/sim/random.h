// SPDX-License-Identifier: Apache-2.0
// Every choice of a simulation comes from one of these, so that a seed says all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>

namespace zbdkit::sim {

class Random {
  public:
    explicit Random(std::uint64_t seed) : engine_(seed) {}

    /// A number from 0 to `bound` - 1. @param bound  not 0
    [[nodiscard]] std::uint64_t below(std::uint64_t bound) { return engine_() % bound; }
    /// A number from `least` to `most`, both included.
    [[nodiscard]] std::uint64_t between(std::uint64_t least, std::uint64_t most) {
        return least + below(most - least + 1);
    }
    /// True once in `rarity` times on average; never for 0.
    [[nodiscard]] bool one_in(std::uint64_t rarity) { return rarity != 0 && below(rarity) == 0; }
    [[nodiscard]] bool coin() { return (engine_() & 1) != 0; }
    /// A seed for a generator of its own.
    [[nodiscard]] std::uint64_t seed() { return engine_(); }

  private:
    std::mt19937_64 engine_;
};

}  // namespace zbdkit::sim
