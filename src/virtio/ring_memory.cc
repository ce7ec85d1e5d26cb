// SPDX-License-Identifier: Apache-2.0
#include "virtio/ring_memory.h"

#include <fmt/format.h>

#include <bit>

#include "base/units.h"

namespace zbdkit::ring_memory {

Outcome<std::byte*> resolve(const GuestMemory& memory, const Part& part) {
    if (!is_aligned(part.address, part.alignment)) {
        return failure(fmt::format("{} at {:#x} is not aligned to {}", part.name, part.address,
                                   part.alignment),
                       Errc::misaligned);
    }
    const ByteRange range{part.address, part.length};
    std::byte* const found =
        part.is_guest_address ? memory.contiguous(range) : memory.contiguous_user(range);
    if (found == nullptr) {
        return failure(fmt::format("{} at {:#x}, {} bytes, is not within one region of guest "
                                   "memory",
                                   part.name, part.address, part.length),
                       Errc::out_of_range);
    }
    // A region whose own address is odd would make aligned addresses odd here, and atomic
    // accesses undefined.
    if (!is_aligned(std::bit_cast<std::uintptr_t>(found), part.alignment)) {
        return failure(fmt::format("{} at {:#x} lies in a region that is mapped off its alignment "
                                   "of {}",
                                   part.name, part.address, part.alignment),
                       Errc::misaligned);
    }
    return found;
}

}  // namespace zbdkit::ring_memory
