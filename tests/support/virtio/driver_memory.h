// SPDX-License-Identifier: Apache-2.0
// The memory of a pretend guest: one region in a memfd, which can be borrowed in this process or
// sent to another one, with a bump allocator. Guest, user and host addresses all differ, so that
// code which mixes them up fails.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "base/unique_fd.h"
#include "base/units.h"
#include "virtio/guest_memory.h"

namespace zbdkit::test {

class DriverMemory {
  public:
    static constexpr std::uint64_t kGuestAddress = 0x4000'0000;
    static constexpr std::uint64_t kUserAddress = 0x7000'0000'0000;

    /// Aborts if the host has no memory for it: this is for tests.
    explicit DriverMemory(std::size_t size);
    DriverMemory(const DriverMemory&) = delete;
    DriverMemory& operator=(const DriverMemory&) = delete;
    ~DriverMemory();

    /// All of it. A page is zero until it is written.
    [[nodiscard]] MutableBytes bytes() const { return bytes_; }
    /// What a front end sends in SET_MEM_TABLE.
    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] MemoryRegion::Place place() const;

    /// Memory that nobody else got yet.
    /// @param alignment  a power of two
    /// @return its guest address; aborts if there is none left
    [[nodiscard]] std::uint64_t allocate(std::size_t length, std::size_t alignment = 16);
    /// Forgets allocations made after `mark`, a value of allocated().
    void release_to(std::size_t mark) { allocated_ = mark; }
    [[nodiscard]] std::size_t allocated() const { return allocated_; }

    /// The bytes at a guest address; aborts if they are not all here.
    [[nodiscard]] MutableBytes at(ByteRange guest_range) const;
    [[nodiscard]] static std::uint64_t to_user_address(std::uint64_t guest_address) {
        return guest_address - kGuestAddress + kUserAddress;
    }

    /// The device's view, in this process. Valid as long as this object.
    [[nodiscard]] std::shared_ptr<const GuestMemory> guest_memory() const;

  private:
    UniqueFd fd_;
    MutableBytes bytes_;
    std::size_t allocated_ = 0;
};

}  // namespace zbdkit::test
