// SPDX-License-Identifier: Apache-2.0
#include "virtio/guest_memory.h"

#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <limits>
#include <utility>

#include "base/assert.h"

namespace zbdkit {
namespace {

/// A guest's memory is one piece, or one below 4 GiB and one above, and what was plugged in.
constexpr std::size_t kFewWindows = 2;

constexpr std::uint64_t kMaxAddress = std::numeric_limits<std::uint64_t>::max();

/// A shared mapping of part of a file.
struct Mapping {
    void* start = nullptr;  ///< what munmap gets
    std::size_t length = 0;
    std::byte* memory = nullptr;  ///< the first byte of the range that was asked for
    SigbusGuard guard;
};

/// What mappings of a file must be aligned to: the page size, or the huge page size.
std::size_t page_size_of(int fd) {
    struct statfs fs = {};
    if (fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC) {
        return static_cast<std::size_t>(fs.f_bsize);
    }
    return static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

/// @param what   for messages
/// @param range  bytes of the file; need not be aligned; must be sane
Outcome<Mapping> map_shared(const char* what, int fd, ByteRange range) {
    struct stat status = {};
    if (fstat(fd, &status) != 0) {
        return failure(fmt::format("{}: its descriptor", what), error_from_errno(errno, "fstat"));
    }
    // A device (dax) has no size here; mmap decides.
    if (S_ISREG(status.st_mode) && range.end() > static_cast<std::uint64_t>(status.st_size)) {
        return failure(fmt::format("{}: file is {} bytes long, but offset {:#x} + size {:#x} "
                                   "needs {}",
                                   what, status.st_size, range.offset, range.length, range.end()),
                       Errc::out_of_range);
    }

    const std::size_t page_size = page_size_of(fd);
    const std::uint64_t start = round_down(range.offset, page_size);
    const std::uint64_t skip = range.offset - start;
    Mapping mapping;
    mapping.length = round_up(skip + range.length, page_size);
    mapping.start = mmap(nullptr, mapping.length, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_NORESERVE, fd, static_cast<off_t>(start));
    if (mapping.start == MAP_FAILED) {
        return failure(
            fmt::format("{}: offset {:#x}, size {:#x}", what, range.offset, range.length),
            error_from_errno(errno, "mmap"));
    }
    // A core dump of the daemon is not the place for a guest's memory; old kernels may refuse.
    madvise(mapping.start, mapping.length, MADV_DONTDUMP);

    const MutableBytes bytes(byte_pointer(mapping.start), mapping.length);
    Outcome<SigbusGuard> guard = SigbusGuard::watch(bytes, page_size);
    if (!guard) {
        munmap(mapping.start, mapping.length);
        return std::unexpected(std::move(guard.error()));
    }
    mapping.guard = std::move(*guard);
    mapping.memory = bytes.data() + skip;
    return mapping;
}

/// Errors: empty regions, and addresses that wrap.
Outcome<void> check_place(const MemoryRegion::Place& place) {
    if (place.size == 0) {
        return failure(fmt::format("guest memory region at {:#x} is empty", place.guest_address),
                       Errc::out_of_range);
    }
    if (place.size > kMaxAddress - place.guest_address ||
        place.size > kMaxAddress - place.user_address) {
        return failure(fmt::format("guest memory region at {:#x} (user address {:#x}): size {:#x} "
                                   "wraps the address space",
                                   place.guest_address, place.user_address, place.size),
                       Errc::out_of_range);
    }
    return {};
}

std::uint64_t guest_end(const MemoryRegion& region) {
    return region.place().guest_address + region.place().size;
}

}  // namespace

Outcome<std::shared_ptr<const MemoryRegion>> MemoryRegion::map(const Place& place, int fd) {
    if (Outcome<void> checked = check_place(place); !checked) {
        return std::unexpected(std::move(checked.error()));
    }
    const ByteRange in_file{place.fd_offset, place.size};
    const std::string what = fmt::format("guest memory region at {:#x}", place.guest_address);
    if (!in_file.is_sane()) {
        return failure(fmt::format("{}: offset {:#x} + size {:#x} is no file range", what,
                                   place.fd_offset, place.size),
                       Errc::out_of_range);
    }
    Outcome<Mapping> mapping = map_shared(what.c_str(), fd, in_file);
    if (!mapping) return std::unexpected(std::move(mapping.error()));

    struct Owned : MemoryRegion {};  // what make_shared can construct
    auto region = std::make_shared<Owned>();
    region->place_ = place;
    region->memory_ = mapping->memory;
    region->mapping_ = mapping->start;
    region->mapping_length_ = mapping->length;
    region->guard_ = std::move(mapping->guard);
    return region;
}

std::shared_ptr<const MemoryRegion> MemoryRegion::borrow(const Place& place, std::byte* memory) {
    ZBDKIT_ASSERT(check_place(place).has_value());
    struct Owned : MemoryRegion {};
    auto region = std::make_shared<Owned>();
    region->place_ = place;
    region->memory_ = memory;
    return region;
}

MemoryRegion::~MemoryRegion() {
    guard_ = SigbusGuard();  // the address range is somebody else's after munmap
    if (mapping_ != nullptr) munmap(mapping_, mapping_length_);
}

Outcome<std::shared_ptr<DirtyLog>> DirtyLog::map(int fd, ByteRange range) {
    if (range.length == 0 || !range.is_sane()) {
        return failure(fmt::format("dirty log: offset {:#x}, size {:#x} is no file range",
                                   range.offset, range.length),
                       Errc::out_of_range);
    }
    Outcome<Mapping> mapping = map_shared("dirty log", fd, range);
    if (!mapping) return std::unexpected(std::move(mapping.error()));

    struct Owned : DirtyLog {};
    auto log = std::make_shared<Owned>();
    log->bits_ = MutableBytes(mapping->memory, range.length);
    log->mapping_ = mapping->start;
    log->mapping_length_ = mapping->length;
    log->guard_ = std::move(mapping->guard);
    return log;
}

std::shared_ptr<DirtyLog> DirtyLog::borrow(MutableBytes bits) {
    struct Owned : DirtyLog {};
    auto log = std::make_shared<Owned>();
    log->bits_ = bits;
    return log;
}

DirtyLog::~DirtyLog() {
    guard_ = SigbusGuard();
    if (mapping_ != nullptr) munmap(mapping_, mapping_length_);
}

void DirtyLog::mark(ByteRange guest_range) const {
    if (guest_range.length == 0 || bits_.empty()) return;
    const std::uint64_t last_byte = guest_range.length - 1 > kMaxAddress - guest_range.offset
                                        ? kMaxAddress
                                        : guest_range.offset + (guest_range.length - 1);
    const std::uint64_t last_page =
        std::min<std::uint64_t>(last_byte / kPageSize, bits_.size() * 8 - 1);
    for (std::uint64_t page = guest_range.offset / kPageSize; page <= last_page; ++page) {
        // SAFETY: one byte inside bits_, which the front end reads and clears atomically;
        // uint8_t may alias any storage and has no alignment.
        auto* const bits = reinterpret_cast<std::uint8_t*>(bits_.data() + page / 8);
        const auto bit = static_cast<std::uint8_t>(1U << (page % 8));
        // Unconditional: testing the bit first could miss that it is being cleared just now.
        std::atomic_ref(*bits).fetch_or(bit, std::memory_order_seq_cst);
    }
}

Outcome<std::shared_ptr<const GuestMemory>> GuestMemory::make(
    std::vector<std::shared_ptr<const MemoryRegion>> regions) {
    for (const auto& region : regions) {
        if (Outcome<void> checked = check_place(region->place()); !checked) {
            return std::unexpected(std::move(checked.error()));
        }
    }
    std::ranges::sort(regions, {},
                      [](const auto& region) { return region->place().guest_address; });
    for (std::size_t i = 1; i < regions.size(); ++i) {
        const MemoryRegion& lower = *regions[i - 1];
        const MemoryRegion& upper = *regions[i];
        if (upper.place().guest_address >= guest_end(lower)) continue;
        return failure(fmt::format("guest memory regions overlap: {:#x}-{:#x} and {:#x}-{:#x}",
                                   lower.place().guest_address, guest_end(lower),
                                   upper.place().guest_address, guest_end(upper)),
                       Errc::out_of_range);
    }

    struct Owned : GuestMemory {};
    auto memory = std::make_shared<Owned>();
    for (const auto& region : regions) {
        const MemoryRegion::Place& place = region->place();
        memory->windows_.push_back({place.guest_address, place.size, region->memory()});
    }
    memory->regions_ = std::move(regions);
    return memory;
}

std::vector<GuestMemory::Window>::const_iterator GuestMemory::find(
    std::uint64_t guest_address) const {
    // The first one that starts above the address; only the one before it can hold it.
    const auto above =
        std::ranges::upper_bound(windows_, guest_address, {}, &Window::guest_address);
    if (above == windows_.begin()) return windows_.end();
    const auto candidate = std::prev(above);
    return candidate->holds({guest_address, 1}) ? candidate : windows_.end();
}

bool GuestMemory::translate(ByteRange guest_range, IoVector& out) const {
    if (guest_range.length == 0) return false;
    // Nearly always: one window has all of it, and it is one of the first.
    const std::size_t few = std::min(windows_.size(), kFewWindows);
    for (std::size_t i = 0; i < few; ++i) {
        const Window& window = windows_[i];
        if (!window.holds(guest_range)) continue;
        out.push_back({window.at(guest_range.offset), guest_range.length});
        return true;
    }
    return translate_pieces(guest_range, out);
}

bool GuestMemory::translate_pieces(ByteRange guest_range, IoVector& out) const {
    const std::size_t size_before = out.size();
    std::uint64_t address = guest_range.offset;
    std::uint64_t left = guest_range.length;
    for (auto at = find(address); at != windows_.end(); ++at) {
        if (at->guest_address > address) break;  // a gap
        const std::uint64_t length = std::min(left, at->size - (address - at->guest_address));
        out.push_back({at->at(address), length});
        left -= length;
        if (left == 0) return true;
        address += length;
    }
    out.resize(size_before);
    return false;
}

std::byte* GuestMemory::contiguous(ByteRange guest_range) const {
    const auto window = find(guest_range.offset);
    if (window == windows_.end() || guest_range.length == 0) return nullptr;
    return window->holds(guest_range) ? window->at(guest_range.offset) : nullptr;
}

std::byte* GuestMemory::contiguous_user(ByteRange user_range) const {
    if (user_range.length == 0) return nullptr;
    for (const auto& region : regions_) {
        const MemoryRegion::Place& place = region->place();
        if (user_range.offset < place.user_address) continue;
        const std::uint64_t skip = user_range.offset - place.user_address;
        if (skip < place.size && user_range.length <= place.size - skip) {
            return region->memory() + skip;
        }
    }
    return nullptr;
}

std::optional<std::uint64_t> GuestMemory::guest_address(std::uint64_t user_address) const {
    for (const auto& region : regions_) {
        const MemoryRegion::Place& place = region->place();
        if (user_address < place.user_address) continue;
        const std::uint64_t skip = user_address - place.user_address;
        if (skip < place.size) return place.guest_address + skip;
    }
    return std::nullopt;
}

bool GuestMemory::is_truncated() const {
    return SigbusGuard::any_tripped() &&
           std::ranges::any_of(regions_, [](const auto& region) { return region->is_truncated(); });
}

}  // namespace zbdkit
