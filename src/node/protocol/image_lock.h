// SPDX-License-Identifier: Apache-2.0
// The lock that keeps two writers off one image: flock(2) on the file or block device, exclusive
// for a writer and shared for readers that serve it. A killed process leaves none behind, or for a
// moment only: until the kernel has closed the file, which io_uring may still use.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/error.h"

namespace zbdkit {

enum class LockMode : std::uint8_t { shared, exclusive };

/// Holds the lock until it is destroyed, which must be before the descriptor is closed.
class [[nodiscard]] ImageLock {
  public:
    /// Of nothing.
    ImageLock() = default;
    ImageLock(ImageLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    ImageLock& operator=(ImageLock&& other) noexcept {
        if (this != &other) {
            release();
            fd_ = std::exchange(other.fd_, -1);
        }
        return *this;
    }
    ImageLock(const ImageLock&) = delete;
    ImageLock& operator=(const ImageLock&) = delete;
    ~ImageLock() { release(); }

  private:
    friend Outcome<ImageLock> lock_image(int fd, const std::string& filename, LockMode mode);
    explicit ImageLock(int fd) : fd_(fd) {}
    void release();

    int fd_ = -1;
};

/// Takes the lock. Waits for a moment only, in case somebody just looks (is_image_locked()), and
/// for a second if the process that has it is gone.
/// Errors: another process has it; the message names the process where the host tells it.
/// @param fd  stays the caller's
[[nodiscard]] Outcome<ImageLock> lock_image(int fd, const std::string& filename, LockMode mode);

/// @return "process 4711 (zbdkit)" for the holder of the flock, or "another process"
[[nodiscard]] std::string lock_holder(int fd);

/// Whether a writer holds the lock now.
[[nodiscard]] bool is_image_locked(int fd);

}  // namespace zbdkit
