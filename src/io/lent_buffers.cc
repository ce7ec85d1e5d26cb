// SPDX-License-Identifier: Apache-2.0
#include "io/lent_buffers.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <functional>

#include "base/assert.h"

namespace zbdkit {

LentBuffers::~LentBuffers() { ZBDKIT_ASSERT(taken_.empty()); }

/// The first of the gaps between what is taken that is large enough.
std::optional<std::uint16_t> LentBuffers::free_places(std::uint16_t count) const {
    std::uint32_t first = 0;
    for (const LentRange& range : taken_) {
        if (range.first - first >= count) break;
        first = std::uint32_t{range.first} + range.count;
    }
    if (first + count > size_) return std::nullopt;
    return static_cast<std::uint16_t>(first);
}

Result<LentRange> LentBuffers::take(std::uint16_t count, std::uint64_t each) {
    ZBDKIT_ASSERT(count > 0 && each > 0);
    const std::optional<std::uint16_t> first = free_places(count);
    if (!first) return fail(Errc::not_supported, "the ring has no places for so many buffers");
    const std::uint64_t length = count * each;
    void* addresses =
        ::mmap(nullptr, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (addresses == MAP_FAILED) {
        return std::unexpected(error_from_errno(errno, "no addresses for buffers"));
    }
    // There is nothing to be locked, should the process lock all that it maps.
    ::munlock(addresses, length);
    const LentRange range{.addresses = MutableBytes(byte_pointer(addresses), length),
                          .each = each,
                          .first = *first,
                          .count = count};
    taken_.insert(std::ranges::upper_bound(taken_, *first, {}, &LentRange::first), range);
    return range;
}

void LentBuffers::give_back(const LentRange& range) {
    const auto found = std::ranges::find(taken_, range.first, &LentRange::first);
    ZBDKIT_ASSERT(found != taken_.end() && found->count == range.count);
    ::munmap(range.addresses.data(), range.addresses.size());
    taken_.erase(found);
}

std::optional<LentBuffers::Place> LentBuffers::find(const void* address) const {
    for (const LentRange& range : taken_) {
        const std::byte* start = range.addresses.data();
        const std::byte* end = start + range.addresses.size();
        const auto* byte = static_cast<const std::byte*>(address);
        if (std::less<>()(byte, start) || !std::less<>()(byte, end)) continue;
        const auto distance = static_cast<std::uint64_t>(byte - start);
        const auto index = static_cast<std::uint16_t>(distance / range.each);
        return Place{.index = static_cast<std::uint16_t>(range.first + index),
                     .offset = distance % range.each};
    }
    return std::nullopt;
}

}  // namespace zbdkit
