// SPDX-License-Identifier: Apache-2.0
#include "base/crc32c.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

#include "tests/support/seed.h"

namespace zbdkit {
namespace {

/// One bit at a time, from the definition: reflected polynomial 0x82f63b78.
std::uint32_t slow_crc32c(ConstBytes bytes) {
    std::uint32_t crc = ~std::uint32_t{0};
    for (const std::byte byte : bytes) {
        crc ^= std::to_integer<std::uint32_t>(byte);
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78U : 0);
    }
    return ~crc;
}

TEST(Crc32c, check_value_is_right) {
    constexpr std::string_view kText = "123456789";
    EXPECT_EQ(crc32c(std::as_bytes(std::span(kText))), 0xe3069283U);
}

TEST(Crc32c, nothing_is_zero) { EXPECT_EQ(crc32c({}), 0U); }

// The vectors of iSCSI [RFC 3720, B.4].
TEST(Crc32c, thirty_two_zeroes_are_right) {
    const std::array<std::byte, 32> zeroes{};
    EXPECT_EQ(crc32c(zeroes), 0x8a9136aaU);
}

TEST(Crc32c, thirty_two_ones_are_right) {
    std::array<std::byte, 32> ones{};
    ones.fill(std::byte{0xff});
    EXPECT_EQ(crc32c(ones), 0x62a8ab43U);
}

TEST(Crc32c, rising_bytes_are_right) {
    std::array<std::byte, 32> rising{};
    for (std::size_t i = 0; i < rising.size(); ++i) rising.at(i) = static_cast<std::byte>(i);
    EXPECT_EQ(crc32c(rising), 0x46dd794eU);
}

TEST(Crc32c, random_bytes_agree_with_the_definition) {
    SCOPED_TRACE(test::seed_trace());
    std::mt19937_64 random(test::seed());
    for (std::size_t length = 0; length < 600; ++length) {
        std::vector<std::byte> bytes(length);
        for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
        EXPECT_EQ(crc32c(bytes), slow_crc32c(bytes)) << length;
    }
}

}  // namespace
}  // namespace zbdkit
