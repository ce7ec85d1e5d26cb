// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/guest.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"

namespace zbdkit::sim {
namespace {

constexpr std::size_t kHeaderSize = sizeof(BlkHeader);
/// Ring descriptors: enough for kDepth chains of four buffers.
constexpr std::uint32_t kRingSize = 128;
constexpr std::uint32_t kLongestChain = 128;
/// What a ring of that size takes, generously.
constexpr std::size_t kRingMemory = 16 * 1024;

BlkDevice::Options device_options(const Guest::Options& options) {
    return {.serial = "simulated",
            .queue_count = static_cast<std::uint16_t>(options.queue_count),
            .packed = options.packed,
            .write_cache = !options.write_through};
}

}  // namespace

std::size_t Guest::memory_size(unsigned queue_count) {
    constexpr std::size_t kSlotSize = 2 * Guest::kLongestData + 4096;
    return queue_count * (kDepth * kSlotSize + kRingMemory);
}

Guest::Guest(Reactor& reactor, BlockBackend& backend, test::DriverMemory& memory,
             const Options& options)
    : memory_(memory),
      device_(backend, device_options(options), [&reactor] { return reactor.now_ns(); }) {
    device_.set_features(device_.offered_features());
    memory_.release_to(0);
    std::ranges::fill(memory_.bytes().first(options.queue_count * kRingMemory), std::byte{0});
    for (unsigned i = 0; i < options.queue_count; ++i) {
        queues_.push_back(make_queue(options.packed));
    }
    ZBDKIT_ASSERT(memory_.allocated() <= options.queue_count * kRingMemory);
    for (const std::unique_ptr<Queue>& queue : queues_) {
        for (Slot& slot : queue->slots) {
            slot.header = memory_.allocate(kHeaderSize);
            slot.data = memory_.allocate(kLongestData);
            slot.reply = memory_.allocate(kLongestData + 1);
        }
    }
}

std::unique_ptr<Guest::Queue> Guest::make_queue(bool packed) {
    auto queue = std::make_unique<Queue>();
    queue->driver = test::RingDriver::make(
        memory_,
        {.features = {.indirect = true, .event_idx = true, .packed = packed}, .size = kRingSize});
    Outcome<std::unique_ptr<VirtQueue>> device =
        VirtQueue::make(queue->driver->device_setup(memory_.guest_memory(), kLongestChain));
    ZBDKIT_ASSERT(device.has_value());
    queue->device = std::move(*device);
    queue->slots.resize(kDepth);
    queue->by_id.resize(std::size_t{1} << 16);
    return queue;
}

Guest::Slot* Guest::free_slot(Queue& queue) {
    const auto found = std::ranges::find(queue.slots, false, &Slot::is_used);
    return found == queue.slots.end() ? nullptr : &*found;
}

void Guest::make_available(Queue& queue, Slot& slot, const GuestRequest& request) {
    ZBDKIT_ASSERT(request.data.size() <= kLongestData && request.reply_length <= kLongestData);
    BlkHeader header{};
    header.type = static_cast<std::uint32_t>(request.type);
    header.sector = request.offset / kSectorSize;
    std::memcpy(memory_.at({slot.header, kHeaderSize}).data(), &header, sizeof header);
    std::vector<test::DriverBuffer> buffers = {{slot.header, kHeaderSize, false}};
    if (!request.data.empty()) {
        std::ranges::copy(request.data, memory_.at({slot.data, request.data.size()}).begin());
        buffers.push_back({slot.data, static_cast<std::uint32_t>(request.data.size()), false});
    }
    const auto writable = static_cast<std::uint32_t>(request.reply_length + 1);
    std::ranges::fill(memory_.at({slot.reply, writable}), std::byte{0xee});
    buffers.push_back({slot.reply, writable, true});
    const auto id = queue.driver->add(buffers, test::ChainForm::direct);
    ZBDKIT_ASSERT(id.has_value());
    queue.by_id.at(*id) = &slot;
    queue.driver->publish();
    static_cast<void>(queue.driver->take_kick());
}

Task<GuestAnswer> Guest::submit(unsigned queue_index, const GuestRequest& request) {
    Queue& queue = *queues_.at(queue_index);
    Slot* slot = free_slot(queue);
    while (slot == nullptr) {
        co_await queue.freed.wait();
        slot = free_slot(queue);
    }
    AsyncEvent answered;
    slot->is_used = true;
    slot->answered = &answered;
    make_available(queue, *slot, request);
    serving_.spawn(serve_one(queue));
    co_await answered.wait();
    const MutableBytes reply = memory_.at({slot->reply, request.reply_length + 1});
    GuestAnswer answer{.status = static_cast<BlkStatus>(reply.back())};
    answer.reply.assign(reply.begin(), reply.end() - 1);
    slot->is_used = false;
    queue.freed.wake_one();
    co_return answer;
}

Task<void> Guest::serve_one(Queue& queue) {
    DescriptorChain chain;
    const VirtQueue::Pop popped = queue.device->pop(chain);
    ZBDKIT_ASSERT(popped == VirtQueue::Pop::chain);
    const std::uint32_t written = co_await device_.handle(chain);
    queue.device->push(chain, written);
    static_cast<void>(queue.device->take_notification());
    take_used(queue);
}

void Guest::take_used(Queue& queue) {
    while (const std::optional<test::UsedChain> used = queue.driver->take_used()) {
        Slot*& slot = queue.by_id.at(used->id);
        ZBDKIT_ASSERT(slot != nullptr);
        slot->answered->set();
        slot = nullptr;
    }
}

Task<void> Guest::stop() { co_await serving_.join(); }

}  // namespace zbdkit::sim
