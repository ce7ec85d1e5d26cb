// SPDX-License-Identifier: Apache-2.0
// The data path of ring_loop: a split ring as plain arrays in the front end's memory, and what its
// requests are answered with. Everything is trusted, nothing is checked. One thread.
#pragma once

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/bytes.h"
#include "base/unique_fd.h"
#include "base/units.h"
#include "virtio/blk_wire.h"
#include "virtio/guest_memory.h"
#include "virtio/virt_queue.h"

namespace zbdkit::ring_loop {

constexpr std::size_t kMostSegments = 128;
[[noreturn]] inline void die(const std::string& message) {
    std::fprintf(stderr, "ring_loop: %s\n", message.c_str());
    std::exit(1);
}

// --- where the data is ---------------------------------------------------------------------------

/// A request's place and memory.
struct Transfer {
    bool is_write = false;
    std::uint64_t offset = 0;
    std::array<iovec, kMostSegments> segments;
    int count = 0;
};

struct NullStorage {
    [[nodiscard]] static bool move(const Transfer& /*transfer*/) { return true; }
};

struct FlatStorage {
    /// Mapped as the memory node maps its own.
    explicit FlatStorage(std::uint64_t size) {
        void* mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (mapped == MAP_FAILED) die("cannot map the memory");
        ::madvise(mapped, size, MADV_HUGEPAGE);
        memory = byte_pointer(mapped);
    }
    [[nodiscard]] bool move(const Transfer& transfer) const {
        std::byte* at = memory + transfer.offset;
        for (int i = 0; i < transfer.count; ++i) {
            const iovec& part = transfer.segments[static_cast<std::size_t>(i)];
            if (transfer.is_write) {
                std::memcpy(at, part.iov_base, part.iov_len);
            } else {
                std::memcpy(part.iov_base, at, part.iov_len);
            }
            at += part.iov_len;
        }
        return true;
    }
    std::byte* memory = nullptr;
};

struct FileStorage {
    FileStorage(const std::string& path, bool direct)
        : file(::open(path.c_str(), O_RDWR | O_CLOEXEC | (direct ? O_DIRECT : 0))) {
        if (!file) die("cannot open " + path);
    }
    [[nodiscard]] bool move(const Transfer& transfer) const {
        const auto at = static_cast<off_t>(transfer.offset);
        const iovec* parts = transfer.segments.data();
        return (transfer.is_write ? ::pwritev2(file.get(), parts, transfer.count, at, 0)
                                  : ::preadv2(file.get(), parts, transfer.count, at, 0)) >= 0;
    }
    UniqueFd file;
};

// --- a ring --------------------------------------------------------------------------------------

struct RingDescriptor {
    static constexpr std::uint16_t kNext = 1;
    std::uint64_t address;
    std::uint32_t length;
    std::uint16_t flags;
    std::uint16_t next;
};
struct UsedEntry {
    std::uint32_t id;
    std::uint32_t length;
};

template <class T>
T* as(std::byte* at) {
    return static_cast<T*>(static_cast<void*>(at));
}
inline std::uint16_t load(std::uint16_t* at, std::memory_order order) {
    return std::atomic_ref<std::uint16_t>(*at).load(order);
}
inline void store(std::uint16_t* at, std::uint16_t value, std::memory_order order) {
    std::atomic_ref<std::uint16_t>(*at).store(value, order);
}

/// A split ring as plain arrays in the front end's memory. [virtio 1.3, 2.7]
struct Ring {
    std::uint16_t size = 0;
    RingAddresses addresses;
    UniqueFd kick;
    UniqueFd call;
    bool is_enabled = false;

    bool is_running = false;
    bool event_idx = false;
    std::byte* guest = nullptr;  ///< the byte at the guest's address 0
    RingDescriptor* descriptors = nullptr;
    std::uint16_t* available = nullptr;  ///< flags, index, entries, used_event
    std::uint16_t* used = nullptr;       ///< flags, index
    UsedEntry* used_entries = nullptr;
    std::uint16_t* avail_event = nullptr;
    std::uint16_t next = 0;  ///< requests taken, and answered

    void start(const MemoryRegion& region, bool with_event_idx) {
        std::byte* const user = region.memory() - region.place().user_address;
        guest = region.memory() - region.place().guest_address;
        descriptors = as<RingDescriptor>(user + addresses.descriptors);
        available = as<std::uint16_t>(user + addresses.driver);
        used = as<std::uint16_t>(user + addresses.device);
        used_entries = as<UsedEntry>(user + addresses.device + 4);
        avail_event = as<std::uint16_t>(user + addresses.device + 4 + sizeof(UsedEntry) * size);
        event_idx = with_event_idx;
        is_running = true;
        // With event indices avail_event stays where it is: a useless kick every 65,536 requests.
        if (!event_idx) store(used, 1, std::memory_order_relaxed);
    }

    [[nodiscard]] bool has_requests() const {
        return load(available + 1, std::memory_order_acquire) != next;
    }

    /// @return whether the ring is still empty, and the next request comes with a kick
    [[nodiscard]] bool ask_for_kick() {
        if (event_idx) {
            store(avail_event, next, std::memory_order_relaxed);
        } else {
            store(used, 0, std::memory_order_relaxed);
        }
        std::atomic_thread_fence(std::memory_order_seq_cst);
        return !has_requests();
    }

    template <class Storage>
    void answer(const Storage& storage, std::uint16_t head) {
        const RingDescriptor* part = &descriptors[head];
        BlkHeader header;
        std::memcpy(&header, guest + part->address, sizeof header);
        const auto type = BlkRequestType{std::uint32_t{header.type}};
        Transfer transfer;
        transfer.is_write = type == BlkRequestType::out;
        transfer.offset = header.sector * kSectorSize;
        std::uint32_t length = 0;
        for (part = &descriptors[part->next]; (part->flags & RingDescriptor::kNext) != 0;
             part = &descriptors[part->next]) {
            transfer.segments[static_cast<std::size_t>(transfer.count++)] = {guest + part->address,
                                                                             part->length};
            length += part->length;
        }
        const bool is_known = transfer.is_write || type == BlkRequestType::in;
        const bool is_done = is_known && storage.move(transfer);
        guest[part->address] = is_done ? std::byte{0} : std::byte{1};
        used_entries[next & (size - 1)] = {head, transfer.is_write ? 1 : length + 1};
        ++next;
    }

    void publish(std::uint16_t before) {
        store(used + 1, next, std::memory_order_release);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        const bool is_wanted = event_idx
                                   ? static_cast<std::uint16_t>(next - available[2 + size] - 1) <
                                         static_cast<std::uint16_t>(next - before)
                                   : load(available, std::memory_order_relaxed) == 0;
        if (is_wanted && call) ::eventfd_write(call.get(), 1);
    }

    /// Answers all that is there.
    /// @param batch  requests answered before the front end is shown them: it goes on with these
    ///               while we are at the next ones, but each look of one at what the other wrote
    ///               costs both
    /// @return requests answered
    template <class Storage>
    std::uint32_t serve(const Storage& storage, std::uint32_t batch) {
        const std::uint16_t first = next;
        const std::uint16_t end = load(available + 1, std::memory_order_acquire);
        while (next != end) {
            const std::uint16_t before = next;
            for (std::uint32_t i = 0; i < batch && next != end; ++i) {
                answer(storage, available[2 + (next & (size - 1))]);
            }
            publish(before);
        }
        return static_cast<std::uint16_t>(next - first);
    }
};

}  // namespace zbdkit::ring_loop
