// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>

namespace zbdkit {
namespace {

constexpr std::array<std::byte, 9> kRising = {std::byte{0x00}, std::byte{0x01}, std::byte{0x02},
                                              std::byte{0x03}, std::byte{0x04}, std::byte{0x05},
                                              std::byte{0x06}, std::byte{0x07}, std::byte{0x08}};

TEST(LoadLe, lowest_byte_comes_first_at_any_alignment) {
    EXPECT_EQ(load_le<std::uint8_t>(&kRising[1]), 0x01U);
    EXPECT_EQ(load_le<std::uint16_t>(&kRising[1]), 0x0201U);
    EXPECT_EQ(load_le<std::uint32_t>(&kRising[1]), 0x04030201U);
    EXPECT_EQ(load_le<std::uint64_t>(&kRising[1]), 0x0807060504030201U);
}

TEST(StoreLe, lowest_byte_comes_first_at_any_alignment) {
    std::array<std::byte, 9> bytes{};
    store_le<std::uint64_t>(&bytes[1], 0x0807060504030201U);
    EXPECT_EQ(bytes, kRising);
}

TEST(StoreLe, bytes_around_are_kept) {
    std::array<std::byte, 4> bytes{};
    bytes.fill(std::byte{0xee});
    store_le<std::uint16_t>(&bytes[1], 0x0201U);
    EXPECT_EQ(bytes,
              (std::array{std::byte{0xee}, std::byte{0x01}, std::byte{0x02}, std::byte{0xee}}));
}

struct Wire {
    std::uint32_t first;
    std::uint32_t second;
};

TEST(BytesOf, view_covers_the_object) {
    const Wire wire{.first = 1, .second = 2};
    EXPECT_EQ(bytes_of(wire).size(), 8U);
    EXPECT_EQ(load_le<std::uint32_t>(bytes_of(wire).data() + 4), 2U);
}

TEST(MutableBytesOf, object_changes_through_the_view) {
    Wire wire{.first = 1, .second = 2};
    store_le<std::uint32_t>(mutable_bytes_of(wire).data() + 4, 7);
    EXPECT_EQ(wire.second, 7U);
}

}  // namespace
}  // namespace zbdkit
