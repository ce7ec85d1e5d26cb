// SPDX-License-Identifier: Apache-2.0
// Fuzzes a whole connection: the input is a front end's script, one message after the other, with
// descriptors, and the content of guest memory, so that rings run on noise. Nothing may crash, hang
// or be left behind. Half of the messages come from a list of sound ones, as noise alone never
// starts a ring.
//
//   input   = boots:u8 step * up to 64     then 4 KiB of it again as the rings' memory
//   boots   = 3 of 4 values begin with a ring that runs
//   step    = choice:u8 index:u8 fds:u8 length:u8 byte * length % 64
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
#include <string>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/log.h"
#include "export/vhost_user/service.h"
#include "export/vhost_user/session.h"
#include "graph/backend.h"
#include "tests/support/export/fake_disk.h"
#include "tests/support/io/uring_reactor.h"

using namespace zbdkit;
using namespace zbdkit::vhost_user;

namespace {

constexpr std::size_t kMemorySize = 65536;
constexpr std::size_t kMaxSteps = 64;
constexpr std::uint64_t kGuest = 0x10000;
constexpr std::uint64_t kUser = 0x7f0000000000;

std::uint64_t no_time() { return 0; }

/// What all runs share.
struct World {
    World() : backend(std::make_unique<test::FakeDisk>(reactor, ZoneModel::host_managed)) {
        spdlog::set_level(spdlog::level::off);
        ZBDKIT_ASSERT(::ftruncate(memory.get(), kMemorySize) == 0);
    }
    test::UringReactor reactor;
    BlockBackend backend;
    BlkDevice device{backend, {.queue_count = 2}, &no_time};
    std::string name = "fuzz";
    UniqueFd memory{::memfd_create("fuzz", MFD_CLOEXEC)};
    UniqueFd event{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

class Script {
  public:
    explicit Script(ConstBytes input) : left_(input) {}

    [[nodiscard]] bool is_empty() const { return left_.empty(); }
    std::uint8_t byte() {
        if (left_.empty()) return 0;
        const auto value = std::to_integer<std::uint8_t>(left_[0]);
        left_ = left_.subspan(1);
        return value;
    }
    ConstBytes bytes(std::size_t length) {
        const ConstBytes taken = left_.first(std::min(length, left_.size()));
        left_ = left_.subspan(taken.size());
        return taken;
    }

  private:
    ConstBytes left_;
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

/// A sound message, chosen by number.
Sent sound_message(const World& world, std::uint8_t choice, std::uint32_t ring) {
    const std::uint64_t wide_ring = ring;
    const std::uint64_t features = (choice & 0x10) != 0 ? 0x4'7002'0000 : 0x1'7002'0000;
    switch (choice % 16) {
        case 0: return {16, payload_of(std::uint64_t{0xa22b}), {}};
        case 1: return {2, payload_of(features), {}};
        case 2:
            return {5,
                    payload_of(std::uint32_t{1}, std::uint32_t{0}, kGuest,
                               std::uint64_t{kMemorySize}, kUser, std::uint64_t{0}),
                    {world.memory.get()}};
        case 3: return {8, payload_of(ring, std::uint32_t{16}), {}};
        case 4: return {10, payload_of(ring, std::uint32_t{0}), {}};
        case 5:
            return {9,
                    payload_of(ring, std::uint32_t{1}, kUser, kUser + 512, kUser + 256,
                               std::uint64_t{0}),
                    {}};
        case 6: return {12, payload_of(wide_ring), {world.event.get()}};
        case 7: return {12, payload_of(wide_ring | 0x100), {}};
        case 8: return {13, payload_of(wide_ring), {world.event.get()}};
        case 9:
        case 10: return {18, payload_of(ring, std::uint32_t{1}), {}};
        case 11: return {11, payload_of(ring, std::uint32_t{0}), {}};
        case 12:
            return {6, payload_of(std::uint64_t{4096}, std::uint64_t{0}), {world.memory.get()}};
        default: return {34, {}, {}};
    }
}

Sent next_message(const World& world, Script& script) {
    const std::uint8_t choice = script.byte();
    const std::uint8_t index = script.byte();
    const std::uint8_t fds = script.byte();
    const std::uint8_t length = script.byte();
    if ((choice & 0x80) == 0) return sound_message(world, choice, index % 2);
    const ConstBytes payload = script.bytes(length % 64);
    Sent sent{.request = choice % 48U, .payload = {payload.begin(), payload.end()}, .fds = {}};
    for (unsigned i = 0; i < fds % 4U; ++i) {
        sent.fds.push_back((fds & 0x40) != 0 ? world.memory.get() : world.event.get());
    }
    return sent;
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
    const ConstBytes input = std::as_bytes(std::span(data, size));
    std::array<int, 2> ends{};
    ZBDKIT_ASSERT(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
    const UniqueFd ours(ends[0]);
    ::fcntl(ends[1], F_SETFL, O_NONBLOCK);
    ZBDKIT_ASSERT(
        ::pwrite(world.memory.get(), input.data(), std::min<std::size_t>(size, 4096), 0) >= 0);

    Script script(input);
    const std::uint8_t boots = script.byte();
    for (std::uint8_t step = 0; boots % 4 != 0 && step <= 9; ++step) {
        if (step == 7) continue;  // the kick descriptor of step 6 stays
        send(ours.get(), sound_message(world, step | (boots & 0x10), boots / 4 % 2), true);
    }
    for (std::size_t step = 0; step < kMaxSteps && !script.is_empty(); ++step) {
        send(ours.get(), next_message(world, script), step % 2 == 0);
    }
    // The session reads all there is and then finds the end; its replies find room unread.
    ::shutdown(ours.get(), SHUT_WR);

    Service service{world.reactor, world.device, world.name};
    Session session(service, UniqueFd(ends[1]));
    world.reactor.run_to_end(session.run());
    ZBDKIT_ASSERT(world.backend.in_flight() == 0);
    ZBDKIT_ASSERT(world.device.features() == 0);
    return 0;
}
