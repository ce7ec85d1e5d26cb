// SPDX-License-Identifier: Apache-2.0
// Keeps the process alive when a front end truncates a file that is mapped here: the first touch of
// a page that is gone maps a page of zeroes in its place and trips the guard of that mapping, whose
// owner then drops the connection. Faults elsewhere go to whoever handled SIGBUS before. The kernel
// never raises SIGBUS for its own accesses; there the I/O fails with EFAULT. Thread: any.
#pragma once

#include <cstddef>

#include "base/bytes.h"
#include "base/error.h"

namespace zbdkit {

/// Watches one mapping for as long as it lives. Destroy it before the mapping is unmapped.
class SigbusGuard {
  public:
    /// Mappings that can be watched at a time in one process.
    static constexpr std::size_t kMaxWatched = 4096;

    /// Watches nothing.
    SigbusGuard() = default;
    SigbusGuard(SigbusGuard&& other) noexcept;
    SigbusGuard& operator=(SigbusGuard&& other) noexcept;
    SigbusGuard(const SigbusGuard&) = delete;
    SigbusGuard& operator=(const SigbusGuard&) = delete;
    ~SigbusGuard();

    /// Watches a mapping; the first call installs the signal handler.
    /// @param mapping    what mmap returned, all of it
    /// @param page_size  of the mapping's pages: a power of two
    /// Errors: kMaxWatched mappings are watched already; sigaction's errno.
    [[nodiscard]] static Outcome<SigbusGuard> watch(MutableBytes mapping, std::size_t page_size);

    /// @return whether a page of the mapping was found gone
    [[nodiscard]] bool tripped() const;
    /// @return whether any guard of this process ever tripped; cheap, for hot paths to ask first
    [[nodiscard]] static bool any_tripped();

  private:
    static constexpr std::size_t kNone = kMaxWatched;
    std::size_t slot_ = kNone;
};

}  // namespace zbdkit
