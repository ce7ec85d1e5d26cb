// SPDX-License-Identifier: Apache-2.0
// Both kinds of the driver's half, against the device's halves of virtio/.
#include "bench/driver_ring.h"

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "bench/packed_driver_ring.h"
#include "bench/random.h"
#include "bench/split_driver_ring.h"
#include "tests/support/seed.h"

namespace zbdkit::bench {
namespace {

template <class RingType, bool kWithEventIdx>
struct Variant {
    using Ring = RingType;
    static constexpr bool kEventIdx = kWithEventIdx;
    static constexpr bool kPacked = std::is_same_v<Ring, PackedDriverRing>;
};

template <class V>
class DriverRingTest : public testing::Test {
  protected:
    static constexpr std::uint32_t kSlots = 5;
    static constexpr std::uint32_t kSize = 16;

    DriverRingTest() {
        auto guest_memory =
            GuestMemory::make({MemoryRegion::borrow(memory.place(), memory.at(page))});
        RingAddresses addresses = ring.addresses();
        addresses.guest_addresses = true;
        auto made = VirtQueue::make({.features = {.event_idx = V::kEventIdx, .packed = V::kPacked},
                                     .size = kSize,
                                     .addresses = addresses,
                                     .base = V::Ring::first_base(),
                                     .memory = *guest_memory,
                                     .log = nullptr,
                                     .max_chain = kSize});
        device = std::move(*made);
    }

    [[nodiscard]] Chain chain(std::uint32_t data_length, bool data_is_writable = true) const {
        return {.header = page,
                .data = page + 512,
                .tail = page + 64,
                .data_length = data_length,
                .tail_length = 1,
                .data_is_writable = data_is_writable};
    }
    /// Lets the device take the next chain.
    DescriptorChain pop() {
        DescriptorChain popped;
        EXPECT_EQ(device->pop(popped), VirtQueue::Pop::chain);
        return popped;
    }

