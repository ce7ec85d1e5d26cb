// SPDX-License-Identifier: Apache-2.0
// What a client asks of a disk next. A workload knows what is on its way of the requests that it
// gave out, and no ring. Pure, one thread.
#pragma once

#include <cstdint>
#include <optional>

#include "virtio/blk_wire.h"

namespace zbdkit::bench {

enum class Operation : std::uint8_t { read, write, randread, randwrite, append, mixed };

[[nodiscard]] constexpr bool only_reads(Operation operation) {
    return operation == Operation::read || operation == Operation::randread;
}

/// A request of one block, or the reset of a zone.
struct Target {
    BlkRequestType type = BlkRequestType::in;  ///< in, out, zone_append or zone_reset
    std::uint32_t zone = 0;                    ///< index among the zones in use
    std::uint64_t offset = 0;                  ///< bytes; append, reset: where the zone starts
    std::uint64_t sequence = 0;                ///< of a write, for Verifier

    bool operator==(const Target&) const = default;
};

class Workload {
  public:
    Workload() = default;
    Workload(const Workload&) = delete;
    Workload& operator=(const Workload&) = delete;
    virtual ~Workload() = default;

    /// Chooses the next request of a queue and counts it as on its way.
    /// @return nothing if there is none now: something on its way must end first, or, with nothing
    ///         on its way at all, the workload has ended
    [[nodiscard]] virtual std::optional<Target> next(std::uint32_t queue) = 0;
    /// @param placed  where the server says that an append's data is, bytes
    /// @return whether a block of this run can be there
    [[nodiscard]] virtual bool is_place_of(const Target& /*append*/,
                                           std::uint64_t /*placed*/) const {
        return false;
    }
    /// Learns that a request ended well.
    virtual void ended(const Target& target) = 0;
};

}  // namespace zbdkit::bench
