// SPDX-License-Identifier: Apache-2.0
// A hostile driver against the real thing: a split or packed ring, the device, the backend and a
// zoned image in memory whose data writes end when the input says so, in any order, some with an
// error. Requests that begin sound are spoilt before and while they are served. What must hold: no
// byte outside of guest memory is touched, every chain is answered once, the zones stay lawful, and
// the image opens again with the zones that were last seen.
//
//   input   = setup:u8 features:u8 requests(tests/fuzz/planted_requests.h) count:u8
//             spoil{count % 16} event...
//   setup   = bit 0 packed, 1 indirect, 2 event index, 3 the driver knows no zones, 4 dirty log
//   spoil   = at:u16 flip:u8
//   event   = what:u8 value:u8                             up to 96
//   memory  = guest 0x0000-0x0fff the ring's page; 0x1000-0x17ff, elsewhere in this process; gap;
//             0x2000-0x2fff the data
#include <algorithm>
#include <array>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/log.h"
#include "graph/backend.h"
#include "io/run_queue.h"
#include "io/scope.h"
#include "tests/fuzz/canary.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/planted_requests.h"
#include "tests/fuzz/zoned_storage.h"
#include "tests/support/node/held_node.h"
#include "virtio/blk_device.h"
#include "virtio/virt_queue.h"

namespace zbdkit {
namespace {

using test::FuzzInput;
using test::RequestPlanter;

constexpr std::size_t kMostEvents = 96;
constexpr std::size_t kMostChains = 300;
constexpr std::size_t kMostSpoils = 16;

std::uint64_t no_time() { return 0; }

/// Exactly sized allocations, so that the sanitizer sees one byte too far.
class Guest {
  public:
    Guest() {
        // The device is told of memory that is not there.
        if (test::has_fuzz_canary("short-memory")) data_ = std::vector<std::byte>(0x200);
    }
    [[nodiscard]] MutableBytes page() { return page_; }
    [[nodiscard]] std::shared_ptr<const GuestMemory> memory() {
        auto memory = GuestMemory::make({region({0, 0, 0x1000, 0}, page_),
                                         region({0x1000, 0x1000, 0x800, 0}, middle_),
                                         region({0x2000, 0x2000, 0x1000, 0}, data_)});
        ZBDKIT_ASSERT(memory.has_value());
        return *memory;
    }
    void spoil(std::size_t at, std::uint8_t flip) { page_[at % page_.size()] ^= std::byte{flip}; }

  private:
    static std::shared_ptr<const MemoryRegion> region(const MemoryRegion::Place& place,
                                                      std::vector<std::byte>& bytes) {
        return MemoryRegion::borrow(place, bytes.data());
    }
    std::vector<std::byte> page_ = std::vector<std::byte>(0x1000);
    std::vector<std::byte> middle_ = std::vector<std::byte>(0x800);
    std::vector<std::byte> data_ = std::vector<std::byte>(0x1000);
};

/// A chain that was taken off the ring.
struct Held {
    DescriptorChain chain;
    std::uint64_t writable = 0;
    std::uint32_t length = 0;
    bool is_done = false;
};

class Fuzzer {
  public:
    explicit Fuzzer(FuzzInput input) : input_(input), setup_(input_.byte()) {
        auto held = std::make_unique<test::HeldNode>(make_memory_node(image_.bytes()));
        storage_ = held.get();
        auto disk = test::open_zoned(world_, std::move(held));
        ZBDKIT_ASSERT(disk.has_value());
        backend_ = std::make_unique<BlockBackend>(std::move(*disk));
        device_ = std::make_unique<BlkDevice>(
            *backend_, BlkDevice::Options{.serial = "fuzz", .seg_max = 30}, &no_time);
        negotiate();
        plant();
        make_queue();
        storage_->hold_from(0x100000);  // where data begins
    }

    void run() {
        for (std::size_t i = 0; i < kMostEvents && !input_.is_empty(); ++i) happen();
        for (std::size_t i = 0; i < kMostChains && take_chain(); ++i) {
        }
        storage_->hold_nothing();
        while (storage_->held_count() != 0) release(0, false);
        settle();
        ZBDKIT_ASSERT(scope_.running() == 0 && chains_.empty());
        ZBDKIT_ASSERT(backend_->in_flight() == 0);
        end();
    }

  private:
    [[nodiscard]] bool is_packed() const { return (setup_ & 1) != 0; }

    void negotiate() {
        const unsigned chosen = input_.byte();
        std::uint64_t features = device_->offered_features();
        if ((setup_ & 8) != 0) features &= ~blk_feature::kZoned;
        if ((chosen & 1) != 0) features &= ~blk_feature::kFlush;
        if ((chosen & 2) != 0) features &= ~blk_feature::kConfigWce;
        device_->set_features(features);
        const std::array<std::byte, 1> writeback = {std::byte(chosen >> 2 & 1)};
        constexpr std::uint32_t kWriteback = 0x20;
        (void)device_->write_config(kWriteback, writeback);
    }

