// SPDX-License-Identifier: Apache-2.0
// What split and packed rings have in common; each test runs on both. The driver's side is
// tests/support/virtio/ring_driver.
#include "virtio/virt_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/seed.h"
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

constexpr bool kReadable = false;
constexpr bool kWritable = true;

class VirtQueueTest : public testing::TestWithParam<bool> {
  protected:
    struct Start {
        bool indirect = true;
        bool event_idx = false;
        std::uint32_t size = 8;
        std::uint32_t max_chain = 16;
    };

    [[nodiscard]] static bool is_packed() { return GetParam(); }

    void start(const Start& options) {
        driver_ = RingDriver::make(memory_, {.features = {.indirect = options.indirect,
                                                          .event_idx = options.event_idx,
                                                          .packed = is_packed()},
                                             .size = options.size});
        restart(driver_->device_setup(memory_.guest_memory(), options.max_chain));
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

    /// Adds a chain that pop() must call invalid, and expects that the ring goes on.
    void expect_invalid(const char* reason) {
        EXPECT_EQ(queue_->pop(chain_), Pop::invalid);
        EXPECT_THAT(chain_.refusal, HasSubstr(reason));
        EXPECT_TRUE(chain_.readable.empty());
        EXPECT_TRUE(chain_.writable.empty());
        queue_->push(chain_, 0);
        EXPECT_THAT(driver_->take_used(), Optional(UsedChain{chain_.id, 0}));
        const std::uint16_t next = add({{data_, 16, kReadable}});
        EXPECT_EQ(queue_->pop(chain_), Pop::chain);
        EXPECT_EQ(chain_.id, next);
        EXPECT_STREQ(chain_.refusal, "");
    }

    /// The first descriptor of the ring, as a hostile driver rewrites it.
    void set_length(std::uint32_t length) { store_le(ring_bytes().data() + 8, length); }
    void set_address(std::uint64_t address) { store_le(ring_bytes().data(), address); }
    void add_flags(std::uint16_t flags) {
        std::byte* const at = ring_bytes().data() + (is_packed() ? 14 : 12);
        store_le(at, static_cast<std::uint16_t>(load_le<std::uint16_t>(at) | flags));
    }
    [[nodiscard]] MutableBytes ring_bytes() {
        return memory_.at({driver_->guest_layout().descriptors, 16});
    }
    /// The flags of an entry of the indirect table that the first descriptor points to.
    [[nodiscard]] std::byte* table_flags(std::size_t entry) {
        const auto table = load_le<std::uint64_t>(ring_bytes().data());
        return memory_.at({table + 16 * entry, 16}).data() + (is_packed() ? 14 : 12);
    }

    DriverMemory memory_{4 * kMiB};
    std::uint64_t data_ = memory_.allocate(64 * kKiB);
    std::unique_ptr<RingDriver> driver_;
    std::unique_ptr<VirtQueue> queue_;
    DescriptorChain chain_;
};

INSTANTIATE_TEST_SUITE_P(Ring, VirtQueueTest, testing::Bool(),
                         [](const auto& tested) { return tested.param ? "packed" : "split"; });

TEST_P(VirtQueueTest, pop_new_ring_is_empty) {
    start({});
    EXPECT_EQ(queue_->pop(chain_), Pop::empty);
    EXPECT_STREQ(queue_->broken_reason(), "");
}

TEST_P(VirtQueueTest, pop_unpublished_chain_is_empty) {
    start({});
    ASSERT_TRUE(driver_->add({{data_, 16, kReadable}}, ChainForm::direct));
    EXPECT_EQ(queue_->pop(chain_), Pop::empty);
}

TEST_P(VirtQueueTest, pop_direct_chain_gives_its_memory) {
    start({});
    memory_.at({data_, 1})[0] = std::byte{42};
    const auto id = add({{data_, 16, kReadable}, {data_ + 512, 32, kWritable}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    EXPECT_EQ(chain_.id, id);
    ASSERT_EQ(chain_.readable.size(), 1U);
    EXPECT_EQ(chain_.readable[0].iov_base, memory_.at({data_, 16}).data());
    EXPECT_EQ(chain_.readable[0].iov_len, 16U);
    ASSERT_EQ(chain_.writable.size(), 1U);
    EXPECT_EQ(chain_.writable[0].iov_base, memory_.at({data_ + 512, 32}).data());
    EXPECT_EQ(chain_.writable[0].iov_len, 32U);
    ASSERT_EQ(chain_.writable_guest.size(), 1U);
    EXPECT_EQ(chain_.writable_guest[0], (ByteRange{data_ + 512, 32}));
    EXPECT_EQ(queue_->pop(chain_), Pop::empty);
}

TEST_P(VirtQueueTest, pop_indirect_chain_gives_the_tables_memory) {
    start({});
    add({{data_, 16, kReadable}, {data_ + 64, 64, kReadable}, {data_ + 512, 32, kWritable}},
        ChainForm::indirect);
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    EXPECT_EQ(total_length(chain_.readable), 80U);
    EXPECT_EQ(total_length(chain_.writable), 32U);
    EXPECT_EQ(driver_->free_descriptors(), 7U);
}

TEST_P(VirtQueueTest, pop_indirect_table_longer_than_the_queue_is_accepted) {
    start({.size = 4, .max_chain = 16});
    std::vector<DriverBuffer> buffers(16, DriverBuffer{data_, 8, kReadable});
    ASSERT_TRUE(driver_->add(buffers, ChainForm::indirect));
    driver_->publish();
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    EXPECT_EQ(chain_.readable.size(), 16U);
}

TEST_P(VirtQueueTest, pop_chain_reused_holds_only_the_new_chain) {
    start({});
    add({{data_, 16, kReadable}, {data_, 8, kWritable}});
    add({{data_ + 64, 4, kReadable}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    EXPECT_EQ(total_length(chain_.readable), 4U);
    EXPECT_TRUE(chain_.writable.empty());
    EXPECT_TRUE(chain_.writable_guest.empty());
}

TEST_P(VirtQueueTest, pop_empty_descriptors_are_skipped_wherever_they_point) {
    start({});
    add({{0, 0, kReadable}, {data_, 16, kReadable}, {0xffff'ffff'ffff'ffff, 0, kWritable}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    EXPECT_EQ(chain_.readable.size(), 1U);
    EXPECT_TRUE(chain_.writable.empty());
}

TEST_P(VirtQueueTest, pop_chain_of_only_empty_descriptors_has_no_memory) {
    start({});
    add({{data_, 0, kReadable}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    EXPECT_TRUE(chain_.readable.empty());
    EXPECT_TRUE(chain_.writable.empty());
}

TEST_P(VirtQueueTest, push_in_any_order_returns_ids_and_lengths) {
    start({});
    const auto first_id = add({{data_, 16, kWritable}});
    const auto second_id = add({{data_, 16, kWritable}, {data_, 16, kWritable}});
    DescriptorChain first;
    DescriptorChain second;
    ASSERT_EQ(queue_->pop(first), Pop::chain);
    ASSERT_EQ(queue_->pop(second), Pop::chain);
    queue_->push(second, 32);
    EXPECT_THAT(driver_->take_used(), Optional(UsedChain{second_id, 32}));
    EXPECT_EQ(driver_->take_used(), std::nullopt);
    queue_->push(first, 0);
    EXPECT_THAT(driver_->take_used(), Optional(UsedChain{first_id, 0}));
    EXPECT_EQ(driver_->free_descriptors(), 8U);
}

TEST_P(VirtQueueTest, put_chains_are_seen_when_published) {
    start({});
    for (std::uint32_t round = 0; round < 20; ++round) {
        std::array<std::uint16_t, 3> ids = {};
        for (std::uint16_t& id : ids) id = add({{data_, 16, kReadable}, {data_, 16, kWritable}});
        for (std::uint32_t i = 0; i < ids.size(); ++i) {
            ASSERT_EQ(queue_->pop(chain_), Pop::chain);
            queue_->put(chain_, i);
            ASSERT_EQ(driver_->take_used(), std::nullopt);
        }
        queue_->publish();
        for (std::uint32_t i = 0; i < ids.size(); ++i) {
            ASSERT_THAT(driver_->take_used(), Optional(UsedChain{ids.at(i), i}));
        }
        ASSERT_EQ(driver_->take_used(), std::nullopt);
    }
}

TEST_P(VirtQueueTest, publish_of_nothing_shows_nothing) {
    start({});
    queue_->publish();
    EXPECT_EQ(driver_->take_used(), std::nullopt);
    EXPECT_FALSE(queue_->take_notification());
}

TEST_P(VirtQueueTest, ring_full_and_around_many_times_keeps_order) {
    start({.size = 4});
    for (std::uint32_t round = 0; round < 1000; ++round) {
        std::array<std::uint16_t, 3> ids = {};
        for (std::uint16_t& id : ids) {
            id = add({{data_, round + 1, kReadable}});
        }
        for (const std::uint16_t id : ids) {
            ASSERT_EQ(queue_->pop(chain_), Pop::chain);
            ASSERT_EQ(chain_.id, id);
            ASSERT_EQ(total_length(chain_.readable), round + 1);
            queue_->push(chain_, round);
            ASSERT_THAT(driver_->take_used(), Optional(UsedChain{id, round}));
        }
    }
}

TEST_P(VirtQueueTest, pop_buffer_across_regions_gives_two_segments) {
    start({});
    // The same memory as two regions that touch at 1 MiB, swapped on the host.
    const std::uint64_t base = DriverMemory::kGuestAddress;
    std::vector<std::byte> upper(kMiB);
    const auto lower =
        MemoryRegion::borrow({base, DriverMemory::kUserAddress, kMiB, 0}, memory_.bytes().data());
    const auto higher = MemoryRegion::borrow({base + kMiB, 0x1000, kMiB, 0}, upper.data());
    auto split = GuestMemory::make({lower, higher});
    ASSERT_TRUE(split);
    ASSERT_TRUE(queue_->set_memory(*split));
    add({{base + kMiB - 100, 300, kWritable}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    ASSERT_EQ(chain_.writable.size(), 2U);
    EXPECT_EQ(chain_.writable[0].iov_len, 100U);
    EXPECT_EQ(chain_.writable[1].iov_base, upper.data());
    EXPECT_EQ(chain_.writable[1].iov_len, 200U);
    ASSERT_EQ(chain_.writable_guest.size(), 1U);
    EXPECT_EQ(chain_.writable_guest[0], (ByteRange{base + kMiB - 100, 300}));
    EXPECT_EQ(chain_.memory, *split);
}

TEST_P(VirtQueueTest, pop_indirect_table_across_regions_is_read) {
    start({});
    const std::uint64_t base = DriverMemory::kGuestAddress;
    std::vector<std::byte> upper(kMiB);
    auto split = GuestMemory::make(
        {MemoryRegion::borrow({base, DriverMemory::kUserAddress, kMiB, 0}, memory_.bytes().data()),
         MemoryRegion::borrow({base + kMiB, 0x1000, kMiB, 0}, upper.data())});
    ASSERT_TRUE(split);
    ASSERT_TRUE(queue_->set_memory(*split));
    add({{data_, 7, kReadable}, {data_, 9, kWritable}}, ChainForm::indirect);
    // Moves the table to 8 bytes before the border.
    const auto table = load_le<std::uint64_t>(ring_bytes().data());
    const MutableBytes entries = memory_.at({table, 32});
    std::memcpy(memory_.at({base + kMiB - 8, 8}).data(), entries.data(), 8);
    std::memcpy(upper.data(), entries.data() + 8, 24);
    set_address(base + kMiB - 8);
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    EXPECT_EQ(total_length(chain_.readable), 7U);
    EXPECT_EQ(total_length(chain_.writable), 9U);
}

TEST_P(VirtQueueTest, pop_write_flag_on_an_indirect_descriptor_is_ignored) {
    start({});
    add({{data_, 16, kReadable}}, ChainForm::indirect);
    add_flags(Descriptor::kWrite);
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    EXPECT_EQ(total_length(chain_.readable), 16U);
}

// Pop::invalid: one chain is unusable, the ring goes on.

TEST_P(VirtQueueTest, pop_buffer_outside_of_memory_is_invalid) {
    start({});
    add({{data_, 16, kReadable}, {0x1000, 16, kWritable}});
    expect_invalid("outside of guest memory");
}

TEST_P(VirtQueueTest, pop_buffer_beyond_the_end_of_memory_is_invalid) {
    start({});
    add({{DriverMemory::kGuestAddress + 4 * kMiB - 8, 9, kWritable}});
    expect_invalid("outside of guest memory");
}

TEST_P(VirtQueueTest, pop_buffer_that_wraps_is_invalid) {
    start({});
    add({{0xffff'ffff'ffff'fff8, 16, kReadable}});
    expect_invalid("outside of guest memory");
}

TEST_P(VirtQueueTest, pop_readable_after_writable_is_invalid) {
    start({});
    add({{data_, 16, kWritable}, {data_, 16, kReadable}});
    expect_invalid("readable descriptor after a writable one");
}

TEST_P(VirtQueueTest, pop_chain_as_long_as_allowed_is_accepted) {
    start({.size = 8, .max_chain = 3});
    add({{data_, 1, kReadable}, {data_, 1, kReadable}, {data_, 1, kWritable}});
    EXPECT_EQ(queue_->pop(chain_), Pop::chain);
}

TEST_P(VirtQueueTest, pop_chain_longer_than_allowed_is_invalid) {
    start({.size = 8, .max_chain = 3});
    add({{data_, 1, kReadable},
         {data_, 1, kReadable},
         {data_, 1, kReadable},
         {data_, 1, kWritable}});
    expect_invalid("too many descriptors");
}

TEST_P(VirtQueueTest, pop_indirect_table_longer_than_allowed_is_invalid) {
    start({.size = 8, .max_chain = 3});
    std::vector<DriverBuffer> buffers(4, DriverBuffer{data_, 8, kReadable});
    ASSERT_TRUE(driver_->add(buffers, ChainForm::indirect));
    driver_->publish();
    expect_invalid("indirect table is longer");
}

TEST_P(VirtQueueTest, pop_indirect_not_negotiated_is_invalid) {
    start({.indirect = false});
    add({{data_, 16, kReadable}}, ChainForm::indirect);
    expect_invalid("not negotiated");
}

TEST_P(VirtQueueTest, pop_indirect_table_empty_is_invalid) {
    start({});
    add({{data_, 16, kReadable}}, ChainForm::indirect);
    set_length(0);
    expect_invalid("length of an indirect table");
}

TEST_P(VirtQueueTest, pop_indirect_table_of_odd_length_is_invalid) {
    start({});
    add({{data_, 16, kReadable}, {data_, 16, kReadable}}, ChainForm::indirect);
    set_length(24);
    expect_invalid("length of an indirect table");
}

TEST_P(VirtQueueTest, pop_indirect_table_of_4_gib_is_invalid) {
    start({});
    add({{data_, 16, kReadable}}, ChainForm::indirect);
    set_length(0xffff'fff0);
    expect_invalid("indirect table is longer");
}

TEST_P(VirtQueueTest, pop_indirect_table_outside_of_memory_is_invalid) {
    start({});
    add({{data_, 16, kReadable}}, ChainForm::indirect);
    set_address(0xffff'ffff'ffff'fff8);
    expect_invalid("indirect table outside");
}

TEST_P(VirtQueueTest, pop_indirect_within_a_table_is_invalid) {
    start({});
    add({{data_, 16, kReadable}, {data_, 16, kReadable}}, ChainForm::indirect);
    store_le(table_flags(1), Descriptor::kIndirect);
    expect_invalid("inside an indirect table");
}

TEST_P(VirtQueueTest, pop_indirect_table_with_readable_after_writable_is_invalid) {
    start({});
    add({{data_, 16, kWritable}, {data_, 16, kReadable}}, ChainForm::indirect);
    expect_invalid("readable descriptor after a writable one");
}

TEST_P(VirtQueueTest, pop_invalid_chain_is_in_flight_until_pushed) {
    start({});
    const auto id = add({{0, 16, kReadable}});
    ASSERT_EQ(queue_->pop(chain_), Pop::invalid);
    EXPECT_EQ(chain_.id, id);
    EXPECT_EQ(driver_->take_used(), std::nullopt);
    queue_->push(chain_, 0);
    EXPECT_THAT(driver_->take_used(), Optional(UsedChain{id, 0}));
}

class LargeChainTest : public VirtQueueTest {
  protected:
    LargeChainTest() {
        auto memory =
            GuestMemory::make({MemoryRegion::borrow(memory_.place(), memory_.bytes().data()),
                               MemoryRegion::borrow({kLarge, 0x1000, large_.bytes().size(), 0},
                                                    large_.bytes().data())});
        start({});
        EXPECT_TRUE(queue_->set_memory(*memory));
    }
    static constexpr std::uint64_t kLarge = 0x10'0000'0000;
    DriverMemory large_{2 * kGiB};
};

INSTANTIATE_TEST_SUITE_P(Ring, LargeChainTest, testing::Bool(),
                         [](const auto& tested) { return tested.param ? "packed" : "split"; });

TEST_P(LargeChainTest, pop_chain_one_byte_below_4_gib_is_accepted) {
    add({{kLarge, 0x8000'0000, kReadable}, {kLarge, 0x7fff'ffff, kWritable}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    EXPECT_EQ(total_length(chain_.readable), 0x8000'0000U);
}

TEST_P(LargeChainTest, pop_chain_of_4_gib_is_invalid) {
    add({{kLarge, 0x8000'0000, kReadable}, {kLarge, 0x8000'0000, kWritable}});
    expect_invalid("4 GiB");
}

// Notifications to the driver.

TEST_P(VirtQueueTest, notification_nothing_pushed_is_not_wanted) {
    start({});
    EXPECT_FALSE(queue_->take_notification());
    add({{data_, 16, kReadable}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    EXPECT_FALSE(queue_->take_notification());
}

TEST_P(VirtQueueTest, notification_after_a_batch_is_wanted_once) {
    start({});
    driver_->enable_notifications();
    add({{data_, 16, kReadable}});
    add({{data_, 16, kReadable}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    queue_->push(chain_, 0);
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    queue_->push(chain_, 0);
    EXPECT_TRUE(queue_->take_notification());
    EXPECT_FALSE(queue_->take_notification());
}

TEST_P(VirtQueueTest, notification_first_batch_is_wanted_though_disabled) {
    start({});
    driver_->disable_notifications();
    add({{data_, 16, kReadable}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    queue_->push(chain_, 0);
    EXPECT_TRUE(queue_->take_notification());
}

class NotificationTest : public VirtQueueTest {
  protected:
    /// Starts a ring that has notified once, so that suppression counts.
    void start_notified(bool event_idx) {
        start({.event_idx = event_idx});
        round_trip();
        (void)queue_->take_notification();
    }
    void round_trip() {
        add({{data_, 16, kReadable}});
        ASSERT_EQ(queue_->pop(chain_), Pop::chain);
        queue_->push(chain_, 0);
        ASSERT_TRUE(driver_->take_used());
    }
};

INSTANTIATE_TEST_SUITE_P(Ring, NotificationTest, testing::Bool(),
                         [](const auto& tested) { return tested.param ? "packed" : "split"; });

TEST_P(NotificationTest, notification_flag_disabled_is_not_wanted) {
    start_notified(false);
    driver_->disable_notifications();
    round_trip();
    EXPECT_FALSE(queue_->take_notification());
}

TEST_P(NotificationTest, notification_flag_enabled_again_is_wanted) {
    start_notified(false);
    driver_->disable_notifications();
    driver_->enable_notifications();
    round_trip();
    EXPECT_TRUE(queue_->take_notification());
}

TEST_P(NotificationTest, notification_event_disabled_is_not_wanted) {
    start_notified(true);
    driver_->disable_notifications();
    round_trip();
    EXPECT_FALSE(queue_->take_notification());
}

TEST_P(NotificationTest, notification_event_at_next_is_wanted) {
    start_notified(true);
    driver_->enable_notifications();
    round_trip();
    EXPECT_TRUE(queue_->take_notification());
}

TEST_P(NotificationTest, notification_event_after_three_is_wanted_at_the_third) {
    start_notified(true);
    driver_->enable_notifications(2);
    round_trip();
    EXPECT_FALSE(queue_->take_notification());
    round_trip();
    EXPECT_FALSE(queue_->take_notification());
    round_trip();
    EXPECT_TRUE(queue_->take_notification());
    round_trip();
    EXPECT_FALSE(queue_->take_notification());
}

TEST_P(NotificationTest, notification_event_passed_within_a_batch_is_wanted) {
    start_notified(true);
    driver_->enable_notifications(2);
    round_trip();
    round_trip();
    round_trip();
    round_trip();
    EXPECT_TRUE(queue_->take_notification());
}

TEST_P(NotificationTest, notification_event_across_the_ring_end_is_wanted) {
    start_notified(true);
    for (int i = 0; i < 6; ++i) round_trip();
    (void)queue_->take_notification();
    driver_->enable_notifications(2);
    round_trip();
    EXPECT_FALSE(queue_->take_notification());
    round_trip();
    EXPECT_FALSE(queue_->take_notification());
    round_trip();
    EXPECT_TRUE(queue_->take_notification());
}

TEST_P(NotificationTest, notification_batch_longer_than_any_index_is_wanted) {
    start_notified(true);
    driver_->disable_notifications();
    driver_->enable_notifications(1);
    // So many that the indices look as if just one had been used.
    for (int i = 0; i < 65'537; ++i) round_trip();
    EXPECT_TRUE(queue_->take_notification());
}

// Kicks by the driver.

class KickTest : public VirtQueueTest {};

INSTANTIATE_TEST_SUITE_P(Ring, KickTest, testing::Bool(),
                         [](const auto& tested) { return tested.param ? "packed" : "split"; });

TEST_P(KickTest, kick_flag_enabled_is_sent) {
    start({});
    EXPECT_FALSE(queue_->enable_kicks());
    add({{data_, 16, kReadable}});
    EXPECT_TRUE(driver_->take_kick());
    EXPECT_FALSE(driver_->take_kick());
}

TEST_P(KickTest, kick_flag_disabled_is_not_sent) {
    start({});
    queue_->disable_kicks();
    add({{data_, 16, kReadable}});
    EXPECT_FALSE(driver_->take_kick());
}

TEST_P(KickTest, kick_flag_enabled_again_is_sent) {
    start({});
    queue_->disable_kicks();
    EXPECT_FALSE(queue_->enable_kicks());
    add({{data_, 16, kReadable}});
    EXPECT_TRUE(driver_->take_kick());
}

TEST_P(KickTest, kick_event_enabled_is_sent_for_the_next_chain_only) {
    start({.event_idx = true});
    EXPECT_FALSE(queue_->enable_kicks());
    add({{data_, 16, kReadable}});
    EXPECT_TRUE(driver_->take_kick());
    add({{data_, 16, kReadable}});
    EXPECT_FALSE(driver_->take_kick());
}

TEST_P(KickTest, kick_event_enabled_after_pop_is_sent_again) {
    start({.event_idx = true});
    for (int i = 0; i < 20; ++i) {
        ASSERT_FALSE(queue_->enable_kicks());
        add({{data_, 16, kReadable}, {data_, 16, kWritable}, {data_, 16, kWritable}});
        ASSERT_TRUE(driver_->take_kick()) << i;
        queue_->disable_kicks();
        ASSERT_EQ(queue_->pop(chain_), Pop::chain);
        queue_->push(chain_, 0);
        ASSERT_TRUE(driver_->take_used());
    }
}

TEST_P(KickTest, kick_event_disabled_is_not_sent) {
    start({.event_idx = true});
    ASSERT_FALSE(queue_->enable_kicks());
    add({{data_, 16, kReadable}});
    ASSERT_TRUE(driver_->take_kick());
    queue_->disable_kicks();
    add({{data_, 16, kReadable}});
    EXPECT_FALSE(driver_->take_kick());
}

TEST_P(KickTest, kick_event_that_was_asked_for_and_no_longer_is_is_not_sent) {
    start({.event_idx = true});
    ASSERT_FALSE(queue_->enable_kicks());
    queue_->disable_kicks();
    add({{data_, 16, kReadable}});
    EXPECT_FALSE(driver_->take_kick());
    add({{data_, 16, kReadable}});
    EXPECT_FALSE(driver_->take_kick());
}

TEST_P(KickTest, enable_kicks_chain_came_meanwhile_says_so) {
    start({});
    queue_->disable_kicks();
    ASSERT_EQ(queue_->pop(chain_), Pop::empty);
    add({{data_, 16, kReadable}});
    EXPECT_TRUE(queue_->enable_kicks());
    EXPECT_EQ(queue_->pop(chain_), Pop::chain);
    EXPECT_FALSE(queue_->enable_kicks());
}

// Stopping and starting.

TEST_P(VirtQueueTest, base_new_queue_from_it_goes_on_where_the_old_was) {
    start({.size = 4});
    for (int i = 0; i < 103; ++i) {
        const std::uint16_t id = add({{data_, 8, kReadable}, {data_, 8, kWritable}});
        ASSERT_EQ(queue_->pop(chain_), Pop::chain);
        queue_->push(chain_, 8);
        ASSERT_THAT(driver_->take_used(), Optional(UsedChain{id, 8}));
        VirtQueue::Setup setup = driver_->device_setup(memory_.guest_memory(), 16);
        setup.base = queue_->base();
        restart(setup);
    }
}

TEST_P(VirtQueueTest, pop_again_after_restart_returns_the_chain) {
    start({});
    const auto first_id = add({{data_, 16, kReadable}, {data_ + 64, 8, kWritable}});
    const auto second_id = add({{data_, 24, kReadable}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    const auto kept = queue_->last_descriptors();
    const std::vector<Descriptor> record(kept.begin(), kept.end());
    VirtQueue::Setup setup = driver_->device_setup(memory_.guest_memory(), 16);
    setup.base = queue_->base();
    restart(setup);

    DescriptorChain again;
    ASSERT_EQ(queue_->pop_again(first_id, record, again), Pop::chain);
    EXPECT_EQ(again.id, first_id);
    EXPECT_EQ(total_length(again.readable), 16U);
    EXPECT_EQ(total_length(again.writable), 8U);
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    EXPECT_EQ(chain_.id, second_id);
    queue_->push(again, 8);
    queue_->push(chain_, 0);
    EXPECT_THAT(driver_->take_used(), Optional(UsedChain{first_id, 8}));
    EXPECT_THAT(driver_->take_used(), Optional(UsedChain{second_id, 0}));
}

TEST_P(VirtQueueTest, pop_again_of_a_chain_in_flight_is_broken) {
    start({});
    const auto id = add({{data_, 16, kReadable}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    const std::vector<Descriptor> record = {{data_, 16, 0, id}};
    DescriptorChain again;
    EXPECT_EQ(queue_->pop_again(id, record, again), Pop::broken);
    EXPECT_THAT(queue_->broken_reason(), HasSubstr("in flight already"));
}

TEST_P(VirtQueueTest, set_memory_without_the_ring_fails_and_changes_nothing) {
    start({});
    std::vector<std::byte> bytes(4096);
    const auto other = GuestMemory::make({MemoryRegion::borrow({0, 0, 4096, 0}, bytes.data())});
    ASSERT_TRUE(other);
    EXPECT_FALSE(queue_->set_memory(*other));
    add({{data_, 16, kReadable}});
    EXPECT_EQ(queue_->pop(chain_), Pop::chain);
}

TEST_P(VirtQueueTest, set_memory_in_flight_chain_keeps_the_old_memory) {
    start({});
    add({{data_, 16, kReadable}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    const auto old = chain_.memory;
    ASSERT_TRUE(queue_->set_memory(memory_.guest_memory()));
    EXPECT_EQ(chain_.memory, old);
    queue_->push(chain_, 0);
    EXPECT_TRUE(driver_->take_used());
    EXPECT_EQ(old.use_count(), 2);  // here and in the chain, no more in the queue
}

TEST_P(VirtQueueTest, pop_file_of_the_memory_truncated_is_broken) {
    start({});
    const auto region = MemoryRegion::map(memory_.place(), memory_.fd());
    ASSERT_TRUE(region);
    ASSERT_TRUE(queue_->set_memory(*GuestMemory::make({*region})));
    ASSERT_EQ(ftruncate(memory_.fd(), 0), 0);
    EXPECT_EQ(queue_->pop(chain_), Pop::empty);  // reads zeroes
    EXPECT_EQ(queue_->pop(chain_), Pop::broken);
    EXPECT_THAT(queue_->broken_reason(), HasSubstr("truncated"));
}

// Dirty log. 4 MiB of guest memory at 1 GiB: page 0x40000 is the first.

class RingLogTest : public VirtQueueTest {
  protected:
    static constexpr std::size_t kFirstByte = 0x40000 / 8;
    RingLogTest() : bits_(kFirstByte + 128), log_(DirtyLog::borrow(bits_)) {}

    void start_logged(bool log_used) {
        // A ring on pages of its own: descriptors, driver and device parts.
        while (memory_.allocated() % 4096 != 0) (void)memory_.allocate(1, 1);
        driver_ = RingDriver::make(memory_, {.features = {.packed = is_packed()}, .size = 256});
        VirtQueue::Setup setup = driver_->device_setup(memory_.guest_memory(), 16);
        setup.addresses.log_used = log_used;
        restart(setup);
        buffer_ = memory_.allocate(12 * kKiB, 4096);
        queue_->set_log(log_);
    }
    [[nodiscard]] bool is_marked(std::uint64_t guest_address) const {
        const std::uint64_t page = guest_address / 4096;
        return (std::to_integer<unsigned>(bits_[page / 8]) >> (page % 8) & 1U) != 0;
    }
    /// Bits set in the whole log.
    [[nodiscard]] int marked() const {
        int count = 0;
        for (const std::byte byte : bits_) count += std::popcount(std::to_integer<unsigned>(byte));
        return count;
    }

    std::vector<std::byte> bits_;
    std::shared_ptr<DirtyLog> log_;
    std::uint64_t buffer_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Ring, RingLogTest, testing::Bool(),
                         [](const auto& tested) { return tested.param ? "packed" : "split"; });

TEST_P(RingLogTest, log_written_marks_the_written_part_only) {
    start_logged(false);
    add({{buffer_, 4096, kReadable},
         {buffer_ + 4096, 2048, kWritable},
         {buffer_ + 8192, 64, kWritable}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    queue_->log_written(chain_, 2048);
    EXPECT_EQ(marked(), 1);
    EXPECT_TRUE(is_marked(buffer_ + 4096));
    queue_->log_written(chain_, 2049);
    EXPECT_EQ(marked(), 2);
    EXPECT_TRUE(is_marked(buffer_ + 8192));
}

TEST_P(RingLogTest, log_written_nothing_marks_nothing) {
    start_logged(true);
    add({{buffer_, 4096, kWritable}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    queue_->log_written(chain_, 0);
    EXPECT_EQ(marked(), 0);
}

TEST_P(RingLogTest, push_ring_logged_marks_the_ring) {
    start_logged(true);
    add({{buffer_, 4096, kWritable}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    EXPECT_EQ(marked(), 0);
    queue_->push(chain_, 1);
    EXPECT_EQ(marked(), 1);
    EXPECT_TRUE(is_marked(is_packed() ? driver_->guest_layout().descriptors
                                      : driver_->guest_layout().device));
}

TEST_P(RingLogTest, push_ring_not_logged_marks_nothing) {
    start_logged(false);
    add({{buffer_, 4096, kWritable}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    queue_->push(chain_, 1);
    EXPECT_EQ(marked(), 0);
}

TEST_P(RingLogTest, kick_suppression_marks_the_ring) {
    start_logged(true);
    queue_->disable_kicks();
    EXPECT_TRUE(is_marked(driver_->guest_layout().device));
}

TEST_P(RingLogTest, set_log_null_stops_logging) {
    start_logged(true);
    queue_->set_log(nullptr);
    add({{buffer_, 4096, kWritable}});
    ASSERT_EQ(queue_->pop(chain_), Pop::chain);
    queue_->log_written(chain_, 1);
    queue_->push(chain_, 1);
    EXPECT_EQ(marked(), 0);
}

// make()

class MakeTest : public VirtQueueTest {
  protected:
    MakeTest() { start({.event_idx = true, .size = 8}); }
    /// Makes a queue with one address off by `move` bytes.
    std::string failure_of(std::uint64_t RingAddresses::* part, std::uint64_t address) {
        VirtQueue::Setup setup = driver_->device_setup(memory_.guest_memory(), 16);
        setup.addresses.*part = address;
        const auto queue = VirtQueue::make(setup);
        return queue ? "" : queue.error().message;
    }
    /// The front end's address of the byte `back` bytes before the end of memory.
    [[nodiscard]] static std::uint64_t before_end(std::uint64_t back) {
        return DriverMemory::kUserAddress + 4 * kMiB - back;
    }
};

INSTANTIATE_TEST_SUITE_P(Ring, MakeTest, testing::Bool(),
                         [](const auto& tested) { return tested.param ? "packed" : "split"; });

TEST_P(MakeTest, make_misaligned_parts_fails_with_the_address) {
    EXPECT_THAT(failure_of(&RingAddresses::descriptors, DriverMemory::kUserAddress + 8),
                HasSubstr("at 0x700000000008 is not aligned to 16"));
    EXPECT_THAT(failure_of(&RingAddresses::driver, DriverMemory::kUserAddress + 1),
                HasSubstr("is not aligned to"));
    EXPECT_THAT(failure_of(&RingAddresses::device, DriverMemory::kUserAddress + 2),
                HasSubstr("is not aligned to 4"));
}

TEST_P(MakeTest, make_parts_outside_of_memory_fails_with_the_address) {
    EXPECT_THAT(failure_of(&RingAddresses::descriptors, 0x1000),
                HasSubstr("at 0x1000, 128 bytes, is not within one region"));
    EXPECT_THAT(failure_of(&RingAddresses::driver, 0x1000), HasSubstr("is not within"));
    EXPECT_THAT(failure_of(&RingAddresses::device, 0xffff'ffff'ffff'fffc),
                HasSubstr("is not within"));
}

TEST_P(MakeTest, make_descriptors_up_to_the_end_of_memory_is_fine) {
    EXPECT_EQ(failure_of(&RingAddresses::descriptors, before_end(128)), "");
    EXPECT_THAT(failure_of(&RingAddresses::descriptors, before_end(112)), HasSubstr("within"));
}

TEST_P(MakeTest, make_guest_addresses_are_understood) {
    VirtQueue::Setup setup = driver_->device_setup(memory_.guest_memory(), 16);
    setup.addresses = driver_->guest_layout();
    restart(setup);
    add({{data_, 16, kReadable}});
    EXPECT_EQ(queue_->pop(chain_), Pop::chain);
}

TEST_P(MakeTest, make_region_mapped_off_alignment_fails) {
    // An odd region start makes an aligned ring address odd in this process.
    VirtQueue::Setup setup = driver_->device_setup(nullptr, 16);
    setup.memory = *GuestMemory::make({MemoryRegion::borrow(
        {0, DriverMemory::kUserAddress - 1, 2 * kMiB, 0}, memory_.bytes().data())});
    const auto queue = VirtQueue::make(setup);
    ASSERT_FALSE(queue);
    EXPECT_THAT(queue.error().message, HasSubstr("mapped off its alignment"));
}

TEST_P(MakeTest, make_size_out_of_range_fails) {
    VirtQueue::Setup setup = driver_->device_setup(memory_.guest_memory(), 16);
    setup.size = 0;
    EXPECT_EQ(VirtQueue::make(setup).error().message, "queue size 0: expected 1 to 32768");
    setup.size = 65536;
    EXPECT_EQ(VirtQueue::make(setup).error().message, "queue size 65536: expected 1 to 32768");
}

TEST_P(MakeTest, make_without_memory_or_longest_chain_fails) {
    VirtQueue::Setup setup = driver_->device_setup(nullptr, 16);
    EXPECT_FALSE(VirtQueue::make(setup));
    setup = driver_->device_setup(memory_.guest_memory(), 0);
    EXPECT_FALSE(VirtQueue::make(setup));
}

// Random interplay: whatever chains a driver makes in whatever order, each comes back once.

struct Sent {
    std::vector<DriverBuffer> buffers;
};

class InterplayTest : public testing::TestWithParam<std::tuple<bool, bool>> {
  protected:
    [[nodiscard]] static RingFeatures features() {
        return {.indirect = true,
                .event_idx = std::get<1>(GetParam()),
                .packed = std::get<0>(GetParam())};
    }
};

INSTANTIATE_TEST_SUITE_P(Ring, InterplayTest, testing::Combine(testing::Bool(), testing::Bool()),
                         [](const auto& tested) {
                             return std::string(std::get<0>(tested.param) ? "packed" : "split") +
                                    (std::get<1>(tested.param) ? "_event" : "_flag");
                         });

/// Makes up a chain: readable buffers, then writable ones, `index` in its first length.
std::vector<DriverBuffer> random_buffers(std::mt19937_64& random, std::uint64_t data) {
    std::vector<DriverBuffer> buffers(1 + random() % 6);
    const std::size_t readable = random() % (buffers.size() + 1);
    for (std::size_t i = 0; i < buffers.size(); ++i) {
        buffers[i] = {data + random() % 4096, static_cast<std::uint32_t>(1 + random() % 4096),
                      i >= readable};
    }
    return buffers;
}

ChainForm random_form(std::mt19937_64& random, bool packed, std::size_t buffers) {
    const std::size_t forms = packed || buffers < 2 ? 2 : 3;
    return static_cast<ChainForm>(random() % forms);
}

void expect_memory_of(const DescriptorChain& chain, const Sent& sent, const DriverMemory& memory) {
    IoVector readable;
    IoVector writable;
    for (const DriverBuffer& buffer : sent.buffers) {
        IoVector& list = buffer.is_device_writable ? writable : readable;
        list.push_back(segment_of(memory.at({buffer.guest_address, buffer.length})));
    }
    const auto same = [](const iovec& a, const iovec& b) {
        return a.iov_base == b.iov_base && a.iov_len == b.iov_len;
    };
    ASSERT_TRUE(std::ranges::equal(chain.readable, readable, same));
    ASSERT_TRUE(std::ranges::equal(chain.writable, writable, same));
}

TEST_P(InterplayTest, random_traffic_returns_each_chain_once) {
    SCOPED_TRACE(test::seed_trace());
    std::mt19937_64 random(test::seed());
    DriverMemory memory(2 * kMiB);
    const std::uint64_t data = memory.allocate(16 * kKiB);
    const std::uint32_t size = features().packed ? 13 : 16;
    const auto driver = RingDriver::make(
        memory, {.features = features(),
                 .size = size,
                 .first_index = static_cast<std::uint16_t>(features().packed ? 0 : 64000)});
    auto queue = VirtQueue::make(driver->device_setup(memory.guest_memory(), 16));
    ASSERT_TRUE(queue) << queue.error().message;

    std::map<std::uint16_t, Sent> sent;
    std::map<std::uint16_t, std::uint32_t> answered;
    std::size_t unpublished = 0;
    std::vector<DescriptorChain> held;
    for (int step = 0; step < 60'000; ++step) {
        switch (random() % 4) {
            case 0: {
                Sent chain{random_buffers(random, data)};
                const ChainForm form = random_form(random, features().packed, chain.buffers.size());
                if (const auto id = driver->add(chain.buffers, form)) {
                    ASSERT_TRUE(sent.emplace(*id, std::move(chain)).second);
                }
                if (random() % 2 == 0) driver->publish();
                break;
            }
            case 1: {
                DescriptorChain chain;
                const Pop popped = (*queue)->pop(chain);
                if (popped == Pop::empty) break;
                ASSERT_EQ(popped, Pop::chain) << (*queue)->broken_reason() << chain.refusal;
                ASSERT_NO_FATAL_FAILURE(expect_memory_of(chain, sent.at(chain.id), memory));
                held.push_back(std::move(chain));
                break;
            }
            case 2: {
                if (held.empty()) break;
                const std::size_t which = random() % held.size();
                const auto written = static_cast<std::uint32_t>(random() % 1000);
                answered[held[which].id] = written;
                (*queue)->put(held[which], written);
                ++unpublished;
                held.erase(held.begin() + static_cast<std::ptrdiff_t>(which));
                if (random() % 3 != 0) break;
                (*queue)->publish();
                unpublished = 0;
                break;
            }
            default: {
                const auto used = driver->take_used();
                if (!used) break;
                ASSERT_EQ(sent.erase(used->id), 1U);
                ASSERT_EQ(used->written, answered.at(used->id));
                answered.erase(used->id);
                ASSERT_GE(answered.size(), unpublished);
                break;
            }
        }
    }
    EXPECT_LE(sent.size(), size);
}

/// Driver and device in threads that sleep only when they asked to be woken: a lost kick or
/// notification shows as a test that does not end, a missing barrier also as a TSan report.
TEST_P(InterplayTest, threads_with_suppression_lose_no_wakeup) {
    constexpr std::uint32_t kChains = 30'000;
    DriverMemory memory(2 * kMiB);
    const std::uint64_t data = memory.allocate(4096);
    const auto driver = RingDriver::make(memory, {.features = features(), .size = 8});
    auto made = VirtQueue::make(driver->device_setup(memory.guest_memory(), 16));
    ASSERT_TRUE(made) << made.error().message;
    VirtQueue& queue = **made;
    std::atomic<std::uint32_t> kicks = 0;
    std::atomic<std::uint32_t> notifications = 0;

    std::thread device([&] {
        DescriptorChain chain;
        std::uint32_t done = 0;
        std::uint32_t kicks_seen = 0;
        while (done < kChains) {
            queue.disable_kicks();
            Pop popped = Pop::empty;
            while ((popped = queue.pop(chain)) == Pop::chain) {
                std::uint32_t value = 0;
                copy_from(chain.readable, 0, mutable_bytes_of(value));
                copy_to(chain.writable, 0, bytes_of(value));
                queue.put(chain, 4);
                if (++done % 3 == 0) queue.publish();
            }
            queue.publish();
            ASSERT_EQ(popped, Pop::empty) << queue.broken_reason();
            if (queue.take_notification()) {
                notifications.fetch_add(1);
                notifications.notify_one();
            }
            if (done == kChains || queue.enable_kicks()) continue;
            kicks.wait(kicks_seen);
            kicks_seen = kicks.load();
        }
    });

    std::uint32_t sent = 0;
    std::uint32_t back = 0;
    std::uint32_t notifications_seen = 0;
    while (back < kChains) {
        driver->disable_notifications();
        while (sent < kChains && driver->free_descriptors() >= 2) {
            // Each id has eight bytes of its own.
            const std::uint64_t at = data + 8 * (sent % 256);
            store_le(memory.at({at, 4}).data(), sent);
            ASSERT_TRUE(driver->add({{at, 4, kReadable}, {at + 4, 4, kWritable}},
                                    sent % 3 == 0 ? ChainForm::indirect : ChainForm::direct));
            ++sent;
        }
        driver->publish();
        if (driver->take_kick()) {
            kicks.fetch_add(1);
            kicks.notify_one();
        }
        while (driver->take_used()) ++back;
        if (back == kChains || driver->enable_notifications()) continue;
        if (sent < kChains && driver->free_descriptors() >= 2) continue;
        notifications.wait(notifications_seen);
        notifications_seen = notifications.load();
    }
    device.join();
    EXPECT_EQ(driver->in_flight(), 0U);
    EXPECT_EQ(load_le<std::uint32_t>(memory.at({data + 4, 4}).data()), 29'952U);
}

}  // namespace
}  // namespace zbdkit