    SharedMemory memory = *SharedMemory::make(1 << 20);
    std::uint64_t page = memory.allocate(4096, 4096);
    typename V::Ring ring{memory, kSize, kSlots, V::kEventIdx};
    std::unique_ptr<VirtQueue> device;
};

using Variants = testing::Types<Variant<SplitDriverRing, false>, Variant<SplitDriverRing, true>,
                                Variant<PackedDriverRing, false>, Variant<PackedDriverRing, true>>;
TYPED_TEST_SUITE(DriverRingTest, Variants);

TYPED_TEST(DriverRingTest, a_read_has_its_data_among_what_the_device_writes) {
    this->ring.put(2, this->chain(1024));
    this->ring.publish();
    const DescriptorChain popped = this->pop();
    ASSERT_EQ(popped.readable.size(), 1U);
    ASSERT_EQ(popped.writable.size(), 2U);
    EXPECT_EQ(popped.readable[0].iov_len, 16U);
    EXPECT_EQ(popped.writable[0].iov_len, 1024U);
    EXPECT_EQ(popped.writable[1].iov_base, this->memory.at(this->page + 64));
}

TYPED_TEST(DriverRingTest, a_slot_can_change_the_shape_of_its_request) {
    for (const auto& [length, is_writable, readable, writable] :
         {std::tuple(1024U, true, 1U, 2U), std::tuple(512U, false, 2U, 1U),
          std::tuple(0U, false, 1U, 1U), std::tuple(512U, true, 1U, 2U)}) {
        this->ring.put(0, this->chain(length, is_writable));
        this->ring.publish();
        const DescriptorChain popped = this->pop();
        EXPECT_EQ(popped.readable.size(), readable);
        EXPECT_EQ(popped.writable.size(), writable);
        this->device->push(popped, 1);
        EXPECT_EQ(this->ring.take_used().slot, 0U);
    }
}

TYPED_TEST(DriverRingTest, an_id_that_is_not_in_flight_is_wrong) {
    this->ring.put(0, this->chain(512));
    this->ring.publish();
    DescriptorChain popped = this->pop();
    this->device->push(popped, 1);
    // The id of slot 1, which was not put.
    const RingAddresses& at = this->ring.addresses();
    std::byte* const id =
        TypeParam::kPacked ? this->memory.at(at.descriptors + 12) : this->memory.at(at.device + 4);
    store_le<std::uint16_t>(id, TypeParam::kPacked ? 1 : 3);
    const Used used = this->ring.take_used();
    EXPECT_EQ(used.kind, Used::Kind::wrong);
    EXPECT_EQ(used.slot, TypeParam::kPacked ? 1U : 3U);
}

TYPED_TEST(DriverRingTest, what_came_back_before_calls_were_wanted_is_told) {
    this->ring.disable_calls();
    EXPECT_FALSE(this->ring.enable_calls());
    this->ring.disable_calls();
    this->ring.put(0, this->chain(512));
    this->ring.publish();
    this->device->push(this->pop(), 1);
    EXPECT_TRUE(this->ring.enable_calls());
}

/// Both sides sleep as often as they may, and each must be woken for what it waits for.
TYPED_TEST(DriverRingTest, everything_comes_back_and_nobody_sleeps_through_it) {
    SCOPED_TRACE(test::seed_trace());
    Random random(test::seed());
    std::vector<std::uint32_t> idle = {0, 1, 2, 3, 4};
    std::deque<DescriptorChain> popped;
    bool device_sleeps = false;
    bool client_sleeps = false;
    unsigned kicks = 0, calls = 0, back = 0;
    while (back < 100'000) {
        if (!client_sleeps && !idle.empty() && random.below(2) == 0) {
            for (std::uint64_t n = random.below(idle.size()) + 1; n > 0; --n) {
                this->ring.put(idle.back(), this->chain(random.below(2) == 0 ? 0 : 512));
                idle.pop_back();
            }
            this->ring.publish();
            const bool kick = this->ring.take_kick();
            kicks += kick ? 1 : 0;
            ASSERT_TRUE(kick || !device_sleeps) << "a lost kick after " << back;
            if (kick) device_sleeps = false;
        }
        while (!device_sleeps && random.below(4) != 0) {
            DescriptorChain chain;
            if (this->device->pop(chain) == VirtQueue::Pop::chain) {
                popped.push_back(std::move(chain));
            } else {
                device_sleeps = random.below(2) == 0 && !this->device->enable_kicks();
                if (!device_sleeps) this->device->disable_kicks();
                break;
            }
        }
        const std::uint64_t push = random.below(popped.size() + 1);
        for (std::uint64_t i = 0; i < push; ++i) {
            const auto chosen =
                popped.begin() + static_cast<std::ptrdiff_t>(random.below(popped.size()));
            this->device->push(*chosen, 1);
            popped.erase(chosen);
        }
        const bool call = this->device->take_notification();
        calls += call ? 1 : 0;
        ASSERT_TRUE(call || push == 0 || !client_sleeps) << "a lost call after " << back;
        if (call) client_sleeps = false;
        while (!client_sleeps) {
            const Used used = this->ring.take_used();
            ASSERT_NE(used.kind, Used::Kind::wrong);
            if (used.kind == Used::Kind::slot) {
                ++back;
                idle.push_back(used.slot);
                continue;
            }
            if (idle.size() != this->kSlots && random.below(2) == 0) {
                client_sleeps = !this->ring.enable_calls();
            } else {
                this->ring.disable_calls();
                break;
            }
        }
    }
    // Suppression does something, or the counts would be those of all batches.
    EXPECT_LT(kicks, back);
    EXPECT_LT(calls, back);
}

TYPED_TEST(DriverRingTest, a_client_that_polls_gets_no_calls) {
    this->ring.disable_calls();
    unsigned calls = 0;
    for (unsigned i = 0; i < 200'000; ++i) {
        this->ring.put(0, this->chain(512));
        this->ring.publish();
        this->device->push(this->pop(), 1);
        calls += this->device->take_notification() ? 1 : 0;
        EXPECT_EQ(this->ring.take_used().kind, Used::Kind::slot);
        this->ring.disable_calls();
    }
    EXPECT_EQ(calls, 1U);  // our devices always call once after they started
}

/// The client moves its event on while the device has returned chains that it did not tell of yet.
TYPED_TEST(DriverRingTest, a_client_that_polls_gets_no_calls_for_what_it_took_already) {
    this->ring.disable_calls();
    unsigned calls = 0;
    for (unsigned i = 0; i < 40'000; ++i) {
        for (std::uint32_t slot = 0; slot < 4; ++slot) {
            this->ring.put(slot, this->chain(512));
            this->ring.publish();
            this->device->push(this->pop(), 1);
            EXPECT_EQ(this->ring.take_used().kind, Used::Kind::slot);
            this->ring.disable_calls();
        }
        calls += this->device->take_notification() ? 1 : 0;
    }
    EXPECT_EQ(calls, 1U);  // our devices always call once after they started
}

}  // namespace
}  // namespace zbdkit::bench