    void plant() {
        RequestPlanter planter(guest_.page(), {.packed = is_packed(),
                                               .page = 0,
                                               .data = 0x2000,
                                               .data_length = 0x1000,
                                               .zone_sectors = 64});
        planter.plant(input_);
        const std::size_t spoils = input_.byte() % kMostSpoils;
        for (std::size_t i = 0; i < spoils; ++i) {
            const auto at = input_.take<std::uint16_t>();
            guest_.spoil(at, input_.byte());
        }
    }

    void make_queue() {
        VirtQueue::Setup setup;
        setup.features = {
            .indirect = (setup_ & 2) != 0, .event_idx = (setup_ & 4) != 0, .packed = is_packed()};
        setup.size = RequestPlanter::kRingSize;
        setup.addresses = {.descriptors = RequestPlanter::kDescriptors,
                           .driver = RequestPlanter::kDriverPart,
                           .device = RequestPlanter::kDevicePart,
                           .log_guest_address = RequestPlanter::kDevicePart,
                           .log_used = (setup_ & 16) != 0,
                           .guest_addresses = true};
        setup.base = is_packed() ? RequestPlanter::kPackedBase : 0;
        setup.memory = guest_.memory();
        if ((setup_ & 16) != 0) setup.log = DirtyLog::borrow(log_bits_);
        setup.max_chain = RequestPlanter::kRingSize;
        auto made = VirtQueue::make(setup);
        ZBDKIT_ASSERT(made.has_value());
        queue_ = std::move(*made);
    }

    void happen() {
        const unsigned what = input_.byte();
        const unsigned value = input_.byte();
        switch (what % 6) {
            case 0:
            case 1: take_chain(); break;
            case 2: release(value, false); break;
            case 3: release(value, what >= 0xf0); break;
            case 4: guest_.spoil(what / 6 * std::size_t{24} + value % 24, input_.byte()); break;
            default: turn_to_driver(value); break;
        }
        settle();
    }

    void turn_to_driver(unsigned value) {
        (void)queue_->take_notification();
        if (value % 4 == 1) queue_->disable_kicks();
        if (value % 4 == 2) (void)queue_->enable_kicks();
        if (value % 4 == 3) ZBDKIT_ASSERT(queue_->set_memory(guest_.memory()).has_value());
    }

    /// @return whether there was one
    bool take_chain() {
        Held& held = chains_.emplace_back();
        const VirtQueue::Pop popped = queue_->pop(held.chain);
        if (popped == VirtQueue::Pop::chain) {
            for (const ByteRange& range : held.chain.writable_guest) held.writable += range.length;
            scope_.spawn(serve(*device_, held));
        } else {
            if (popped == VirtQueue::Pop::invalid) queue_->push(held.chain, 0);
            chains_.pop_back();
        }
        settle();
        return popped == VirtQueue::Pop::chain || popped == VirtQueue::Pop::invalid;
    }

    static Task<void> serve(BlkDevice& device, Held& held) {
        held.length = co_await device.handle(held.chain);
        held.is_done = true;
    }

    void release(std::size_t index, bool fails) {
        const std::size_t count = storage_->held_count();
        if (count == 0) return;
        storage_->release(index % count, fails ? std::optional(Errc::io) : std::nullopt);
        settle();
    }

    /// Runs all that can run, and returns what ended to the ring.
    void settle() {
        while (has_scheduled()) run_scheduled();
        std::erase_if(chains_, [this](const Held& held) {
            if (!held.is_done) return false;
            ZBDKIT_ASSERT(held.length == held.writable || held.length == 0);
            queue_->log_written(held.chain, held.length);
            queue_->push(held.chain, held.length);
            return true;
        });
    }

    [[nodiscard]] std::vector<ZoneDescriptor> report(BlockNode& disk) {
        std::vector<ZoneDescriptor> zones(disk.info().zones.zone_count());
        Request request = report_request(0, zones);
        const Result<void> reported = world_.reactor.run_to_end(disk.submit(request));
        ZBDKIT_ASSERT(reported && request.zones_reported == zones.size());
        test::check_zones(disk.info().zones, zones);
        return zones;
    }

    void end() {
        const std::vector<ZoneDescriptor> zones = report(backend_->root());
        ZBDKIT_ASSERT(world_.reactor.run_to_end(backend_->close()).has_value());
        auto again = test::open_zoned(world_, make_memory_node(image_.bytes()));
        ZBDKIT_ASSERT(again && report(**again) == zones);
        ZBDKIT_ASSERT(world_.reactor.run_to_end((*again)->close()).has_value());
    }

    FuzzInput input_;
    unsigned setup_;
    test::FuzzWorld world_;
    AlignedBuffer image_ = test::new_zoned_image(world_, 0);
    test::HeldNode* storage_ = nullptr;
    Guest guest_;
    std::vector<std::byte> log_bits_ = std::vector<std::byte>(1);
    std::unique_ptr<BlockBackend> backend_;
    std::unique_ptr<BlkDevice> device_;
    std::unique_ptr<VirtQueue> queue_;
    std::list<Held> chains_;  // stable while they are served
    TaskScope scope_;
};

}  // namespace
}  // namespace zbdkit

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace zbdkit;
    spdlog::set_level(spdlog::level::off);
    Fuzzer(test::FuzzInput(std::as_bytes(std::span(data, size)))).run();
    return 0;
}
