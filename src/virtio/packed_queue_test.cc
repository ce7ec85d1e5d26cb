// SPDX-License-Identifier: Apache-2.0
// What only packed rings have. The rest: virt_queue_test.cc.
#include "virtio/packed_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/support/virtio/ring_driver.h"

namespace zbdkit {
namespace {

using test::ChainForm;
using test::DriverBuffer;
using test::DriverMemory;
using test::RingDriver;
using test::UsedChain;
using testing::HasSubstr;
using testing::Optional;
using Pop = VirtQueue::Pop;

constexpr std::uint16_t kAvail = 0x0080;
constexpr std::uint16_t kUsed = 0x8000;

class PackedQueueTest : public testing::Test {
  protected:
    void start(RingFeatures features, std::uint32_t size, std::uint32_t max_chain = 16) {
        features.packed = true;
        driver_ = RingDriver::make(memory_, {.features = features, .size = size});
        restart(driver_->device_setup(memory_.guest_memory(), max_chain));
    }
    void restart(const VirtQueue::Setup& setup) {
        auto queue = VirtQueue::make(setup);
        ASSERT_TRUE(queue) << queue.error().message;
        queue_ = std::move(*queue);
    }

    std::uint16_t add(std::initializer_list<DriverBuffer> buffers,
                      ChainForm form = ChainForm::direct) {
        const auto id = driver_->add(buffers, form);
        EXPECT_TRUE(id);
        driver_->publish();
        return id.value_or(0xffff);
    }
    void round_trip() {
        add({{data_, 1, false}});
        ASSERT_EQ(queue_->pop(chain_), Pop::chain);
        queue_->push(chain_, 0);
        ASSERT_TRUE(driver_->take_used());
    }

    void expect_broken(const char* reason) {
        EXPECT_EQ(queue_->pop(chain_), Pop::broken);
        EXPECT_THAT(queue_->broken_reason(), HasSubstr(reason));
        EXPECT_EQ(queue_->pop(chain_), Pop::broken);
    }

    [[nodiscard]] std::byte* slot(std::size_t index) {
        return memory_.at({driver_->guest_layout().descriptors + 16 * index, 16}).data();
    }
    /// Writes a descriptor as a hostile driver may.
    void write_slot(std::size_t index, const Descriptor& descriptor) {
        store_le(slot(index), descriptor.address);
        store_le(slot(index) + 8, descriptor.length);
        store_le(slot(index) + 12, descriptor.link);
        store_le(slot(index) + 14, descriptor.flags);
    }
    [[nodiscard]] std::uint32_t device_area() {
        return load_le<std::uint32_t>(memory_.at({driver_->guest_layout().device, 4}).data());
    }
    void set_driver_area(std::uint32_t value) {
        store_le(memory_.at({driver_->guest_layout().driver, 4}).data(), value);
    }

