// SPDX-License-Identifier: Apache-2.0
// The seed of random tests: fixed by --seed=N or ZBDKIT_SEED, otherwise drawn once per process.
// A failing random test prints it with SCOPED_TRACE(seed_trace()).
#pragma once

#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>

namespace zbdkit::test {

inline std::uint64_t& seed_slot() {
    static std::uint64_t seed = [] {
        const char* text = std::getenv("ZBDKIT_SEED");
        if (text != nullptr) return std::uint64_t{std::strtoull(text, nullptr, 0)};
        return std::uint64_t{std::random_device{}()};
    }();
    return seed;
}

inline void set_seed(std::uint64_t seed) { seed_slot() = seed; }
[[nodiscard]] inline std::uint64_t seed() { return seed_slot(); }
[[nodiscard]] inline std::string seed_trace() {
    return "reproduce with --seed=" + std::to_string(seed());
}

}  // namespace zbdkit::test
