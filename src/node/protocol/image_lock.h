// SPDX-License-Identifier: Apache-2.0
// The lock that keeps two writers off one image: flock(2) on the file or block device, exclusive
// for a writer and shared for readers that serve it. It goes with the descriptor, so a killed
// process leaves none behind, or for a moment only.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"

namespace zbdkit {

enum class LockMode : std::uint8_t { shared, exclusive };

/// Takes the lock. Waits for a moment only, in case somebody just looks (is_image_locked()), and
/// for a second if the process that has it is gone.
/// Errors: another process has it; the message names the process where the host tells it.
[[nodiscard]] Outcome<void> lock_image(int fd, const std::string& filename, LockMode mode);

/// @return "process 4711 (zbdkit)" for the holder of the flock, or "another process"
[[nodiscard]] std::string lock_holder(int fd);

/// Whether a writer holds the lock now.
[[nodiscard]] bool is_image_locked(int fd);

}  // namespace zbdkit
