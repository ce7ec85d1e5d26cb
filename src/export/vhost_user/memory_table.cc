// SPDX-License-Identifier: Apache-2.0
#include "export/vhost_user/memory_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace zbdkit::vhost_user {

Outcome<void> MemoryTable::install(std::vector<std::shared_ptr<const MemoryRegion>> regions) {
    if (regions.empty()) {
        regions_.clear();
        memory_.reset();
        return {};
    }
    Outcome<std::shared_ptr<const GuestMemory>> memory = GuestMemory::make(regions);
    if (!memory) return std::unexpected(memory.error());
    regions_ = std::move(regions);
    memory_ = std::move(*memory);
    return {};
}

Outcome<void> MemoryTable::replace(std::span<const MemoryRegion::Place> places,
                                   std::span<const UniqueFd> fds) {
    ZBDKIT_ASSERT(places.size() == fds.size());
    std::vector<std::shared_ptr<const MemoryRegion>> regions;
    for (std::size_t i = 0; i < places.size(); ++i) {
        Outcome<std::shared_ptr<const MemoryRegion>> region =
            MemoryRegion::map(places[i], fds[i].get());
        if (!region) return std::unexpected(region.error());
        regions.push_back(std::move(*region));
    }
    return install(std::move(regions));
}

Outcome<void> MemoryTable::add(const MemoryRegion::Place& place, const UniqueFd& fd) {
    if (regions_.size() >= kMaxSlots) {
        return failure(fmt::format("more than {} memory slots", kMaxSlots));
    }
    Outcome<std::shared_ptr<const MemoryRegion>> region = MemoryRegion::map(place, fd.get());
    if (!region) return std::unexpected(region.error());
    std::vector<std::shared_ptr<const MemoryRegion>> regions = regions_;
    regions.push_back(std::move(*region));
    return install(std::move(regions));
}

Outcome<void> MemoryTable::remove(const MemoryRegion::Place& place) {
    const auto found = std::ranges::find_if(regions_, [&](const auto& region) {
        const MemoryRegion::Place& present = region->place();
        return present.guest_address == place.guest_address &&
               present.user_address == place.user_address && present.size == place.size;
    });
    if (found == regions_.end()) {
        return failure(fmt::format("no memory slot of {} bytes at guest address {:#x}", place.size,
                                   place.guest_address));
    }
    std::vector<std::shared_ptr<const MemoryRegion>> regions = regions_;
    regions.erase(regions.begin() + (found - regions_.begin()));
    return install(std::move(regions));
}

}  // namespace zbdkit::vhost_user
