// SPDX-License-Identifier: Apache-2.0
// What only split rings have. The rest: virt_queue_test.cc.
#include "virtio/split_queue.h"

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

class SplitQueueTest : public testing::Test {
  protected:
    void start(const RingDriver::Options& options, std::uint32_t max_chain = 16) {
        driver_ = RingDriver::make(memory_, options);
        auto queue = VirtQueue::make(driver_->device_setup(memory_.guest_memory(), max_chain));
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

    void expect_invalid(const char* reason) {
        EXPECT_EQ(queue_->pop(chain_), Pop::invalid);
        EXPECT_THAT(chain_.refusal, HasSubstr(reason));
        queue_->push(chain_, 0);
        EXPECT_THAT(driver_->take_used(), Optional(UsedChain{chain_.id, 0}));
        EXPECT_EQ(queue_->pop(chain_), Pop::empty);
    }

    void expect_broken(const char* reason) {
        EXPECT_EQ(queue_->pop(chain_), Pop::broken);
        EXPECT_THAT(queue_->broken_reason(), HasSubstr(reason));
        EXPECT_EQ(queue_->pop(chain_), Pop::broken);
    }

    [[nodiscard]] std::byte* avail(std::size_t offset) {
        return memory_.at({driver_->guest_layout().driver + offset, 2}).data();
    }
    [[nodiscard]] std::byte* used(std::size_t offset) {
        return memory_.at({driver_->guest_layout().device + offset, 2}).data();
    }
    void set_avail_index(std::uint16_t index) { store_le(avail(2), index); }
    void set_avail_entry(std::size_t slot, std::uint16_t head) {
        store_le(avail(4 + 2 * slot), head);
    }
    /// The `next` field of a descriptor of the ring.
    void set_next(std::size_t index, std::uint16_t next) {
        store_le(memory_.at({driver_->guest_layout().descriptors + 16 * index + 14, 2}).data(),
                 next);
    }
    void add_flags(std::size_t index, std::uint16_t flags) {
        std::byte* const at =
            memory_.at({driver_->guest_layout().descriptors + 16 * index + 12, 2}).data();
        store_le(at, static_cast<std::uint16_t>(load_le<std::uint16_t>(at) | flags));
    }
    /// An entry of the table that descriptor 0 points to.
    [[nodiscard]] std::byte* table_entry(std::size_t entry) {
        const auto table =
            load_le<std::uint64_t>(memory_.at({driver_->guest_layout().descriptors, 8}).data());
        return memory_.at({table + 16 * entry, 16}).data();
    }

    DriverMemory memory_{4 * kMiB};
    std::uint64_t data_ = memory_.allocate(64 * kKiB);
    std::unique_ptr<RingDriver> driver_;
    std::unique_ptr<VirtQueue> queue_;
    DescriptorChain chain_;
};

constexpr RingFeatures kIndirect = {.indirect = true};
constexpr RingFeatures kEvents = {.event_idx = true};

TEST_F(SplitQueueTest, pop_direct_descriptors_then_a_table_is_accepted) {
    start({.features = kIndirect, .size = 8});
    add({{data_, 16, false}, {data_ + 64, 32, false}, {data_ + 512, 1, true}}, ChainForm::mixed);
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    ASSERT_EQ(chain_.readable.size(), 2U);
    EXPECT_EQ(chain_.readable[0].iov_len, 16U);
    EXPECT_EQ(chain_.readable[1].iov_len, 32U);
    EXPECT_EQ(total_length(chain_.writable), 1U);
    EXPECT_EQ(driver_->free_descriptors(), 6U);
}

TEST_F(SplitQueueTest, pop_direct_and_table_together_longer_than_allowed_is_invalid) {
    start({.features = kIndirect, .size = 8}, 3);
    add({{data_, 16, false}, {data_, 1, false}, {data_, 1, false}, {data_, 1, false}},
        ChainForm::mixed);
    expect_invalid("too many descriptors");
}

TEST_F(SplitQueueTest, pop_table_before_other_descriptors_is_invalid) {
    start({.features = kIndirect, .size = 8});
    add({{data_, 16, false}}, ChainForm::indirect);
    add_flags(0, Descriptor::kNext);
    set_next(0, 1);
    expect_invalid("indirect descriptor with a next one");
}

TEST_F(SplitQueueTest, pop_table_linked_out_of_order_follows_the_links) {
    start({.features = kIndirect, .size = 8});
    add({{data_, 1, false}, {data_, 2, false}, {data_, 3, false}}, ChainForm::indirect);
    store_le(table_entry(0) + 14, std::uint16_t{2});
    store_le(table_entry(2) + 12, std::uint16_t{Descriptor::kNext});
    store_le(table_entry(2) + 14, std::uint16_t{1});
    store_le(table_entry(1) + 12, std::uint16_t{0});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    ASSERT_EQ(chain_.readable.size(), 3U);
    EXPECT_EQ(chain_.readable[0].iov_len, 1U);
    EXPECT_EQ(chain_.readable[1].iov_len, 3U);
    EXPECT_EQ(chain_.readable[2].iov_len, 2U);
}

TEST_F(SplitQueueTest, pop_table_entry_links_beyond_the_table_is_invalid) {
    start({.features = kIndirect, .size = 8});
    add({{data_, 1, false}, {data_, 2, false}}, ChainForm::indirect);
    store_le(table_entry(0) + 14, std::uint16_t{2});
    expect_invalid("leaves its indirect table");
}

TEST_F(SplitQueueTest, pop_table_that_loops_is_invalid) {
    start({.features = kIndirect, .size = 8});
    add({{data_, 1, false}, {data_, 2, false}}, ChainForm::indirect);
    store_le(table_entry(0) + 14, std::uint16_t{0});
    expect_invalid("indirect table form a loop");
}

TEST_F(SplitQueueTest, pop_descriptor_links_beyond_the_table_is_invalid) {
    start({.size = 8});
    add({{data_, 1, false}, {data_, 2, false}});
    set_next(0, 8);
    expect_invalid("leaves the table");
}

TEST_F(SplitQueueTest, pop_descriptors_that_loop_is_invalid) {
    start({.size = 8});
    add({{data_, 1, false}, {data_, 2, false}});
    add_flags(1, Descriptor::kNext);
    set_next(1, 0);
    expect_invalid("form a loop");
}

TEST_F(SplitQueueTest, pop_descriptors_that_loop_stops_at_the_longest_chain) {
    start({.size = 8}, 4);
    add({{data_, 1, false}});
    add_flags(0, Descriptor::kNext);
    set_next(0, 0);
    expect_invalid("too many descriptors");
}

TEST_F(SplitQueueTest, pop_loop_of_empty_descriptors_is_invalid) {
    start({.size = 8}, 1000);
    add({{data_, 0, false}});
    add_flags(0, Descriptor::kNext);
    set_next(0, 0);
    expect_invalid("form a loop");
}

TEST_F(SplitQueueTest, pop_avail_index_too_far_ahead_is_broken) {
    start({.size = 8});
    add({{data_, 1, false}});
    set_avail_index(9);
    expect_broken("more than the queue size ahead");
}

TEST_F(SplitQueueTest, pop_avail_index_goes_back_is_broken) {
    start({.size = 8});
    add({{data_, 1, false}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    set_avail_index(0);
    expect_broken("more than the queue size ahead");
}

TEST_F(SplitQueueTest, pop_avail_index_a_full_queue_ahead_is_taken) {
    start({.size = 8});
    for (int i = 0; i < 8; ++i) add({{data_, 1, false}});
    for (int i = 0; i < 8; ++i) EXPECT_EQ(queue_->pop(chain_), Pop::chain);
    EXPECT_EQ(queue_->pop(chain_), Pop::empty);
}

TEST_F(SplitQueueTest, pop_head_not_below_the_size_is_broken) {
    start({.size = 8});
    set_avail_entry(0, 8);
    set_avail_index(1);
    expect_broken("not below the queue size");
}

TEST_F(SplitQueueTest, pop_head_in_flight_is_broken) {
    start({.size = 8});
    add({{data_, 1, false}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    set_avail_entry(1, 0);
    set_avail_index(2);
    DescriptorChain other;
    EXPECT_EQ(queue_->pop(other), Pop::broken);
    EXPECT_THAT(queue_->broken_reason(), HasSubstr("in flight already"));
}

TEST_F(SplitQueueTest, push_on_a_broken_ring_still_returns_the_chain) {
    start({.size = 8});
    const auto id = add({{data_, 1, false}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    set_avail_index(100);
    DescriptorChain other;
    ASSERT_EQ(queue_->pop(other), Pop::broken);
    queue_->push(chain_, 0);
    EXPECT_THAT(driver_->take_used(), Optional(UsedChain{id, 0}));
}

TEST_F(SplitQueueTest, enable_kicks_index_too_far_ahead_wants_a_pop_that_says_broken) {
    start({.size = 8});
    set_avail_index(9);
    EXPECT_TRUE(queue_->enable_kicks());
    EXPECT_TRUE(queue_->enable_kicks());
    expect_broken("more than the queue size ahead");
}

TEST_F(SplitQueueTest, pop_again_of_a_head_beyond_the_queue_is_broken) {
    start({.size = 8});
    EXPECT_EQ(queue_->pop_again(8, {}, chain_), Pop::broken);
    EXPECT_EQ(queue_->pop_again(0, {}, chain_), Pop::broken);
}

TEST_F(SplitQueueTest, avail_index_is_read_once_per_batch) {
    start({.size = 8});
    add({{data_, 1, false}});
    add({{data_, 2, false}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    set_avail_index(9);  // nobody looks, the second chain is known
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    EXPECT_EQ(total_length(chain_.readable), 2U);
}

TEST_F(SplitQueueTest, indices_wrap_at_65536) {
    start({.size = 8, .first_index = 65530});
    for (std::uint32_t i = 0; i < 20; ++i) {
        const auto id = add({{data_, i + 1, false}});
        ASSERT_EQ(queue_->pop(chain_), Pop::chain);
        ASSERT_EQ(total_length(chain_.readable), i + 1);
        queue_->push(chain_, i);
        ASSERT_THAT(driver_->take_used(), Optional(UsedChain{id, i}));
    }
    EXPECT_EQ(queue_->base(), 14U);
    EXPECT_EQ(load_le<std::uint16_t>(used(2)), 14U);
}

TEST_F(SplitQueueTest, notification_event_across_65536_is_wanted) {
    start({.features = kEvents, .size = 8, .first_index = 65534});
    const auto round_trip = [&] {
        add({{data_, 1, false}});
        ASSERT_EQ(queue_->pop(chain_), Pop::chain);
        queue_->push(chain_, 0);
        ASSERT_TRUE(driver_->take_used());
    };
    round_trip();
    ASSERT_TRUE(queue_->take_notification());
    driver_->enable_notifications(1);  // used_event 0
    EXPECT_EQ(load_le<std::uint16_t>(avail(4 + 2 * 8)), 0U);
    round_trip();
    EXPECT_FALSE(queue_->take_notification());
    round_trip();
    EXPECT_TRUE(queue_->take_notification());
}

TEST_F(SplitQueueTest, used_index_starts_from_the_ring_not_from_the_base) {
    // As after a reconnect: the device had taken three chains and returned one.
    start({.size = 8});
    const auto id = add({{data_, 1, false}});
    store_le(avail(2), std::uint16_t{3});
    store_le(used(2), std::uint16_t{1});
    VirtQueue::Setup setup = driver_->device_setup(memory_.guest_memory(), 16);
    setup.base = 3;
    auto queue = VirtQueue::make(setup);
    ASSERT_TRUE(queue);
    ASSERT_EQ((*queue)->pop(chain_), Pop::empty);
    ASSERT_EQ((*queue)->pop_again(id, {}, chain_), Pop::chain);
    (*queue)->push(chain_, 5);
    EXPECT_EQ(load_le<std::uint16_t>(used(2)), 2U);
    EXPECT_EQ(load_le<std::uint32_t>(used(4 + 8) + 0), id);
    EXPECT_EQ((*queue)->base(), 3U);
}

TEST_F(SplitQueueTest, kick_flags_are_those_of_the_used_ring) {
    start({.size = 8});
    queue_->disable_kicks();
    EXPECT_EQ(load_le<std::uint16_t>(used(0)), 1U);
    queue_->enable_kicks();
    EXPECT_EQ(load_le<std::uint16_t>(used(0)), 0U);
}

TEST_F(SplitQueueTest, kick_event_is_the_next_avail_index_and_flags_stay_0) {
    start({.features = kEvents, .size = 8, .first_index = 7});
    queue_->disable_kicks();
    EXPECT_EQ(load_le<std::uint16_t>(used(0)), 0U);
    add({{data_, 1, false}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    queue_->enable_kicks();
    EXPECT_EQ(load_le<std::uint16_t>(used(0)), 0U);
    EXPECT_EQ(load_le<std::uint16_t>(used(4 + 8 * 8)), 8U);
    queue_->disable_kicks();
    EXPECT_EQ(load_le<std::uint16_t>(used(4 + 8 * 8)), 7U);
}

TEST_F(SplitQueueTest, make_size_no_power_of_two_fails) {
    start({.size = 8});
    VirtQueue::Setup setup = driver_->device_setup(memory_.guest_memory(), 16);
    setup.size = 12;
    EXPECT_EQ(VirtQueue::make(setup).error().message,
              "queue size 12: a split ring needs a power of two");
}

TEST_F(SplitQueueTest, make_event_fields_count_only_if_negotiated) {
    start({.size = 8});
    VirtQueue::Setup setup = driver_->device_setup(memory_.guest_memory(), 16);
    const std::uint64_t end = DriverMemory::kUserAddress + 4 * kMiB;
    setup.addresses.device = end - 68;  // 4 + 8 * 8
    EXPECT_TRUE(VirtQueue::make(setup));
    setup.features.event_idx = true;
    EXPECT_THAT(VirtQueue::make(setup).error().message,
                HasSubstr("used ring at 0x7000003fffbc, 70 bytes, is not within one region"));
}

TEST_F(SplitQueueTest, make_largest_queue_works) {
    start({.size = 32768});
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
