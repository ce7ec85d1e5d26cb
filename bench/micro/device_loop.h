// SPDX-License-Identifier: Apache-2.0
// A ring with a pretend driver on one side and, if wanted, a disk on the other, all on one thread:
// what one request costs without sockets, wake-ups and a second processor.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "graph/backend.h"
#include "graph/graph.h"
#include "io/blocking_pool.h"
#include "io/reactor.h"
#include "io/scope.h"
#include "tests/support/virtio/driver_memory.h"
#include "tests/support/virtio/ring_driver.h"
#include "virtio/blk_device.h"
#include "virtio/blk_wire.h"

namespace zbdkit::bench {

/// The driver's half and the device's half of a ring with 4 KiB requests.
class RingLoop {
  public:
    static constexpr std::uint32_t kBlock = 4096;
    static constexpr std::uint32_t kBatch = 32;

    explicit RingLoop(bool packed, test::ChainForm form = test::ChainForm::direct);

    /// Makes a batch of requests available. @param next_sector  called for each
    template <class NextSector>
    void add_batch(BlkRequestType type, NextSector next_sector) {
        for (const Slot& slot : slots_) write_header(slot, type, next_sector());
        for (const Slot& slot : slots_) add(slot, type);
        driver_->publish();
    }
    /// Takes a batch back, which must be complete and without errors.
    void take_batch(BlkRequestType type);

    [[nodiscard]] VirtQueue& queue() { return *queue_; }
    [[nodiscard]] DescriptorChain& chain(std::size_t index) { return chains_.at(index); }

  private:
    struct Slot {
        std::uint64_t header = 0;
        std::uint64_t data = 0;
        std::uint64_t tail = 0;  ///< append_sector and the status behind it
    };
    void write_header(const Slot& slot, BlkRequestType type, std::uint64_t sector);
    void add(const Slot& slot, BlkRequestType type);

    test::ChainForm form_;
    test::DriverMemory memory_{kMiB};
    std::unique_ptr<test::RingDriver> driver_;
    std::unique_ptr<VirtQueue> queue_;
    std::vector<Slot> slots_;
    std::array<DescriptorChain, kBatch> chains_;
};

/// A disk of a graph, as a device of virtio.
class Disk {
  public:
    /// @param options  of the node
    explicit Disk(const std::string& options);
    /// A zoned image in memory.
    /// @param create_options  as of `zbdkit create`
    Disk(std::uint64_t size, const std::string& create_options);
    ~Disk();

    /// Serves a batch that is in the ring.
    void serve_batch(RingLoop& ring);
    /// One request to the graph, without a device.
    void submit(Request& request);
    [[nodiscard]] BlkDevice& device() { return *device_; }
    [[nodiscard]] BlockBackend& backend() { return *backend_; }
    [[nodiscard]] Reactor& reactor() { return reactor_; }

  private:
    void open(const std::string& options, NamedNodes& named);
    [[nodiscard]] Task<void> serve(RingLoop& ring, DescriptorChain& chain);

    Reactor reactor_;
    BlockingPool pool_{1};
    OpenContext context_{reactor_, pool_};
    std::unique_ptr<BlockBackend> backend_;
    std::unique_ptr<BlkDevice> device_;
    TaskScope scope_;
};

}  // namespace zbdkit::bench
