// SPDX-License-Identifier: Apache-2.0
// How commands speak: errors to stderr as "zbdkit: create: message", results to stdout, and the
// words for disks that several commands share.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "zone/zone.h"

namespace zbdkit::app {

/// Prints "zbdkit: COMMAND: message" to stderr.
/// @return kFailure
int report_failure(std::string_view command, const Failure& failure);

/// Prints the same, and where help is to be had.
/// @return kUsage
int report_usage(std::string_view command, const Failure& failure);

/// "1 zone", "32 zones".
[[nodiscard]] std::string count_text(std::uint64_t count, std::string_view noun);

/// "32 zones of 256 MiB" or "32 zones of 256 MiB (4 conventional, capacity 200 MiB)".
[[nodiscard]] std::string describe_zones(const ZoneGeometry& geometry);

/// "8 GiB, 32 zones of 256 MiB, host-managed"; only the size if it is not zoned.
[[nodiscard]] std::string describe_disk(const ZoneGeometry& zones, std::uint64_t size);

/// A word as a shell takes it: quoted only if it must be.
[[nodiscard]] std::string shell_quote(std::string_view word);

}  // namespace zbdkit::app
