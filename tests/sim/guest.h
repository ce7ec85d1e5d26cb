// SPDX-License-Identifier: Apache-2.0
// A guest's driver and the real virtio device it talks to, on one reactor: requests go through
// rings in guest memory, split or packed, and come back through them. There is no socket between
// the two, and no kick: the device looks right after something was made available.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "graph/backend.h"
#include "io/reactor.h"
#include "io/scope.h"
#include "io/sync.h"
#include "io/task.h"
#include "tests/support/virtio/driver_memory.h"
#include "tests/support/virtio/ring_driver.h"
#include "virtio/blk_device.h"
#include "virtio/blk_wire.h"
#include "virtio/virt_queue.h"

namespace zbdkit::sim {

struct GuestRequest {
    BlkRequestType type = BlkRequestType::in;
    std::uint64_t offset = 0;       ///< bytes, a multiple of 512
    std::vector<std::byte> data{};  ///< what the device reads
    std::size_t reply_length = 0;   ///< what it writes, the status apart
};

struct GuestAnswer {
    BlkStatus status = BlkStatus::io_error;
    std::vector<std::byte> reply{};
};

class Guest {
  public:
    struct Options {
        unsigned queue_count = 1;
        bool packed = false;
        bool write_through = false;  ///< the driver switches the write cache off
    };
    /// Requests that a queue carries at a time; more wait.
    static constexpr unsigned kDepth = 16;
    /// The longest data and the longest reply of one request, in bytes.
    static constexpr std::size_t kLongestData = 32 * 1024;

    /// @param memory  of memory_size() at least; what an earlier guest had in it is forgotten
    Guest(Reactor& reactor, BlockBackend& backend, test::DriverMemory& memory,
          const Options& options);
    Guest(const Guest&) = delete;
    Guest& operator=(const Guest&) = delete;

    [[nodiscard]] static std::size_t memory_size(unsigned queue_count);

    /// Sends a request and waits for its answer.
    [[nodiscard]] Task<GuestAnswer> submit(unsigned queue, const GuestRequest& request);
    /// Waits until the device has nothing left to do.
    [[nodiscard]] Task<void> stop();

  private:
    struct Slot {
        std::uint64_t header = 0;  ///< guest addresses
        std::uint64_t data = 0;
        std::uint64_t reply = 0;  ///< and the status behind it
        bool is_used = false;
        AsyncEvent* answered = nullptr;
    };
    struct Queue {
        std::unique_ptr<test::RingDriver> driver;
        std::unique_ptr<VirtQueue> device;
        std::vector<Slot> slots;
        std::vector<Slot*> by_id;  ///< who waits for a chain
        WaitQueue freed;
    };

    [[nodiscard]] std::unique_ptr<Queue> make_queue(bool packed);
    [[nodiscard]] static Slot* free_slot(Queue& queue);
    void make_available(Queue& queue, Slot& slot, const GuestRequest& request);
    [[nodiscard]] Task<void> serve_one(Queue& queue);
    void take_used(Queue& queue);

    test::DriverMemory& memory_;
    BlkDevice device_;
    std::vector<std::unique_ptr<Queue>> queues_;
    TaskScope serving_;
};

}  // namespace zbdkit::sim
