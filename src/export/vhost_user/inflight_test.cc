// SPDX-License-Identifier: Apache-2.0
// The region itself, over real rings: a process that dies is one whose queue and notes are dropped
// where they are; what it left is read by the next.
#include "export/vhost_user/inflight.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <random>

#include "tests/support/seed.h"
#include "tests/support/virtio/ring_driver.h"

namespace zbdkit::vhost_user {
namespace {

using test::ChainForm;
using test::DriverMemory;
using test::RingDriver;

constexpr std::uint16_t kSize = 8;
constexpr InflightShape kShape{.queue_count = 2, .queue_size = kSize};

/// The memory of a region, as a front end has it.
class FrontEndMemory {
  public:
    explicit FrontEndMemory(const UniqueFd& fd)
        : size_(inflight_size(kShape)),
          memory_(::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0)) {}
    FrontEndMemory(const FrontEndMemory&) = delete;
    FrontEndMemory& operator=(const FrontEndMemory&) = delete;
    ~FrontEndMemory() { ::munmap(memory_, size_); }
    [[nodiscard]] MutableBytes bytes() const { return {byte_pointer(memory_), size_}; }

  private:
    std::size_t size_;
    void* memory_;
};

/// A ring with its region, and one process after the other that serves it. The parameter: packed.
class InflightTest : public testing::TestWithParam<bool> {
  protected:
    void SetUp() override { start(); }

    /// A process starts. @return false if it refuses what it finds
    bool start() {
        die();
        auto mapped = InflightRegion::map({{0, inflight_size(kShape)}, kShape}, file.get());
        EXPECT_TRUE(mapped.has_value());
        region = std::move(*mapped);
        VirtQueue::Setup setup = driver->device_setup(memory.guest_memory(), kSize);
        auto attached = region->attach(1, setup);
        if (!attached) {
            refusal = attached.error().message;
            return false;
        }
        notes = std::move(*attached);
        setup.base = notes->base();
        queue = *VirtQueue::make(setup);
        for (const InflightQueue::Left& left : notes->left()) {
            DescriptorChain chain;
            EXPECT_EQ(queue->pop_again(left.id, left.descriptors, chain), VirtQueue::Pop::chain);
            taken.push_back({left.entry, std::move(chain)});
        }
        return true;
    }
    /// It is killed: nothing is tidied up.
    void die() {
        taken.clear();
        notes.reset();
        queue.reset();
        region.reset();
    }

    /// The driver adds a chain of `length` buffers, and the process takes it.
    void take(std::uint32_t length) {
        std::vector<test::DriverBuffer> buffers;
        for (std::uint32_t i = 0; i < length; ++i)
            buffers.push_back({memory.allocate(16), 16, true});
        EXPECT_TRUE(driver->add(buffers, ChainForm::direct).has_value());
        driver->publish();
        DescriptorChain chain;
        EXPECT_EQ(queue->pop(chain), VirtQueue::Pop::chain);
        const auto entry = notes->took(chain, queue->last_descriptors());
        taken.push_back({entry, std::move(chain)});
    }
    enum class Until : std::uint8_t { noted, pushed, done };
    /// Returns the chain that is at `index` among those taken, or dies on the way.
    void give_back(std::size_t index, Until until = Until::done) {
        const Taken& one = taken[index];
        notes->before_push(one.entry);
        if (until == Until::noted) return;
        queue->push(one.chain, 1);
        if (until == Until::pushed) return;
        notes->after_push(one.entry);
        taken.erase(taken.begin() + static_cast<std::ptrdiff_t>(index));
    }
    /// Bytes writable in each chain that is in flight: its number of buffers, times 16.
    [[nodiscard]] std::vector<std::uint64_t> lengths() const {
        std::vector<std::uint64_t> found;
        for (const Taken& one : taken) found.push_back(total_length(one.chain.writable));
        return found;
    }
    /// How many chains the driver got back.
    unsigned returned() {
        unsigned count = 0;
        while (driver->take_used()) ++count;
        return count;
    }
    /// The queue's own part of the region.
    [[nodiscard]] MutableBytes own_part() const {
        return front_end.bytes().subspan(GetParam() ? 320 : 192, GetParam() ? 288 : 144);
    }

