// SPDX-License-Identifier: Apache-2.0
// How long the host's resolver may take to look a name up, which nobody can interrupt.
#pragma once

#include <cstdint>

namespace zbdkit {

/// From now on a lookup on this thread (getaddrinfo and what calls it) ends within about
/// `limit_ns`, where name servers are asked and none answers: without this, the host's settings
/// decide, and 30 s are usual. At least 2 s for each name server. Other sources of names are not
/// limited, and each search domain of the host has the time anew.
/// Thread: one that may block; only its own lookups are limited.
void limit_name_lookups(std::uint64_t limit_ns);

}  // namespace zbdkit