    DriverMemory memory_{4 * kMiB};
    std::uint64_t data_ = memory_.allocate(64 * kKiB);
    std::unique_ptr<RingDriver> driver_;
    std::unique_ptr<VirtQueue> queue_;
    DescriptorChain chain_;
};

TEST_F(PackedQueueTest, pop_used_bits_of_this_lap_are_empty) {
    start({}, 4);
    write_slot(0, {data_, 1, kAvail | kUsed, 0});
    EXPECT_EQ(queue_->pop(chain_), Pop::empty);
    write_slot(0, {data_, 1, kUsed, 0});
    EXPECT_EQ(queue_->pop(chain_), Pop::empty);
    write_slot(0, {data_, 1, kAvail, 0});
    EXPECT_EQ(queue_->pop(chain_), Pop::chain);
}

TEST_F(PackedQueueTest, pop_id_is_that_of_the_last_descriptor) {
    start({}, 4);
    write_slot(1, {data_, 2, kAvail | Descriptor::kWrite, 777});
    write_slot(0, {data_, 1, kAvail | Descriptor::kNext, 3});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    EXPECT_EQ(chain_.id, 777U);
    EXPECT_EQ(chain_.descriptor_count, 2U);
    ASSERT_EQ(queue_->last_descriptors().size(), 2U);
    EXPECT_EQ(queue_->last_descriptors()[1],
              (Descriptor{data_, 2, kAvail | Descriptor::kWrite, 777}));
}

TEST_F(PackedQueueTest, push_writes_one_descriptor_per_chain) {
    start({}, 4);
    const auto id = add({{data_, 1, false}, {data_, 2, true}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    queue_->push(chain_, 2);
    EXPECT_EQ(load_le<std::uint32_t>(slot(0) + 8), 2U);
    EXPECT_EQ(load_le<std::uint16_t>(slot(0) + 12), id);
    EXPECT_EQ(load_le<std::uint16_t>(slot(0) + 14), kAvail | kUsed | Descriptor::kWrite);
    EXPECT_EQ(load_le<std::uint16_t>(slot(1) + 14), kAvail | Descriptor::kWrite);
    EXPECT_EQ(queue_->base(), 0x8002'8002U);
}

TEST_F(PackedQueueTest, push_nothing_written_has_no_write_flag) {
    start({}, 4);
    add({{data_, 1, false}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    queue_->push(chain_, 0);
    EXPECT_EQ(load_le<std::uint16_t>(slot(0) + 14), kAvail | kUsed);
}

TEST_F(PackedQueueTest, wrap_counters_toggle_at_the_ring_end) {
    start({}, 3);
    for (int i = 0; i < 3; ++i) round_trip();
    EXPECT_EQ(queue_->base(), 0x0000'0000U);
    round_trip();
    EXPECT_EQ(load_le<std::uint16_t>(slot(0) + 14), 0U);
    EXPECT_EQ(queue_->base(), 0x0001'0001U);
    for (int i = 0; i < 2; ++i) round_trip();
    EXPECT_EQ(queue_->base(), 0x8000'8000U);
}

TEST_F(PackedQueueTest, chain_across_the_ring_end_is_followed) {
    start({}, 3);
    round_trip();
    round_trip();
    const auto id = add({{data_, 1, false}, {data_, 2, false}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    EXPECT_EQ(total_length(chain_.readable), 3U);
    queue_->push(chain_, 0);
    EXPECT_THAT(driver_->take_used(), Optional(UsedChain{id, 0}));
    EXPECT_EQ(queue_->base(), 0x0001'0001U);
    round_trip();
}

TEST_F(PackedQueueTest, ring_of_one_descriptor_works) {
    start({}, 1);
    for (int i = 0; i < 5; ++i) round_trip();
    EXPECT_EQ(queue_->base(), 0x0000'0000U);
}

TEST_F(PackedQueueTest, base_of_chains_in_flight_tells_both_positions) {
    start({}, 4);
    add({{data_, 1, false}, {data_, 1, false}});
    DescriptorChain first;
    ASSERT_EQ(queue_->pop(first), Pop::chain);
    add({{data_, 1, false}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    queue_->push(chain_, 0);
    EXPECT_EQ(queue_->base(), 0x8001'8003U);
}

TEST_F(PackedQueueTest, pop_chain_without_end_is_broken) {
    start({}, 4);
    for (std::size_t i = 0; i < 4; ++i) write_slot(i, {data_, 1, kAvail | Descriptor::kNext, 0});
    expect_broken("does not end within the queue size");
}

TEST_F(PackedQueueTest, pop_more_than_the_queue_in_flight_is_broken) {
    start({}, 2);
    add({{data_, 1, false}});
    add({{data_, 1, false}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    write_slot(0, {data_, 1, kUsed, 5});  // available in the next lap, but not used yet
    expect_broken("more descriptors are available than the queue has");
}

TEST_F(PackedQueueTest, pop_id_in_flight_is_broken) {
    start({}, 4);
    write_slot(0, {data_, 1, kAvail, 9});
    write_slot(1, {data_, 1, kAvail, 9});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    expect_broken("buffer id is in flight already");
}

TEST_F(PackedQueueTest, pop_id_above_the_queue_size_is_fine) {
    start({}, 4);
    write_slot(0, {data_, 1, kAvail, 0xffff});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    EXPECT_EQ(chain_.id, 0xffffU);
    queue_->push(chain_, 0);
    EXPECT_EQ(load_le<std::uint16_t>(slot(0) + 12), 0xffffU);
}

TEST_F(PackedQueueTest, pop_table_within_a_chain_is_invalid) {
    start({.indirect = true}, 4);
    write_slot(1, {data_, 16, kAvail | Descriptor::kIndirect, 1});
    write_slot(0, {data_, 1, kAvail | Descriptor::kNext, 1});
    EXPECT_EQ(queue_->pop(chain_), Pop::invalid);
    EXPECT_THAT(chain_.refusal, HasSubstr("indirect descriptor in a chain of several"));
    EXPECT_EQ(chain_.descriptor_count, 2U);
    queue_->push(chain_, 0);
    write_slot(2, {data_, 1, kAvail, 1});
    EXPECT_EQ(queue_->pop(chain_), Pop::chain);
}

TEST_F(PackedQueueTest, pop_table_with_next_is_invalid) {
    start({.indirect = true}, 4);
    write_slot(1, {data_, 16, kAvail, 1});
    write_slot(0, {data_, 16, kAvail | Descriptor::kNext | Descriptor::kIndirect, 1});
    EXPECT_EQ(queue_->pop(chain_), Pop::invalid);
}

TEST_F(PackedQueueTest, pop_next_flag_within_a_table_is_ignored) {
    start({.indirect = true}, 4);
    add({{data_, 1, false}, {data_, 2, false}}, ChainForm::indirect);
    const auto table = load_le<std::uint64_t>(slot(0));
    store_le(memory_.at({table + 16, 16}).data() + 14, Descriptor::kNext);
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    EXPECT_EQ(total_length(chain_.readable), 3U);
}

TEST_F(PackedQueueTest, push_on_a_broken_ring_still_returns_the_chain) {
    start({}, 4);
    write_slot(0, {data_, 1, kAvail, 9});
    write_slot(1, {data_, 1, kAvail, 9});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    DescriptorChain other;
    ASSERT_EQ(queue_->pop(other), Pop::broken);
    EXPECT_TRUE(queue_->enable_kicks());
    queue_->push(chain_, 0);
    EXPECT_EQ(load_le<std::uint16_t>(slot(0) + 14), kAvail | kUsed);
}

TEST_F(PackedQueueTest, kick_area_holds_position_and_wrap) {
    start({.event_idx = true}, 3);
    queue_->disable_kicks();
    EXPECT_EQ(device_area(), 0x0001'0000U);
    round_trip();
    queue_->enable_kicks();
    EXPECT_EQ(device_area(), 0x0002'8001U);
    round_trip();
    round_trip();
    queue_->enable_kicks();
    EXPECT_EQ(device_area(), 0x0002'0000U);
}

TEST_F(PackedQueueTest, kick_area_without_events_holds_flags_only) {
    start({}, 3);
    queue_->disable_kicks();
    EXPECT_EQ(device_area(), 0x0001'0000U);
    queue_->enable_kicks();
    EXPECT_EQ(device_area(), 0x0000'0000U);
}

TEST_F(PackedQueueTest, notification_event_within_a_chain_of_several_is_wanted) {
    start({.event_idx = true}, 8);
    round_trip();
    ASSERT_TRUE(queue_->take_notification());
    set_driver_area(0x0002'8002);  // the second descriptor of the next chain
    add({{data_, 1, false}, {data_, 1, false}, {data_, 1, false}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    queue_->push(chain_, 0);
    EXPECT_TRUE(queue_->take_notification());
}

TEST_F(PackedQueueTest, notification_event_of_the_other_lap_is_not_wanted) {
    start({.event_idx = true}, 8);
    round_trip();
    ASSERT_TRUE(queue_->take_notification());
    set_driver_area(0x0002'0001);
    round_trip();
    EXPECT_FALSE(queue_->take_notification());
}

TEST_F(PackedQueueTest, notification_event_beyond_the_ring_is_wanted) {
    start({.event_idx = true}, 8);
    round_trip();
    ASSERT_TRUE(queue_->take_notification());
    set_driver_area(0x0002'8008);
    round_trip();
    EXPECT_TRUE(queue_->take_notification());
}

TEST_F(PackedQueueTest, notification_reserved_flags_are_taken_as_enabled) {
    start({.event_idx = true}, 8);
    round_trip();
    ASSERT_TRUE(queue_->take_notification());
    set_driver_area(0x0003'0000);
    round_trip();
    EXPECT_TRUE(queue_->take_notification());
}

TEST_F(PackedQueueTest, notification_event_flag_not_negotiated_is_taken_as_enabled) {
    start({}, 8);
    round_trip();
    ASSERT_TRUE(queue_->take_notification());
    set_driver_area(0x0002'0005);
    round_trip();
    EXPECT_TRUE(queue_->take_notification());
}

TEST_F(PackedQueueTest, pop_again_without_or_with_too_many_descriptors_is_broken) {
    start({}, 4);
    EXPECT_EQ(queue_->pop_again(0, {}, chain_), Pop::broken);
    start({}, 4);
    const std::vector<Descriptor> five(5, Descriptor{data_, 1, 0, 0});
    EXPECT_EQ(queue_->pop_again(0, five, chain_), Pop::broken);
}

TEST_F(PackedQueueTest, pop_again_of_bad_descriptors_is_invalid) {
    start({}, 4);
    const std::vector<Descriptor> outside = {{0, 1, 0, 3}};
    EXPECT_EQ(queue_->pop_again(3, outside, chain_), Pop::invalid);
    EXPECT_EQ(chain_.id, 3U);
    EXPECT_EQ(chain_.descriptor_count, 1U);
}

TEST_F(PackedQueueTest, make_size_no_power_of_two_is_fine) {
    start({}, 12);
    for (int i = 0; i < 100; ++i) round_trip();
}

TEST_F(PackedQueueTest, make_base_beyond_the_ring_fails) {
    start({}, 12);
    VirtQueue::Setup setup = driver_->device_setup(memory_.guest_memory(), 16);
    setup.base = 0x8000'800c;
    EXPECT_EQ(VirtQueue::make(setup).error().message,
              "ring base 0x8000800c: an index is not below the queue size 12");
    setup.base = 0x800c'8000;
    EXPECT_FALSE(VirtQueue::make(setup));
}

TEST_F(PackedQueueTest, make_largest_queue_works) {
    start({}, 32768);
    for (int i = 0; i < 32768; ++i)
        ASSERT_TRUE(driver_->add({{data_, 1, false}}, ChainForm::direct));
    driver_->publish();
    std::vector<DescriptorChain> chains(32768);
    for (DescriptorChain& chain : chains) ASSERT_EQ(queue_->pop(chain), Pop::chain);
    for (const DescriptorChain& chain : chains) queue_->push(chain, 0);
    for (int i = 0; i < 32768; ++i) ASSERT_TRUE(driver_->take_used());
}

}  // namespace
}  // namespace zbdkit
