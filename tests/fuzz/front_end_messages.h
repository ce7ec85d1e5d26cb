// SPDX-License-Identifier: Apache-2.0
// What a front end may say, message by message, chosen by number: noise alone never starts a ring.
// Most of it is sound; of the inflight regions some are refused.
#pragma once

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/unique_fd.h"
#include "export/vhost_user/inflight.h"
#include "tests/fuzz/planted_requests.h"

namespace zbdkit::test {

/// A file in memory, mapped.
class SharedFile {
  public:
    explicit SharedFile(UniqueFd fd, std::size_t size) : fd_(std::move(fd)) {
        void* const memory =
            ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
        ZBDKIT_ASSERT(memory != MAP_FAILED);
        bytes_ = {byte_pointer(memory), size};
    }
    SharedFile(const SharedFile&) = delete;
    SharedFile& operator=(const SharedFile&) = delete;
    ~SharedFile() { ::munmap(bytes_.data(), bytes_.size()); }

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] MutableBytes bytes() const { return bytes_; }

  private:
    UniqueFd fd_;
    MutableBytes bytes_;
};

/// What a front end shares with its back ends.
struct FrontEndFiles {
    static constexpr std::size_t kMemorySize = 65536;
    static constexpr vhost_user::InflightShape kShape{.queue_count = 2,
                                                      .queue_size = RequestPlanter::kRingSize};

    FrontEndFiles() {
        seal(read_only, F_SEAL_WRITE);
        begin_run();
    }
    /// None of it remembers a run.
    void begin_run() const {
        std::ranges::fill(memory.bytes(), std::byte{0});
        std::ranges::fill(region.bytes(), std::byte{0});
        cut_loose_region();
        ZBDKIT_ASSERT(::ftruncate(loose_region.get(), region_size()) == 0);
        std::uint64_t count = 0;
        (void)!::read(event.get(), &count, sizeof count);
    }
    void cut_loose_region() const { ZBDKIT_ASSERT(::ftruncate(loose_region.get(), 0) == 0); }

