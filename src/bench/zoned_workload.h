// SPDX-License-Identifier: Apache-2.0
// Workloads of a host-managed disk: writes go to the write pointers of the zones in use, several at
// a time to one zone in the order of one ring, and a full zone is reset when nothing of it is on
// its way. With a verifier all of it is read before that. Pure, one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "bench/random.h"
#include "bench/verifier.h"
#include "bench/workload.h"

namespace zbdkit::bench {

/// A sequential zone in use, in blocks of the run. Passes and workloads hand it on to each other
/// while nothing is on its way.
struct WorkZone {
    std::uint64_t start = 0;       ///< bytes
    std::uint64_t length = 0;      ///< bytes; how much a reset empties
    std::uint64_t capacity = 0;    ///< blocks, at least 1; a rest below a block is not used
    std::uint64_t next = 0;        ///< the block that the next write goes to; append: given out
    std::uint64_t readable = 0;    ///< all blocks below are written
    std::uint32_t on_the_way = 0;  ///< requests of any kind
    bool is_draining = false;      ///< full: takes nothing more until it is reset
    std::uint64_t checked = 0;     ///< blocks that were read since it is full
    std::vector<bool> ended = {};  ///< of the blocks from `readable` on, modulo its size: written
};

/// The zones in use.
struct ZonedArea {
    std::vector<WorkZone> zones;
    std::uint32_t block_size = 0;  ///< bytes
};

/// write and read go through zone after zone, again and again; the others choose another zone each
/// time. Writes to one zone all go through one queue: two rings have no order between them.
class ZonedWorkload final : public Workload {
  public:
    struct Options {
        Operation operation = Operation::randwrite;
        std::uint32_t read_percent = 0;  ///< of mixed
        std::uint32_t queue_count = 1;   ///< at most as many as zones, but for append and reads
        std::uint64_t seed = 0;
        Verifier* verifier = nullptr;  ///< is told of resets; null: nothing is read before them
    };
    /// @param area  outlives this; for reads: with something readable in each zone
    ZonedWorkload(ZonedArea& area, const Options& options);

    [[nodiscard]] std::optional<Target> next(std::uint32_t queue) override;
    [[nodiscard]] bool is_place_of(const Target& append, std::uint64_t placed) const override;
    void ended(const Target& target) override;

  private:
    [[nodiscard]] std::optional<Target> next_read();
    [[nodiscard]] std::optional<Target> next_sequential_read();
    [[nodiscard]] std::optional<Target> next_sequential_write(std::uint32_t queue);
    [[nodiscard]] std::optional<Target> next_write_anywhere(std::uint32_t queue);
    /// A write or append to the zone, its reset, or nothing.
    [[nodiscard]] std::optional<Target> write_or_reset(std::uint32_t zone);
    [[nodiscard]] Target start(std::uint32_t zone, BlkRequestType type, std::uint64_t offset);

    ZonedArea& area_;
    Options options_;
    Random random_;
    std::uint32_t zone_count_;
    std::uint32_t read_zone_ = 0;
    std::uint64_t read_block_ = 0;
    std::vector<std::uint32_t> write_zones_;  ///< of `write`, by queue
};

/// Zone after zone: the next begins when nothing of the former is on its way. Queue 0 only.
class ZonedPass final : public Workload {
  public:
    enum class Kind : std::uint8_t {
        fill,       ///< writes from where each zone stands up to `percent` of its capacity
        read_back,  ///< reads the blocks that the verifier knows
    };
    struct Options {
        Kind kind = Kind::fill;
        std::uint32_t percent = 100;         ///< of fill
        const Verifier* verifier = nullptr;  ///< null only for fill
    };
    /// @param area  outlives this
    ZonedPass(ZonedArea& area, const Options& options) : area_(area), options_(options) {}

    [[nodiscard]] std::optional<Target> next(std::uint32_t queue) override;
    void ended(const Target& target) override;

  private:
    [[nodiscard]] std::optional<Target> next_of(WorkZone& zone);

    ZonedArea& area_;
    Options options_;
    std::uint32_t zone_ = 0;
    std::uint64_t block_ = 0;  ///< of read_back, within the zone
};

}  // namespace zbdkit::bench
