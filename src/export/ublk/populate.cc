// SPDX-License-Identifier: Apache-2.0
#include "export/ublk/populate.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "base/text.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif

namespace zbdkit::ublk {

Outcome<void> populate(MutableBytes mapping) {
    if (::madvise(mapping.data(), mapping.size(), MADV_POPULATE_WRITE) == 0) return {};
    return failure(fmt::format("cannot have {} of memory: {}", format_size(mapping.size()),
                               std::strerror(errno)));
}

}  // namespace zbdkit::ublk