    struct Taken {
        InflightQueue::Entry entry;
        DescriptorChain chain;
    };
    DriverMemory memory{kMiB};
    std::unique_ptr<RingDriver> driver = RingDriver::make(
        memory, {.features = {.packed = GetParam()},
                 .size = kSize,
                 .first_index = static_cast<std::uint16_t>(GetParam() ? 0 : 65530)});
    UniqueFd file = *make_inflight_file(kShape);
    FrontEndMemory front_end{file};
    std::unique_ptr<InflightRegion> region;
    std::unique_ptr<InflightQueue> notes;
    std::unique_ptr<VirtQueue> queue;
    std::vector<Taken> taken;
    std::string refusal;
};

INSTANTIATE_TEST_SUITE_P(Rings, InflightTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "packed" : "split"; });

TEST_P(InflightTest, chains_that_were_not_returned_are_left_in_their_order) {
    take(3);
    take(1);
    take(2);
    give_back(1);

    EXPECT_TRUE(start());

    EXPECT_EQ(lengths(), (std::vector<std::uint64_t>{48, 32}));
    EXPECT_EQ(returned(), 1U);
}

TEST_P(InflightTest, push_that_the_ring_does_not_show_did_not_happen) {
    take(2);
    take(1);
    give_back(0, Until::noted);

    EXPECT_TRUE(start());

    EXPECT_EQ(lengths(), (std::vector<std::uint64_t>{32, 16}));
    EXPECT_EQ(returned(), 0U);
}

TEST_P(InflightTest, push_that_the_ring_shows_did_happen) {
    take(2);
    take(1);
    give_back(0, Until::pushed);

    EXPECT_TRUE(start());

    EXPECT_EQ(lengths(), (std::vector<std::uint64_t>{16}));
    EXPECT_EQ(returned(), 1U);
}

TEST_P(InflightTest, chain_that_was_popped_and_not_noted_is_available_again) {
    take(1);
    EXPECT_TRUE(driver->add({{memory.allocate(16), 16, true}}, ChainForm::direct).has_value());
    driver->publish();
    DescriptorChain chain;
    EXPECT_EQ(queue->pop(chain), VirtQueue::Pop::chain);

    EXPECT_TRUE(start());

    EXPECT_EQ(lengths(), (std::vector<std::uint64_t>{16}));
    EXPECT_EQ(queue->pop(chain), VirtQueue::Pop::chain);
}

/// Deaths at random moments, many times around the ring; the driver counts.
TEST_P(InflightTest, nothing_is_lost_or_returned_twice_over_many_deaths) {
    SCOPED_TRACE(test::seed_trace());
    std::mt19937_64 random(test::seed());
    unsigned added = 0;
    unsigned came_back = 0;
    for (int step = 0; step < 5000; ++step) {
        const std::size_t mark = memory.allocated();
        const auto length = static_cast<std::uint32_t>(1 + random() % 3);
        if (random() % 2 == 0 && driver->free_descriptors() >= length) {
            take(length);
            ++added;
        } else if (!taken.empty()) {
            const auto until = static_cast<Until>(random() % 4 % 3);
            give_back(random() % taken.size(), until);
            if (until != Until::done) ASSERT_TRUE(start()) << refusal;
        }
        memory.release_to(mark);
        came_back += returned();
        ASSERT_EQ(came_back + taken.size(), added);
        if (random() % 16 == 0) ASSERT_TRUE(start()) << refusal;
    }
    EXPECT_GT(came_back, 500U);
}

TEST_P(InflightTest, entry_taken_again_has_no_record) {
    take(1);
    const InflightQueue::Entry entry = taken.front().entry;
    WriteRecord(region->slots(1)[entry]).placed({4096, 512});
    give_back(0);

    EXPECT_EQ(returned(), 1U);

    take(1);

    EXPECT_EQ(taken.front().entry, entry);
    EXPECT_EQ(region->slots(1)[entry].place, 0U);
}

