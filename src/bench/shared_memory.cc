// SPDX-License-Identifier: Apache-2.0
#include "bench/shared_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/assert.h"
#include "base/text.h"
#include "base/units.h"

namespace zbdkit::bench {
namespace {

std::unexpected<Failure> cannot(std::uint64_t size) {
    return failure(fmt::format("cannot get {} of shared memory", format_size(size)),
                   error_from_errno(errno, "memfd"));
}

}  // namespace

Outcome<SharedMemory> SharedMemory::make(std::uint64_t size) {
    const std::uint64_t length = round_up(size, 2 * kMiB);
    UniqueFd fd(::memfd_create("zbdkit-bench", MFD_CLOEXEC));
    if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(length)) != 0) return cannot(length);
    void* memory =
        ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd.get(), 0);
    if (memory == MAP_FAILED) return cannot(length);
    return SharedMemory(std::move(fd), MutableBytes(byte_pointer(memory), length));
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : fd_(std::move(other.fd_)),
      bytes_(std::exchange(other.bytes_, {})),
      allocated_(other.allocated_) {}

SharedMemory::~SharedMemory() {
    if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

std::uint64_t SharedMemory::allocate(std::uint64_t length, std::uint64_t alignment) {
    const std::uint64_t start = round_up(allocated_, alignment);
    ZBDKIT_ASSERT(start <= bytes_.size() && length <= bytes_.size() - start);
    allocated_ = start + length;
    return kGuestAddress + start;
}

MemoryRegion::Place SharedMemory::place() const {
    return {.guest_address = kGuestAddress,
            .user_address = kUserAddress,
            .size = bytes_.size(),
            .fd_offset = 0};
}

}  // namespace zbdkit::bench
