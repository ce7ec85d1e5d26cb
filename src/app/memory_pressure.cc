// SPDX-License-Identifier: Apache-2.0
#include "app/memory_pressure.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <cerrno>
#include <cstring>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57  // Linux 5.6
#endif

namespace zbdkit::app {

Outcome<void> prepare_for_memory_pressure() {
    Outcome<void> outcome;
    // Program, libraries and heap now; what comes later when it is touched, so that a disk in
    // memory does not have to be there in full.
    if (::mlockall(MCL_CURRENT) != 0 || ::mlockall(MCL_FUTURE | MCL_ONFAULT) != 0) {
        outcome =
            failure(fmt::format("cannot lock memory: {}: expected root or a larger "
                                "RLIMIT_MEMLOCK (ulimit -l)",
                                std::strerror(errno)));
    }
    if (::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0) {
        outcome =
            failure(fmt::format("cannot become a server of storage (PR_SET_IO_FLUSHER): {}: "
                                "expected CAP_SYS_RESOURCE",
                                std::strerror(errno)));
    }
    return outcome;
}

}  // namespace zbdkit::app
