// SPDX-License-Identifier: Apache-2.0
#include "tests/support/export/test_guest.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace zbdkit::test {
namespace {

Payload state(std::uint32_t index, std::uint32_t number) {
    Payload payload;
    payload.u32(index).u32(number);
    return payload;
}

Payload number(std::uint64_t value) {
    Payload payload;
    payload.u64(value);
    return payload;
}

}  // namespace

void TestGuest::negotiate(std::uint64_t wanted) {
    features = wanted;
    EXPECT_EQ(front_end.ask(request::kGetFeatures) & wanted, wanted);
    const std::uint64_t protocol = front_end.ask(request::kGetProtocolFeatures);
    front_end.send(request::kSetProtocolFeatures, number(protocol));
    EXPECT_GE(front_end.ask(request::kGetQueueNum), queues.size());
    front_end.send(request::kSetOwner);
    for (std::uint32_t i = 0; i < queues.size(); ++i) {
        front_end.send(request::kSetVringCall, number(i), {queues[i].call.get()});
        front_end.send(request::kSetVringErr, number(i), {queues[i].error.get()});
    }
    front_end.send(request::kSetFeatures, number(wanted));
}

Payload TestGuest::memory_table() const {
    Payload table;
    table.u32(1).u32(0).region(memory.place());
    return table;
}

void TestGuest::share_memory() {
    EXPECT_EQ(front_end.acked(request::kSetMemTable, memory_table(), {memory.fd()}), 0U);
}

Payload TestGuest::vring_addr(std::uint32_t index, bool log) const {
    const RingAddresses at = queues[index].driver->addresses();
    Payload payload;
    payload.u32(index)
        .u32(log ? 1 : 0)
        .u64(at.descriptors)
        .u64(at.device)
        .u64(at.driver)
        .u64(queues[index].driver->guest_layout().log_guest_address);
    return payload;
}

void TestGuest::make_driver(std::uint32_t index, std::uint32_t size) {
    queues[index].driver =
        RingDriver::make(memory, {.features = {.indirect = (features & kIndirect) != 0,
                                               .event_idx = (features & kEventIdx) != 0,
                                               .packed = (features & kPacked) != 0},
                                  .size = size});
}

void TestGuest::start_queue(std::uint32_t index, SetupOrder order, std::uint32_t size) {
    Queue& queue = queues[index];
    if (queue.driver == nullptr) make_driver(index, size);
    const RingBase base = queue.driver->first_base();
    front_end.send(request::kSetVringNum, state(index, size));
    if (order == SetupOrder::qemu) {
        front_end.send(request::kSetVringBase, state(index, base));
        front_end.send(request::kSetVringAddr, vring_addr(index));
        front_end.send(request::kSetVringKick, number(index), {queue.kick.get()});
        front_end.send(request::kSetVringCall, number(index), {queue.call.get()});
        EXPECT_EQ(front_end.acked(request::kSetVringEnable, state(index, 1)), 0U);
        front_end.send(request::kSetVringCall, number(index), {queue.call.get()});
    } else {
        EXPECT_EQ(front_end.acked(request::kSetVringAddr, vring_addr(index)), 0U);
        EXPECT_EQ(front_end.acked(request::kSetVringBase, state(index, base)), 0U);
        EXPECT_EQ(front_end.acked(request::kSetVringCall, number(index), {queue.call.get()}), 0U);
        EXPECT_EQ(front_end.acked(request::kSetVringKick, number(index), {queue.kick.get()}), 0U);
        EXPECT_EQ(front_end.acked(request::kSetVringEnable, state(index, 1)), 0U);
    }
}

void TestGuest::boot(std::uint64_t wanted, SetupOrder order) {
    negotiate(wanted);
    share_memory();
    start_queue(0, order);
}

void TestGuest::get_inflight(std::uint16_t queue_size) {
    Payload question;
    const auto count = static_cast<std::uint16_t>(queues.size());
    question.u64(0).u64(0).u16(count).u16(queue_size).u32(0);
    front_end.send(request::kGetInflightFd, question);
    std::optional<FrontEnd::Reply> reply = front_end.receive();
    ASSERT_TRUE(reply && reply->payload.size() == 24 && reply->fds.size() == 1);
    inflight = {.fd = std::move(reply->fds.front()),
                .size = load_le<std::uint64_t>(reply->payload.data()),
                .offset = load_le<std::uint64_t>(reply->payload.data() + 8),
                .queue_size = queue_size};
}

