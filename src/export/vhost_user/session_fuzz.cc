// SPDX-License-Identifier: Apache-2.0
// Fuzzes a whole connection: the input is a front end's script, one message after the other, with
// descriptors, and the guest's requests in the rings' memory. Behind it stands the real device over
// a zoned image in memory. Nothing may crash, hang or be left behind. Half of the messages come
// from a list of sound ones, as noise alone never starts a ring.
//
//   input   = boots:u8 requests(tests/fuzz/planted_requests.h) count:u8 spoil{count % 16}
//             step...                                                              up to 64
//   boots   = 3 of 4 values begin with a ring that runs; bit 2 which ring, bit 4 packed
//   spoil   = at:u16 flip:u8
//   step    = choice:u8 index:u8 fds:u8 length:u8 byte{length % 64}
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/log.h"
#include "export/vhost_user/service.h"
#include "export/vhost_user/session.h"
#include "graph/backend.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/planted_requests.h"
#include "tests/fuzz/zoned_storage.h"
#include "tests/support/io/uring_reactor.h"

using namespace zbdkit;
using namespace zbdkit::vhost_user;

namespace {

constexpr std::size_t kMemorySize = 65536;
constexpr std::size_t kMaxSteps = 64;
constexpr std::size_t kMostSpoils = 16;
constexpr std::uint64_t kGuest = 0x10000;
constexpr std::uint64_t kUser = 0x7f0000000000;

std::uint64_t no_time() { return 0; }

/// What all runs share: none of it remembers a run.
struct World {
    World() {
        spdlog::set_level(spdlog::level::off);
        ZBDKIT_ASSERT(::ftruncate(memory.get(), kMemorySize) == 0);
    }
    test::UringReactor reactor;
    std::string name = "fuzz";
    UniqueFd memory{::memfd_create("fuzz", MFD_CLOEXEC)};
    UniqueFd event{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

/// The disk of one run.
class Disk {
  public:
    Disk() : backend_(open(image_.bytes())) {}
    BlkDevice& device() { return device_; }
    BlockBackend& backend() { return backend_; }
    void close() { ZBDKIT_ASSERT(storage_.reactor.run_to_end(backend_.close()).has_value()); }

  private:
    std::unique_ptr<BlockNode> open(MutableBytes image) {
        auto disk = test::open_zoned(storage_, make_memory_node(image));
        ZBDKIT_ASSERT(disk.has_value());
        return std::move(*disk);
    }
    test::FuzzWorld storage_;
    AlignedBuffer image_ = test::new_zoned_image(storage_, 0);
    BlockBackend backend_;
    BlkDevice device_{backend_, {.queue_count = 2}, &no_time};
};

struct Sent {
    std::uint32_t request = 0;
    std::vector<std::byte> payload;
    std::vector<int> fds;
};

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

/// A sound message, chosen by number: those that start a ring come first, in order.
Sent sound_message(const World& world, std::uint8_t choice, std::uint32_t ring) {
    using Planter = test::RequestPlanter;
    const std::uint64_t wide_ring = ring;
    const bool is_packed = (choice & 0x20) != 0;
    // Ring features, protocol features, version 1, ZONED, FLUSH and CONFIG_WCE.
    const std::uint64_t features = is_packed ? 0x5'7002'0a00 : 0x1'7002'0a00;
    constexpr std::uint32_t kHalf = kMemorySize / 2;
    switch (choice % 24) {
        case 0: return {16, payload_of(std::uint64_t{0xa22b}), {}};
        case 1: return {2, payload_of(features), {}};
        case 2:
            return {5,
                    payload_of(std::uint32_t{1}, std::uint32_t{0}, kGuest,
                               std::uint64_t{kMemorySize}, kUser, std::uint64_t{0}),
                    {world.memory.get()}};
        case 3: return {8, payload_of(ring, Planter::kRingSize), {}};
        case 4: return {10, payload_of(ring, is_packed ? Planter::kPackedBase : 0U), {}};
        case 5:
            return {9,
                    payload_of(ring, std::uint32_t{1}, kUser + Planter::kDescriptors,
                               kUser + Planter::kDevicePart, kUser + Planter::kDriverPart,
                               std::uint64_t{0}),
                    {}};
        case 6: return {12, payload_of(wide_ring), {world.event.get()}};
        case 7: return {13, payload_of(wide_ring), {world.event.get()}};
        case 8: return {18, payload_of(ring, std::uint32_t{1}), {}};
        case 9: return {12, payload_of(wide_ring | 0x100), {}};
        case 10: return {18, payload_of(ring, std::uint32_t{0}), {}};
        case 11: return {11, payload_of(ring, std::uint32_t{0}), {}};
        case 12:
            return {6, payload_of(std::uint64_t{4096}, std::uint64_t{0}), {world.memory.get()}};
        case 13: return {24, payload_of(std::uint32_t{0}, std::uint32_t{96}, std::uint32_t{0}), {}};
        case 14:  // the writeback byte
            return {25,
                    payload_of(std::uint32_t{32}, std::uint32_t{1}, std::uint32_t{0},
                               std::uint8_t(is_packed)),
                    {}};
        case 15:
            return {5,
                    payload_of(std::uint32_t{2}, std::uint32_t{0}, kGuest, std::uint64_t{kHalf},
                               kUser, std::uint64_t{0}, kGuest + kHalf, std::uint64_t{kHalf},
                               kUser + kHalf, std::uint64_t{kHalf}),
                    {world.memory.get(), world.memory.get()}};
        case 16:
            return {
                37,
                payload_of(std::uint64_t{0}, kGuest + 2 * kMemorySize, std::uint64_t{kMemorySize},
                           kUser + 2 * kMemorySize, std::uint64_t{0}),
                {world.memory.get()}};
        case 17:
            return {
                38,
                payload_of(std::uint64_t{0}, kGuest + 2 * kMemorySize, std::uint64_t{kMemorySize},
                           kUser + 2 * kMemorySize, std::uint64_t{0}),
                {}};
        case 18: return {36, {}, {}};
        case 19: return {1, {}, {}};
        case 20: return {2, payload_of(features & ~std::uint64_t{0x2'0000}), {}};  // no ZONED
        case 21: return {17, {}, {}};
        case 22: return {14, payload_of(wide_ring), {world.event.get()}};
        default: return {34, {}, {}};
    }
}
constexpr std::uint8_t kBootMessages = 9;

Sent next_message(const World& world, test::FuzzInput& script) {
    const std::uint8_t choice = script.byte();
    const std::uint8_t index = script.byte();
    const std::uint8_t fds = script.byte();
    const std::uint8_t length = script.byte();
    if ((choice & 0x80) == 0) return sound_message(world, choice, index % 2);
    const ConstBytes payload = script.take_bytes(length % 64);
    Sent sent{.request = choice % 48U, .payload = {payload.begin(), payload.end()}, .fds = {}};
    for (unsigned i = 0; i < fds % 4U; ++i) {
        sent.fds.push_back((fds & 0x40) != 0 ? world.memory.get() : world.event.get());
    }
    return sent;
}

/// Fills the rings' page of guest memory, which the guest would have done while it ran.
void plant(const World& world, test::FuzzInput& script, bool is_packed) {
    std::vector<std::byte> page(test::RequestPlanter::kPageSize);
    test::RequestPlanter planter(page, {.packed = is_packed,
                                        .page = kGuest,
                                        .data = kGuest + 0x2000,
                                        .data_length = 0x2000,
                                        .zone_sectors = 64});
    planter.plant(script);
    const std::size_t spoils = script.byte() % kMostSpoils;
    for (std::size_t i = 0; i < spoils; ++i) {
        const auto at = script.take<std::uint16_t>();
        page[at % page.size()] ^= std::byte{script.byte()};
    }
    ZBDKIT_ASSERT(::pwrite(world.memory.get(), page.data(), page.size(), 0) ==
                  static_cast<ssize_t>(page.size()));
}

void send(int socket, const Sent& message, bool needs_reply) {
    std::vector<std::byte> bytes = payload_of(message.request, std::uint32_t{needs_reply ? 9U : 1U},
                                              static_cast<std::uint32_t>(message.payload.size()));
    bytes.insert(bytes.end(), message.payload.begin(), message.payload.end());
    iovec segment{bytes.data(), bytes.size()};
    msghdr header{};
    header.msg_iov = &segment;
    header.msg_iovlen = 1;
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(4 * sizeof(int))> control{};
    if (!message.fds.empty()) {
        const std::size_t length = message.fds.size() * sizeof(int);
        header.msg_control = control.data();
        header.msg_controllen = CMSG_SPACE(length);
        cmsghdr* part = CMSG_FIRSTHDR(&header);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(length);
        std::memcpy(CMSG_DATA(part), message.fds.data(), length);
    }
    ZBDKIT_ASSERT(::sendmsg(socket, &header, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static World world;
    Disk disk;
    std::array<int, 2> ends{};
    ZBDKIT_ASSERT(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
    const UniqueFd ours(ends[0]);
    ::fcntl(ends[1], F_SETFL, O_NONBLOCK);

    test::FuzzInput script(std::as_bytes(std::span(data, size)));
    const std::uint8_t boots = script.byte();
    const std::uint8_t packed_bit = (boots & 0x10) != 0 ? 0x20 : 0;
    plant(world, script, packed_bit != 0);
    for (std::uint8_t step = 0; boots % 4 != 0 && step < kBootMessages; ++step) {
        // Messages are chosen modulo 24, and 0x60 is 4 * 24.
        const auto choice = static_cast<std::uint8_t>(packed_bit != 0 ? 0x60 + step : step);
        send(ours.get(), sound_message(world, choice, boots / 4 % 2), true);
    }
    for (std::size_t step = 0; step < kMaxSteps && !script.is_empty(); ++step) {
        send(ours.get(), next_message(world, script), step % 2 == 0);
    }
    // The session reads all there is and then finds the end; its replies find room unread.
    ::shutdown(ours.get(), SHUT_WR);

    Service service{world.reactor, disk.device(), world.name};
    Session session(service, UniqueFd(ends[1]));
    world.reactor.run_to_end(session.run());
    ZBDKIT_ASSERT(disk.backend().in_flight() == 0);
    ZBDKIT_ASSERT(disk.device().features() == 0);
    disk.close();
    return 0;
}
