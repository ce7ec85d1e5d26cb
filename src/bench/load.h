// SPDX-License-Identifier: Apache-2.0
// A closed loop of requests over the rings of a connection: each slot has one request at a time,
// and the next as soon as that ended. All queues are served by the thread that calls drive(). While
// it polls it makes no system call but kicks that the server wants.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/error.h"
#include "bench/front_end.h"
#include "bench/meter.h"
#include "bench/verifier.h"
#include "bench/workload.h"

namespace zbdkit::bench {

/// How the client learns that requests ended.
enum class Wait : std::uint8_t {
    poll,   ///< it looks at its rings all the time and wants no calls
    event,  ///< it sleeps until a call
};

class Load {
  public:
    struct Setup {
        std::uint32_t queue_count = 1;
        std::uint32_t queue_size = 128;  ///< descriptors; at least kDescriptorsPerSlot * depth
        std::uint32_t depth = 1;         ///< slots of each queue
        std::uint32_t block_size = 4096;
        bool packed = false;
        bool event_idx = false;
        Wait wait = Wait::poll;
        std::uint64_t timeout_ns = 0;  ///< without anything ending
        std::uint64_t seed = 0;        ///< of the data that is written
    };
    static constexpr std::uint64_t kMaxMemory = std::uint64_t{1} << 30;

    /// Takes memory, hands it over and starts the rings.
    /// @param front_end  negotiated; outlives this
    /// Errors: more than kMaxMemory; what FrontEnd says.
    [[nodiscard]] static Outcome<std::unique_ptr<Load>> start(FrontEnd& front_end,
                                                              const Setup& setup);
    Load() = default;
    Load(const Load&) = delete;
    Load& operator=(const Load&) = delete;
    virtual ~Load() = default;

    /// When to measure. Without a meter the workload is driven to its end.
    struct Course {
        Meter* meter = nullptr;
        std::uint64_t warm_up_ns = 0;
        std::uint64_t run_ns = 0;
        Verifier* verifier = nullptr;  ///< null: nothing is stamped or checked
    };
    /// Drives a workload until the time is over, or it has ended, and everything has come back.
    /// Errors: an answer other than OK, a block that is not what was written, a server that breaks
    /// the rules of its ring, hangs up or lets nothing end for the timeout; and a workload that
    /// has nothing to do before the time is over. After an error the rings must not be used.
    [[nodiscard]] virtual Outcome<void> drive(Workload& workload, const Course& course) = 0;

    /// One request alone, through queue 0.
    /// @param reply_length  bytes that the server writes, 0 to kMaxReply
    /// @return them
    /// Errors: as drive()
    [[nodiscard]] virtual Outcome<std::vector<std::byte>> request(BlkRequestType type,
                                                                  std::uint64_t offset,
                                                                  std::uint32_t reply_length) = 0;
    static constexpr std::uint32_t kMaxReply = 64 * 1024;

    /// Ends the rings in good order.
    [[nodiscard]] virtual Outcome<void> stop() = 0;
};

}  // namespace zbdkit::bench
