// SPDX-License-Identifier: Apache-2.0
#include "base/buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

namespace zbdkit {
namespace {

TEST(AlignedBuffer, memory_is_zeroed_and_of_the_size_asked_for) {
    const AlignedBuffer buffer(5000);
    EXPECT_EQ(buffer.bytes().size(), 5000U);
    EXPECT_TRUE(std::ranges::all_of(buffer.bytes(), [](std::byte b) { return b == std::byte{}; }));
}

TEST(AlignedBuffer, memory_is_aligned_for_direct_io) {
    AlignedBuffer buffer(1);
    void* start = buffer.data();
    std::size_t space = kDirectAlignment;
    EXPECT_EQ(std::align(kDirectAlignment, 1, start, space), buffer.data());
}

TEST(AlignedBuffer, default_buffer_is_empty) {
    AlignedBuffer buffer;
    EXPECT_EQ(buffer.size(), 0U);
    EXPECT_EQ(buffer.data(), nullptr);
}

}  // namespace
}  // namespace zbdkit
