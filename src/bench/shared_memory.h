// SPDX-License-Identifier: Apache-2.0
// Memory that a server maps too: one memfd, given away in pieces that are never taken back. The
// addresses that the server is told are arbitrary numbers, those of no guest.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/error.h"
#include "base/unique_fd.h"
#include "virtio/guest_memory.h"

namespace zbdkit::bench {

class SharedMemory {
  public:
    /// @param size  bytes, not 0; rounded up to 2 MiB. All of it is populated.
    /// Errors: what the kernel says, with the size.
    [[nodiscard]] static Outcome<SharedMemory> make(std::uint64_t size);
    SharedMemory(SharedMemory&& other) noexcept;
    SharedMemory& operator=(SharedMemory&&) = delete;
    ~SharedMemory();

    /// @param length     bytes; all pieces together must fit, as their alignments do
    /// @param alignment  a power of two up to 4096
    /// @return the piece's address for the server
    [[nodiscard]] std::uint64_t allocate(std::uint64_t length, std::uint64_t alignment);
    /// @param address  within an allocated piece
    [[nodiscard]] std::byte* at(std::uint64_t address) const {
        return bytes_.data() + (address - kGuestAddress);
    }
    [[nodiscard]] MutableBytes span(std::uint64_t address, std::uint64_t length) const {
        return {at(address), length};
    }
    /// An address in the numbers that SET_VRING_ADDR uses.
    [[nodiscard]] static std::uint64_t user_address(std::uint64_t address) {
        return address - kGuestAddress + kUserAddress;
    }

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] MemoryRegion::Place place() const;

  private:
    static constexpr std::uint64_t kGuestAddress = std::uint64_t{1} << 32;
    static constexpr std::uint64_t kUserAddress = std::uint64_t{1} << 45;

    SharedMemory(UniqueFd fd, MutableBytes bytes) : fd_(std::move(fd)), bytes_(bytes) {}

    UniqueFd fd_;
    MutableBytes bytes_;
    std::uint64_t allocated_ = 0;
};

}  // namespace zbdkit::bench
