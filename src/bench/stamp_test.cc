// SPDX-License-Identifier: Apache-2.0
#include "bench/stamp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace zbdkit::bench {
namespace {

using testing::HasSubstr;

constexpr Stamp kStamp{.position = 8192, .sequence = 7, .seed = 42};

std::vector<std::byte> stamped(const Stamp& stamp, std::size_t size = 4096) {
    std::vector<std::byte> block(size);
    write_stamp(stamp, block);
    return block;
}

TEST(Stamp, its_own_block_is_right) {
    EXPECT_EQ(find_mismatch(kStamp, stamped(kStamp)), std::nullopt);
    EXPECT_EQ(find_mismatch(kStamp, stamped(kStamp, 512)), std::nullopt);
}

TEST(Stamp, zeros_are_no_stamp) {
    const std::vector<std::byte> zeros(4096);
    EXPECT_THAT(find_mismatch(kStamp, zeros).value_or(""),
                HasSubstr("expected write 7 of seed 42 to byte 8192, found no stamp"));
}

TEST(Stamp, another_write_is_told_with_its_place) {
    const auto other = stamped({.position = 4096, .sequence = 3, .seed = 42});
    EXPECT_THAT(find_mismatch(kStamp, other).value_or(""),
                HasSubstr("found write 3 of seed 42 to byte 4096"));
}

TEST(Stamp, every_flipped_byte_is_found) {
    std::vector<std::byte> block = stamped(kStamp, 512);
    for (std::byte& byte : block) {
        byte ^= std::byte{0x10};
        EXPECT_NE(find_mismatch(kStamp, block), std::nullopt);
        byte ^= std::byte{0x10};
    }
}

TEST(Stamp, halves_of_two_writes_are_found) {
    std::vector<std::byte> torn = stamped(kStamp);
    const auto other = stamped({.position = 8192, .sequence = 6, .seed = 42});
    std::copy(other.begin() + 2048, other.end(), torn.begin() + 2048);
    EXPECT_THAT(find_mismatch(kStamp, torn).value_or(""), HasSubstr("with other bytes"));
}

}  // namespace
}  // namespace zbdkit::bench
