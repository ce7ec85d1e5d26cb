// SPDX-License-Identifier: Apache-2.0
// The guest's memory as the front end shared it: regions of guest-physical addresses, mapped here.
// Immutable: a change of the table makes a new GuestMemory, and requests in flight keep the old
// one alive through their shared pointer. Every address is a guest's word and is checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/iovec.h"
#include "base/unique_fd.h"
#include "base/units.h"
#include "virtio/sigbus_guard.h"

namespace zbdkit {

/// One mapped piece of guest memory.
class MemoryRegion {
  public:
    struct Place {
        std::uint64_t guest_address = 0;  ///< guest-physical
        std::uint64_t user_address = 0;   ///< in the front end's address space
        std::uint64_t size = 0;           ///< bytes, not 0
        std::uint64_t fd_offset = 0;      ///< where the region starts in the descriptor
        bool operator==(const Place&) const = default;
    };

    /// Maps the region. The descriptor may be closed afterwards. Handles fd offsets that are not
    /// page aligned, and huge page files.
    /// Errors: sizes that wrap, a file shorter than the region, mmap's errno.
    [[nodiscard]] static Outcome<std::shared_ptr<const MemoryRegion>> map(const Place& place,
                                                                          int fd);
    /// For tests and in-process clients: memory that somebody else owns.
    [[nodiscard]] static std::shared_ptr<const MemoryRegion> borrow(const Place& place,
                                                                    std::byte* memory);
    MemoryRegion(const MemoryRegion&) = delete;
    MemoryRegion& operator=(const MemoryRegion&) = delete;
    ~MemoryRegion();

    [[nodiscard]] const Place& place() const { return place_; }
    /// The byte at place().guest_address.
    [[nodiscard]] std::byte* memory() const { return memory_; }
    /// True once a page of it was found gone because the front end cut its file. What is read
    /// there is zero; the front end has broken its promise and should be dropped.
    [[nodiscard]] bool is_truncated() const { return guard_.tripped(); }

  private:
    MemoryRegion() = default;

    Place place_;
    std::byte* memory_ = nullptr;
    void* mapping_ = nullptr;  ///< what munmap gets; null if borrowed
    std::size_t mapping_length_ = 0;
    SigbusGuard guard_;
};

/// The dirty page log of live migration: one bit for each 4 KiB guest page. Thread: any.
/// [vhost-user, "Migration"]
class DirtyLog {
  public:
    static constexpr std::uint64_t kPageSize = 4096;

    /// Errors: a log that is longer than its file, mmap's errno.
    [[nodiscard]] static Outcome<std::shared_ptr<DirtyLog>> map(int fd, ByteRange range);
    /// For tests.
    [[nodiscard]] static std::shared_ptr<DirtyLog> borrow(MutableBytes bits);
    DirtyLog(const DirtyLog&) = delete;
    DirtyLog& operator=(const DirtyLog&) = delete;
    ~DirtyLog();

    /// Marks the pages of a guest-physical range. Pages beyond the log are ignored.
    void mark(ByteRange guest_range) const;

  private:
    DirtyLog() = default;

    MutableBytes bits_;
    void* mapping_ = nullptr;
    std::size_t mapping_length_ = 0;
    SigbusGuard guard_;
};

class GuestMemory {
  public:
    /// @param regions  in any order
    /// Errors: regions that overlap in guest addresses, or wrap.
    [[nodiscard]] static Outcome<std::shared_ptr<const GuestMemory>> make(
        std::vector<std::shared_ptr<const MemoryRegion>> regions);

    [[nodiscard]] std::span<const std::shared_ptr<const MemoryRegion>> regions() const {
        return regions_;
    }

    /// Appends the host memory behind a guest-physical range to `out`: several segments if the
    /// range crosses from one region into the next.
    /// @return false, with `out` unchanged, if any byte of the range is no guest memory, or if
    ///         the range is empty
    [[nodiscard]] bool translate(ByteRange guest_range, IoVector& out) const;

    /// Host memory of a range that must lie within one region (ring parts).
    /// @return null if it does not
    [[nodiscard]] std::byte* contiguous(ByteRange guest_range) const;
    /// The same by the front end's addresses, as SET_VRING_ADDR gives them.
    [[nodiscard]] std::byte* contiguous_user(ByteRange user_range) const;
    /// @return the guest-physical address of a front end's address, or nothing if it has none
    [[nodiscard]] std::optional<std::uint64_t> guest_address(std::uint64_t user_address) const;

    /// True once a region is_truncated().
    [[nodiscard]] bool is_truncated() const;

  private:
    /// What a look-up needs of a region, side by side: every descriptor is looked up.
    struct Window {
        std::uint64_t guest_address;
        std::uint64_t size;
        std::byte* memory;

        /// Whether the range lies in it. A length of 0 is the caller's business.
        [[nodiscard]] bool holds(ByteRange guest_range) const {
            const std::uint64_t skip = guest_range.offset - guest_address;
            return skip < size && guest_range.length <= size - skip;
        }
        [[nodiscard]] std::byte* at(std::uint64_t address) const {
            return memory + (address - guest_address);
        }
    };
    GuestMemory() = default;
    /// translate(), wherever the range lies.
    [[nodiscard]] bool translate_pieces(ByteRange guest_range, IoVector& out) const;
    /// @return the window that holds the address, or the end
    [[nodiscard]] std::vector<Window>::const_iterator find(std::uint64_t guest_address) const;

    std::vector<std::shared_ptr<const MemoryRegion>> regions_;  // by guest address
    std::vector<Window> windows_;                               // of them, in the same order
};

}  // namespace zbdkit
