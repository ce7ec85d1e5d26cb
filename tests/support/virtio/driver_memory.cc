// SPDX-License-Identifier: Apache-2.0
#include "tests/support/virtio/driver_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/assert.h"

namespace zbdkit::test {

DriverMemory::DriverMemory(std::size_t size) : fd_(memfd_create("driver-memory", MFD_CLOEXEC)) {
    ZBDKIT_ASSERT(fd_.get() >= 0 && ftruncate(fd_.get(), static_cast<off_t>(size)) == 0);
    void* const memory =
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_.get(), 0);
    ZBDKIT_ASSERT(memory != MAP_FAILED);
    bytes_ = MutableBytes(byte_pointer(memory), size);
}

DriverMemory::~DriverMemory() { munmap(bytes_.data(), bytes_.size()); }

MemoryRegion::Place DriverMemory::place() const {
    return {.guest_address = kGuestAddress,
            .user_address = kUserAddress,
            .size = bytes_.size(),
            .fd_offset = 0};
}

std::uint64_t DriverMemory::allocate(std::size_t length, std::size_t alignment) {
    const std::size_t start = round_up(allocated_, alignment);
    ZBDKIT_ASSERT(length <= bytes_.size() && start <= bytes_.size() - length);
    allocated_ = start + length;
    return kGuestAddress + start;
}

MutableBytes DriverMemory::at(ByteRange guest_range) const {
    ZBDKIT_ASSERT(ByteRange(kGuestAddress, bytes_.size()).contains(guest_range));
    return bytes_.subspan(guest_range.offset - kGuestAddress, guest_range.length);
}

std::shared_ptr<const GuestMemory> DriverMemory::guest_memory() const {
    auto memory = GuestMemory::make({MemoryRegion::borrow(place(), bytes_.data())});
    ZBDKIT_ASSERT(memory.has_value());
    return *memory;
}

}  // namespace zbdkit::test
