// SPDX-License-Identifier: Apache-2.0
// Counts what happens between two moments: requests, latencies, kicks and calls, and what server
// and client used meanwhile. One thread: the client's.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "bench/latency_histogram.h"
#include "bench/server_process.h"

namespace zbdkit::bench {

/// @return ns of a clock that only goes forward
[[nodiscard]] std::uint64_t clock_ns();

class Meter {
  public:
    /// @param server_pid  0: not known
    explicit Meter(pid_t server_pid) : server_pid_(server_pid) {}

    /// Begins and ends the measured time. What the server used is sampled before it begins and
    /// after it has ended.
    void begin();
    void end(std::uint64_t now_ns);
    [[nodiscard]] bool is_running() const { return is_running_; }

    /// Counts a request that ended, within the measured time. Its latency counts if all of it was.
    void add(std::uint64_t submitted_ns, std::uint64_t now_ns) {
        if (!is_running_) return;
        ++requests;
        if (submitted_ns >= begin_ns_) latency.add(now_ns - submitted_ns);
    }
    void add_reset() { resets += is_running_ ? 1 : 0; }
    void add_kick() { kicks += is_running_ ? 1 : 0; }
    void add_calls(std::uint64_t count) { calls += is_running_ ? count : 0; }

    std::uint64_t requests = 0;  ///< of data
    std::uint64_t resets = 0;
    std::uint64_t kicks = 0;
    std::uint64_t calls = 0;
    LatencyHistogram latency;
    std::uint64_t elapsed_ns = 0;
    ProcessUse server;
    std::uint64_t client_cpu_ns = 0;  ///< of this thread

  private:
    pid_t server_pid_;
    bool is_running_ = false;
    std::uint64_t begin_ns_ = 0;
    std::uint64_t client_cpu_begin_ns_ = 0;
    ProcessSample server_begin_;
};

}  // namespace zbdkit::bench