std::uint64_t TestGuest::set_inflight() {
    Payload message;
    const auto count = static_cast<std::uint16_t>(queues.size());
    message.u64(inflight.size).u64(inflight.offset).u16(count).u16(inflight.queue_size).u32(0);
    return front_end.acked(request::kSetInflightFd, message, {inflight.fd.get()});
}

RingBase TestGuest::stop_queue(std::uint32_t index) {
    front_end.send(request::kSetVringEnable, state(index, 0));
    const std::uint64_t reply = front_end.ask(request::kGetVringBase, state(index, 0));
    EXPECT_EQ(reply & 0xffffffff, index);
    return static_cast<RingBase>(reply >> 32);
}

TestGuest::Pending TestGuest::add(std::uint32_t queue, std::uint32_t type, std::uint64_t sector,
                                  ConstBytes out, std::uint32_t in_length) {
    const std::uint64_t header = memory.allocate(16);
    store_le<std::uint32_t>(memory.at({header, 16}).data(), type);
    store_le<std::uint32_t>(memory.at({header, 16}).data() + 4, 0);
    store_le<std::uint64_t>(memory.at({header, 16}).data() + 8, sector);
    std::vector<DriverBuffer> buffers{{header, 16, false}};
    if (!out.empty()) {
        const std::uint64_t at = memory.allocate(out.size());
        std::ranges::copy(out, memory.at({at, out.size()}).begin());
        buffers.push_back({at, static_cast<std::uint32_t>(out.size()), false});
    }
    Pending pending{.status_at = memory.allocate(1), .data_length = in_length};
    memory.at({pending.status_at, 1})[0] = std::byte{0xee};
    if (in_length != 0) {
        pending.data_at = memory.allocate(in_length);
        buffers.push_back({pending.data_at, in_length, true});
    }
    buffers.push_back({pending.status_at, 1, true});
    const auto id = queues[queue].driver->add(buffers, ChainForm::direct);
    EXPECT_TRUE(id.has_value()) << "the ring is full";
    return pending;
}

void TestGuest::kick(std::uint32_t queue) {
    queues[queue].driver->publish();
    if (!queues[queue].driver->take_kick()) return;
    constexpr std::uint64_t kOne = 1;
    EXPECT_EQ(::write(queues[queue].kick.get(), &kOne, sizeof kOne), 8);
}

std::uint32_t TestGuest::wait_used(std::uint32_t queue, std::uint32_t count, int timeout_ms) {
    std::uint32_t taken = 0;
    RingDriver& driver = *queues[queue].driver;
    while (taken < count) {
        if (const std::optional<UsedChain> used = driver.take_used()) {
            last_written = used->written;
            ++taken;
            continue;
        }
        if (driver.enable_notifications()) continue;
        if (!take_event(queues[queue].call, timeout_ms)) return taken;
        ++calls;
    }
    return taken;
}

TestGuest::Answer TestGuest::answer_of(const Pending& pending) const {
    Answer answer{.status = std::to_integer<std::uint8_t>(memory.at({pending.status_at, 1})[0]),
                  .written = last_written,
                  .data = {}};
    if (pending.data_length != 0) {
        const MutableBytes data = memory.at({pending.data_at, pending.data_length});
        answer.data.assign(data.begin(), data.end());
    }
    return answer;
}

TestGuest::Answer TestGuest::request(std::uint32_t type, std::uint64_t sector, ConstBytes out,
                                     std::uint32_t in_length, std::uint32_t queue) {
    const Pending pending = add(queue, type, sector, out, in_length);
    kick(queue);
    EXPECT_EQ(wait_used(queue, 1), 1U) << "the request did not come back";
    return answer_of(pending);
}

std::vector<std::byte> pattern(std::size_t length, std::uint8_t seed) {
    std::vector<std::byte> bytes(length);
    for (std::size_t i = 0; i < length; ++i) bytes[i] = static_cast<std::byte>(seed + i * 7);
    return bytes;
}

}  // namespace zbdkit::test
