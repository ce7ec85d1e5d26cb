// SPDX-License-Identifier: Apache-2.0
// MemoryTable: the guest memory of one connection as its front end builds it up, in one table or
// slot by slot. Each change makes a new immutable GuestMemory; a refused change leaves the table
// as it was. One reactor.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"
#include "virtio/guest_memory.h"

namespace zbdkit::vhost_user {

class MemoryTable {
  public:
    /// GET_MAX_MEM_SLOTS. It must never be less than what was once told, so it is one number for
    /// good: what QEMU's own back ends say.
    static constexpr std::size_t kMaxSlots = 509;

    /// Replaces the whole table.
    /// @param fds  one for each region, in order
    /// Errors: what MemoryRegion::map and GuestMemory::make find.
    [[nodiscard]] Outcome<void> replace(std::span<const MemoryRegion::Place> places,
                                        std::span<const UniqueFd> fds);
    /// Errors: also more than kMaxSlots regions.
    [[nodiscard]] Outcome<void> add(const MemoryRegion::Place& place, const UniqueFd& fd);
    /// Takes out the region with these addresses and this size; the fd offset does not count.
    /// Errors: there is none.
    [[nodiscard]] Outcome<void> remove(const MemoryRegion::Place& place);

    /// @return null while there is no region
    [[nodiscard]] const std::shared_ptr<const GuestMemory>& memory() const { return memory_; }

  private:
    [[nodiscard]] Outcome<void> install(std::vector<std::shared_ptr<const MemoryRegion>> regions);

    std::vector<std::shared_ptr<const MemoryRegion>> regions_;  // shared with requests in flight
    std::shared_ptr<const GuestMemory> memory_;                 // the same
};

}  // namespace zbdkit::vhost_user
