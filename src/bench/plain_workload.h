// SPDX-License-Identifier: Apache-2.0
// Workloads of a disk that takes writes anywhere: blocks from its start up to a bound. Pure, one
// thread.
#pragma once

#include <cstdint>
#include <optional>

#include "bench/random.h"
#include "bench/verifier.h"
#include "bench/workload.h"

namespace zbdkit::bench {

/// The blocks in use: block_count of block_size bytes from byte 0 on.
struct PlainArea {
    std::uint64_t block_count = 0;  ///< 1 to 2^32 - 1
    std::uint32_t block_size = 0;   ///< bytes
};

/// read and write go through the area again and again; the others choose a block at random.
class PlainWorkload final : public Workload {
  public:
    struct Options {
        Operation operation = Operation::randread;  ///< not append
        std::uint32_t read_percent = 0;             ///< of mixed
        std::uint64_t seed = 0;
        /// Null: none. It keeps a write and another request from being at one block at a time.
        Verifier* verifier = nullptr;
    };
    PlainWorkload(const PlainArea& area, const Options& options);

    [[nodiscard]] std::optional<Target> next(std::uint32_t queue) override;
    void ended(const Target& target) override;

  private:
    [[nodiscard]] bool chooses_read();
    [[nodiscard]] std::uint64_t choose_block();

    PlainArea area_;
    Options options_;
    Random random_;
    std::uint64_t cursor_ = 0;
};

/// Every block of the area once, from the first to the last.
class PlainPass final : public Workload {
  public:
    enum class Kind : std::uint8_t {
        fill,       ///< writes all
        read_back,  ///< reads those that the verifier knows
    };
    /// @param verifier  null only for fill
    PlainPass(const PlainArea& area, Kind kind, const Verifier* verifier)
        : area_(area), kind_(kind), verifier_(verifier) {}

    [[nodiscard]] std::optional<Target> next(std::uint32_t queue) override;
    void ended(const Target& /*target*/) override {}

  private:
    PlainArea area_;
    Kind kind_;
    const Verifier* verifier_;
    std::uint64_t cursor_ = 0;
};

}  // namespace zbdkit::bench