TEST_P(InflightTest, records_of_what_is_left_are_left) {
    take(1);
    WriteRecord(region->slots(1)[taken.front().entry]).placed({4096, 512});

    EXPECT_TRUE(start());

    EXPECT_EQ(region->slots(1)[taken.front().entry].place, 4097U);
    EXPECT_EQ(region->slots(1)[taken.front().entry].length, 512U);
}

TEST_P(InflightTest, other_version_or_size_is_refused) {
    take(1);
    own_part()[8] = std::byte{2};
    EXPECT_FALSE(start());
    own_part()[8] = std::byte{1};
    own_part()[10] = std::byte{4};
    EXPECT_FALSE(start());
    EXPECT_EQ(refusal, "the inflight region has version 1 and 4 entries, expected 1 and 8");
}

/// Whatever stands in the region: it is refused, or what comes of it is served.
TEST_P(InflightTest, noise_is_refused_or_harmless) {
    SCOPED_TRACE(test::seed_trace());
    std::mt19937_64 random(test::seed());
    take(2);
    take(1);
    const std::vector<std::byte> sound(own_part().begin(), own_part().end());
    unsigned refused = 0;
    for (int round = 0; round < 3000; ++round) {
        die();
        std::ranges::copy(sound, own_part().begin());
        for (std::uint64_t i = random() % 8 + 1; i > 0; --i) {
            // Bytes as they stand there, more often than noise: those get further.
            const auto value = static_cast<std::byte>(random() % 2 == 0 ? random() % 10 : random());
            own_part()[8 + random() % (own_part().size() - 8)] = value;
        }
        auto mapped = InflightRegion::map({{0, inflight_size(kShape)}, kShape}, file.get());
        region = std::move(*mapped);
        VirtQueue::Setup setup = driver->device_setup(memory.guest_memory(), kSize);
        auto attached = region->attach(1, setup);
        if (!attached) {
            ++refused;
            continue;
        }
        notes = std::move(*attached);
        setup.base = notes->base();
        queue = *VirtQueue::make(setup);
        ASSERT_LE(notes->left().size(), kSize);
        for (const InflightQueue::Left& left : notes->left()) {
            DescriptorChain chain;
            const auto popped = queue->pop_again(left.id, left.descriptors, chain);
            if (popped == VirtQueue::Pop::broken) break;
        }
    }
    EXPECT_GT(refused, 0U);
}

TEST(InflightRegion, smaller_than_its_shape_is_refused) {
    const UniqueFd file = *make_inflight_file(kShape);

    const auto mapped = InflightRegion::map({{0, inflight_size(kShape) - 1}, kShape}, file.get());

    EXPECT_EQ(mapped.error().message,
              "the inflight region has 895 bytes, expected 896 for 2 queues of 8");
}

TEST(InflightRegion, beyond_the_end_of_its_file_is_refused) {
    const UniqueFd file = *make_inflight_file(kShape);

    const auto mapped = InflightRegion::map({{64, inflight_size(kShape)}, kShape}, file.get());

    EXPECT_FALSE(mapped.has_value());
}

TEST(InflightRegion, place_off_alignment_is_refused) {
    const UniqueFd file = *make_inflight_file({.queue_count = 4, .queue_size = kSize});

    const auto mapped = InflightRegion::map({{4, inflight_size(kShape)}, kShape}, file.get());

    EXPECT_EQ(mapped.error().code, Errc::misaligned);
}

TEST(InflightRegion, ring_larger_than_its_entries_is_refused) {
    const UniqueFd file = *make_inflight_file(kShape);
    auto region = InflightRegion::map({{0, inflight_size(kShape)}, kShape}, file.get());
    DriverMemory memory(kMiB);
    const auto driver = RingDriver::make(memory, {.size = 16});

    const auto attached = (*region)->attach(0, driver->device_setup(memory.guest_memory(), 16));

    EXPECT_EQ(attached.error().message,
              "the inflight region is for 2 queues of 8, too small for queue 0 of 16");
}

TEST(InflightRegion, file_can_neither_grow_nor_shrink) {
    const UniqueFd file = *make_inflight_file(kShape);

    EXPECT_NE(::ftruncate(file.get(), 0), 0);
    EXPECT_NE(::ftruncate(file.get(), 1 << 20), 0);
}

}  // namespace
}  // namespace zbdkit::vhost_user
