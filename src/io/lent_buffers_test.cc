// SPDX-License-Identifier: Apache-2.0
#include "io/lent_buffers.h"

#include <gtest/gtest.h>

#include <array>

namespace zbdkit {
namespace {

TEST(LentBuffers, address_within_a_place_is_found_with_its_offset) {
    LentBuffers buffers(16);
    const LentRange other = buffers.take(2, 8192).value();
    const LentRange range = buffers.take(4, 4096).value();

    const auto place = buffers.find(&range.at(3)[100]);

    ASSERT_TRUE(place.has_value());
    EXPECT_EQ(place->index, 5);
    EXPECT_EQ(place->offset, 100U);
    buffers.give_back(other);
    buffers.give_back(range);
}

TEST(LentBuffers, ordinary_memory_is_no_place) {
    LentBuffers buffers(16);
    const LentRange range = buffers.take(4, 4096).value();
    const std::array<std::byte, 8> memory{};

    EXPECT_FALSE(buffers.find(memory.data()).has_value());
    EXPECT_FALSE(buffers.find(nullptr).has_value());
    EXPECT_FALSE(buffers.find(range.addresses.data() + range.addresses.size()).has_value());
    buffers.give_back(range);
}

TEST(LentBuffers, places_that_are_given_back_are_taken_again) {
    LentBuffers buffers(8);
    const LentRange first = buffers.take(3, 4096).value();
    const LentRange second = buffers.take(3, 4096).value();
    buffers.give_back(first);

    const LentRange small = buffers.take(2, 4096).value();
    const LentRange behind = buffers.take(2, 4096).value();

    EXPECT_EQ(small.first, 0);
    EXPECT_EQ(second.first, 3);
    EXPECT_EQ(behind.first, 6);
    buffers.give_back(small);
    buffers.give_back(second);
    buffers.give_back(behind);
}

TEST(LentBuffers, more_places_than_are_free_in_a_row_are_refused) {
    LentBuffers buffers(8);
    const LentRange range = buffers.take(6, 4096).value();

    EXPECT_FALSE(buffers.take(3, 4096).has_value());

    buffers.give_back(range);
    EXPECT_FALSE(buffers.take(9, 4096).has_value());
}

TEST(LentBuffers, places_beyond_the_addresses_of_a_process_are_refused) {
    LentBuffers buffers(8);
    EXPECT_FALSE(buffers.take(8, std::uint64_t{1} << 60).has_value());
}

TEST(LentBuffersDeathTest, who_looks_at_lent_data_dies) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    LentBuffers buffers(8);
    const LentRange range = buffers.take(1, 4096).value();
    const volatile std::byte* data = range.at(0).data();

    EXPECT_DEATH(static_cast<void>(*data), "");
    buffers.give_back(range);
}

}  // namespace
}  // namespace zbdkit
