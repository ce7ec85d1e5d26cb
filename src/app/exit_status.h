// SPDX-License-Identifier: Apache-2.0
// What the zbdkit command tells the shell. Part of the interface: scripts test for these numbers.
#pragma once

namespace zbdkit::app {

inline constexpr int kOk = 0;
inline constexpr int kFailure = 1;
inline constexpr int kUsage = 2;  ///< the command line is wrong; nothing was touched

// Of `zbdkit check` only, which gives kFailure for a wrong command line:
inline constexpr int kDamaged = 2;   ///< the image is damaged
inline constexpr int kRepaired = 3;  ///< it was, and no damage is left

}  // namespace zbdkit::app
