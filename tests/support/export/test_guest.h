// SPDX-License-Identifier: Apache-2.0
// A guest with its VMM in a test: a front end, guest memory, a ring driver for each queue, and
// virtio-blk requests. Sets its queues up in the orders that real VMMs use. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/unique_fd.h"
#include "tests/support/export/front_end.h"
#include "tests/support/virtio/ring_driver.h"

namespace zbdkit::test {

/// In which order a queue is set up.
enum class SetupOrder : std::uint8_t {
    qemu,  ///< NUM BASE ADDR KICK CALL, then ENABLE, then CALL again
    rust,  ///< NUM ADDR BASE CALL KICK ENABLE: Cloud Hypervisor, crosvm, Firecracker
};

class TestGuest {
  public:
    static constexpr std::uint64_t kZoned = std::uint64_t{1} << 17;
    static constexpr std::uint64_t kLogAll = std::uint64_t{1} << 26;
    static constexpr std::uint64_t kIndirect = std::uint64_t{1} << 28;
    static constexpr std::uint64_t kEventIdx = std::uint64_t{1} << 29;
    static constexpr std::uint64_t kProtocol = std::uint64_t{1} << 30;
    static constexpr std::uint64_t kVersion1 = std::uint64_t{1} << 32;
    static constexpr std::uint64_t kPacked = std::uint64_t{1} << 34;
    static constexpr std::uint64_t kUsual = kZoned | kIndirect | kProtocol | kVersion1;
    static constexpr std::uint64_t kReplyAck = std::uint64_t{1} << 3;

    /// What came back for a request.
    struct Answer {
        std::uint8_t status = 0xff;
        std::uint32_t written = 0;
        std::vector<std::byte> data;  ///< the writable memory without the status byte
    };
    struct Queue {
        std::unique_ptr<RingDriver> driver;
        UniqueFd kick = make_event();
        UniqueFd call = make_event();
        UniqueFd error = make_event();
    };
    /// A request on its way.
    struct Pending {
        std::uint64_t status_at = 0;
        std::uint64_t data_at = 0;
        std::uint32_t data_length = 0;
    };

    explicit TestGuest(const std::string& path, std::uint32_t queue_count = 2)
        : front_end(path), queues(queue_count) {}

    /// Features and protocol features as QEMU's generic device negotiates them.
    void negotiate(std::uint64_t features = kUsual);
    /// Memory in one table, and a queue set up and running.
    void share_memory();
    void start_queue(std::uint32_t index, SetupOrder order = SetupOrder::qemu,
                     std::uint32_t size = 64);
    /// All of it: negotiation, memory, queue 0.
    void boot(std::uint64_t features = kUsual, SetupOrder order = SetupOrder::qemu);
    /// What outlives a server: asked for, and handed to the next one, before the queues start.
    struct Inflight {
        UniqueFd fd;
        std::uint64_t size = 0;
        std::uint64_t offset = 0;
        std::uint16_t queue_size = 0;
    };
    void get_inflight(std::uint16_t queue_size = 64);
    /// @return the acknowledgement
    std::uint64_t set_inflight();
    /// Connects to a server that took the place of the former; all is to be negotiated again.
    void reconnect(const std::string& path) { front_end = FrontEnd(path); }

    /// ENABLE 0 and GET_VRING_BASE. @return the base
    RingBase stop_queue(std::uint32_t index);

    // The single messages.
    [[nodiscard]] Payload memory_table() const;
    [[nodiscard]] Payload vring_addr(std::uint32_t index, bool log = false) const;
    void make_driver(std::uint32_t index, std::uint32_t size);

    /// Puts a request into a ring, not yet visible.
    Pending add(std::uint32_t queue, std::uint32_t type, std::uint64_t sector, ConstBytes out,
                std::uint32_t in_length);
    /// Makes all that was added visible and kicks.
    void kick(std::uint32_t queue);
    /// Waits for call events until `count` requests came back. @return how many did
    std::uint32_t wait_used(std::uint32_t queue, std::uint32_t count,
                            int timeout_ms = FrontEnd::kTimeoutMs);
    [[nodiscard]] Answer answer_of(const Pending& pending) const;
    /// One request from begin to end.
    Answer request(std::uint32_t type, std::uint64_t sector, ConstBytes out,
                   std::uint32_t in_length, std::uint32_t queue = 0);
    Answer write(std::uint64_t sector, ConstBytes data, std::uint32_t queue = 0) {
        return request(1, sector, data, 0, queue);
    }
    Answer read(std::uint64_t sector, std::uint32_t length, std::uint32_t queue = 0) {
        return request(0, sector, {}, length, queue);
    }

    FrontEnd front_end;
    DriverMemory memory{4 * kMiB};
    std::vector<Queue> queues;
    std::uint64_t features = 0;
    Inflight inflight;
    std::uint32_t last_written = 0;
    std::uint32_t calls = 0;  ///< call events that wait_used() took
};

/// `length` bytes that tell where they came from.
[[nodiscard]] std::vector<std::byte> pattern(std::size_t length, std::uint8_t seed);

}  // namespace zbdkit::test
