// SPDX-License-Identifier: Apache-2.0
// What a process has used so far, as /proc tells: CPU time and voluntary context switches of all of
// its threads. Two samples are compared by thread, so that one that ended in between does not make
// the sum shrink; what such a thread did is not counted. Any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>

namespace zbdkit::bench {

struct ProcessSample {
    struct Thread {
        std::uint64_t cpu_ns = 0;
        std::uint64_t voluntary_switches = 0;
    };
    std::map<pid_t, Thread> threads;
    bool has_cpu = false;       ///< the CPU time of all threads could be read
    bool has_switches = false;  ///< the switches of all threads could be read
};

/// @param pid  0: nothing can be read. CPU time comes from schedstat, in ns; where the kernel has
///             none from stat, in clock ticks.
[[nodiscard]] ProcessSample sample_process(pid_t pid);

/// What a process used between two samples.
struct ProcessUse {
    std::optional<std::uint64_t> cpu_ns;
    std::optional<std::uint64_t> voluntary_switches;
};
[[nodiscard]] ProcessUse use_between(const ProcessSample& before, const ProcessSample& after);

}  // namespace zbdkit::bench