    [[nodiscard]] static off_t region_size() {
        return static_cast<off_t>(vhost_user::inflight_size(kShape));
    }
    [[nodiscard]] static UniqueFd file_of(off_t size) {
        UniqueFd fd(::memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING));
        ZBDKIT_ASSERT(::ftruncate(fd.get(), size) == 0);
        return fd;
    }
    static void seal(const UniqueFd& fd, int seals) {
        ZBDKIT_ASSERT(::fcntl(fd.get(), F_ADD_SEALS, seals) == 0);
    }

    SharedFile memory{file_of(kMemorySize), kMemorySize};
    /// An inflight region as the back end makes them.
    SharedFile region{*vhost_user::make_inflight_file(kShape),
                      static_cast<std::size_t>(region_size())};
    UniqueFd loose_region = file_of(region_size());  ///< without seals: it may be cut
    UniqueFd small = file_of(region_size() - 1);
    UniqueFd read_only = file_of(region_size());
    UniqueFd event{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

struct FrontEndMessage {
    std::uint32_t request = 0;
    std::vector<std::byte> payload;
    std::vector<int> fds;
};

/// The numbers one after the other, little-endian.
template <class... Numbers>
std::vector<std::byte> payload_of(Numbers... numbers) {
    std::vector<std::byte> payload;
    const auto add = [&payload](const auto& number) {
        const ConstBytes bytes = bytes_of(number);
        payload.insert(payload.end(), bytes.begin(), bytes.end());
    };
    (add(numbers), ...);
    return payload;
}

struct MessageChoice {
    static constexpr unsigned kCount = 32;
    static constexpr unsigned kSetInflight = 25;

    unsigned number = 0;  ///< below kCount; 0 to 8 start a ring, in this order
    std::uint32_t ring = 0;
    bool is_packed = false;
};

/// Where the front end has the guest's memory, and where the guest has it.
inline constexpr std::uint64_t kGuestMemory = 0x10000;
inline constexpr std::uint64_t kUserMemory = 0x7f0000000000;

/// @param fds  the file of the region, or none
[[nodiscard]] inline FrontEndMessage set_inflight(std::vector<int> fds,
                                                  vhost_user::InflightShape shape) {
    return {32,
            payload_of(vhost_user::inflight_size(shape), std::uint64_t{0}, shape.queue_count,
                       shape.queue_size, std::uint32_t{0}),
            std::move(fds)};
}

[[nodiscard]] inline FrontEndMessage message_about_inflight(const FrontEndFiles& files,
                                                            unsigned number) {
    constexpr vhost_user::InflightShape kShape = FrontEndFiles::kShape;
    switch (number) {
        case 24:
            return {31,
                    payload_of(std::uint64_t{0}, std::uint64_t{0}, kShape.queue_count,
                               kShape.queue_size, std::uint32_t{0}),
                    {}};
        case MessageChoice::kSetInflight: return set_inflight({files.region.fd()}, kShape);
        case 26: return set_inflight({files.loose_region.get()}, kShape);
        case 27: return set_inflight({files.small.get()}, kShape);
        case 28: return set_inflight({}, kShape);
        // The page of the rings is the region, too.
        case 29: return set_inflight({files.memory.fd()}, kShape);
        // The same memory, seen otherwise.
        case 30: return set_inflight({files.region.fd()}, {.queue_count = 1, .queue_size = 64});
        default: return set_inflight({files.read_only.get()}, kShape);
    }
}

[[nodiscard]] inline FrontEndMessage sound_message(const FrontEndFiles& files,
                                                   const MessageChoice& choice) {
    using Planter = RequestPlanter;
    constexpr std::uint64_t kGuest = kGuestMemory;
    constexpr std::uint64_t kUser = kUserMemory;
    constexpr std::uint64_t kSize = FrontEndFiles::kMemorySize;
    constexpr std::uint32_t kHalf = kSize / 2;
    const int memory = files.memory.fd();
    const int event = files.event.get();
    const std::uint32_t ring = choice.ring;
    const std::uint64_t wide_ring = ring;
    // Ring features, protocol features, version 1, ZONED, FLUSH and CONFIG_WCE.
    const std::uint64_t features = choice.is_packed ? 0x5'7002'0a00 : 0x1'7002'0a00;
    switch (choice.number) {
        case 0: return {16, payload_of(std::uint64_t{0xb22b}), {}};
        case 1: return {2, payload_of(features), {}};
        case 2:
            return {5,
                    payload_of(std::uint32_t{1}, std::uint32_t{0}, kGuest, kSize, kUser,
                               std::uint64_t{0}),
                    {memory}};
        case 3: return {8, payload_of(ring, Planter::kRingSize), {}};
        case 4: return {10, payload_of(ring, choice.is_packed ? Planter::kPackedBase : 0U), {}};
        case 5:
            return {9,
                    payload_of(ring, std::uint32_t{1}, kUser + Planter::kDescriptors,
                               kUser + Planter::kDevicePart, kUser + Planter::kDriverPart,
                               std::uint64_t{0}),
                    {}};
        case 6: return {12, payload_of(wide_ring), {event}};
        case 7: return {13, payload_of(wide_ring), {event}};
        case 8: return {18, payload_of(ring, std::uint32_t{1}), {}};
        case 9: return {12, payload_of(wide_ring | 0x100), {}};
        case 10: return {18, payload_of(ring, std::uint32_t{0}), {}};
        case 11: return {11, payload_of(ring, std::uint32_t{0}), {}};
        case 12: return {6, payload_of(std::uint64_t{4096}, std::uint64_t{0}), {memory}};
        case 13: return {24, payload_of(std::uint32_t{0}, std::uint32_t{96}, std::uint32_t{0}), {}};
        case 14:  // the writeback byte
            return {25,
                    payload_of(std::uint32_t{32}, std::uint32_t{1}, std::uint32_t{0},
                               std::uint8_t(choice.is_packed)),
                    {}};
        case 15:
            return {5,
                    payload_of(std::uint32_t{2}, std::uint32_t{0}, kGuest, std::uint64_t{kHalf},
                               kUser, std::uint64_t{0}, kGuest + kHalf, std::uint64_t{kHalf},
                               kUser + kHalf, std::uint64_t{kHalf}),
                    {memory, memory}};
        case 16:
            return {37,
                    payload_of(std::uint64_t{0}, kGuest + 2 * kSize, kSize, kUser + 2 * kSize,
                               std::uint64_t{0}),
                    {memory}};
        case 17:
            return {38,
                    payload_of(std::uint64_t{0}, kGuest + 2 * kSize, kSize, kUser + 2 * kSize,
                               std::uint64_t{0}),
                    {}};
        case 18: return {36, {}, {}};
        case 19: return {1, {}, {}};
        case 20: return {2, payload_of(features & ~std::uint64_t{0x2'0000}), {}};  // no ZONED
        case 21: return {17, {}, {}};
        case 22: return {14, payload_of(wide_ring), {event}};
        case 23: return {34, {}, {}};
        default: return message_about_inflight(files, choice.number);
    }
}

}  // namespace zbdkit::test
