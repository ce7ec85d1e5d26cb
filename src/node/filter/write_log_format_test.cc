// SPDX-License-Identifier: Apache-2.0
#include "node/filter/write_log_format.h"

#include <gtest/gtest.h>

#include <array>
#include <string_view>

namespace zbdkit::write_log {
namespace {

template <std::size_t kSize>
std::array<std::byte, kSize> bytes_from(std::initializer_list<int> values) {
    std::array<std::byte, kSize> bytes{};
    std::size_t i = 0;
    for (const int value : values) bytes.at(i++) = static_cast<std::byte>(value);
    return bytes;
}

TEST(WriteLogFormat, super_is_byte_for_byte_what_linux_writes) {
    std::array<std::byte, kSuperSize> bytes{};
    encode_super({.entries = 0x0102, .sector_size = 4096}, bytes);
    EXPECT_EQ(bytes, (bytes_from<kSuperSize>({0x72, 0x68, 0x73, 0x77, 0x66, 0x73, 0x6a, 0,  //
                                              1,    0,    0,    0,    0,    0,    0,    0,  //
                                              2,    1,    0,    0,    0,    0,    0,    0,  //
                                              0,    0x10, 0,    0})));
}

TEST(WriteLogFormat, super_comes_back) {
    std::array<std::byte, kSuperSize> bytes{};
    const Super super = {.entries = 77, .sector_size = 512};
    encode_super(super, bytes);
    EXPECT_EQ(decode_super(bytes).value(), super);
}

TEST(WriteLogFormat, super_of_something_else_is_refused) {
    std::array<std::byte, kSuperSize> bytes{};
    EXPECT_EQ(decode_super(bytes).error().code, Errc::corrupt);
    encode_super({}, bytes);
    bytes[8] = std::byte{2};
    EXPECT_EQ(decode_super(bytes).error().code, Errc::not_supported);
    encode_super({.entries = 0, .sector_size = 513}, bytes);
    EXPECT_EQ(decode_super(bytes).error().code, Errc::not_supported);
}

TEST(WriteLogFormat, header_and_text_have_their_places) {
    std::array<std::byte, kHeaderSize> bytes{};
    encode_header({.sector = 1, .sectors = 2, .flags = kMark}, "ab", bytes);
    EXPECT_EQ(bytes[0], std::byte{1});
    EXPECT_EQ(bytes[8], std::byte{2});
    EXPECT_EQ(bytes[16], std::byte{8});
    EXPECT_EQ(bytes[24], std::byte{2});
    EXPECT_EQ(bytes[32], std::byte{'a'});
    EXPECT_EQ(bytes[33], std::byte{'b'});
    EXPECT_EQ(bytes[34], std::byte{0});
}

TEST(WriteLogFormat, header_comes_back) {
    std::array<std::byte, kHeaderSize> bytes{};
    encode_header({.sector = 7, .sectors = 8, .flags = kFua}, "", bytes);
    EXPECT_EQ(decode_header(bytes, 512).value(),
              (Header{.sector = 7, .sectors = 8, .flags = kFua}));
}

TEST(WriteLogFormat, header_with_an_unknown_flag_or_too_long_a_text_is_corrupt) {
    std::array<std::byte, kHeaderSize> bytes{};
    encode_header({.flags = 32}, "", bytes);
    EXPECT_EQ(decode_header(bytes, 512).error().code, Errc::corrupt);
    encode_header({.flags = kMark}, "", bytes);
    bytes[25] = std::byte{2};  // 512 bytes
    EXPECT_EQ(decode_header(bytes, 512).error().code, Errc::corrupt);
}

TEST(WriteLogFormat, only_writes_have_data_behind_their_header) {
    EXPECT_EQ((Header{.sectors = 8}).data_sectors(), 8U);
    EXPECT_EQ((Header{.sectors = 8, .flags = kFua}).data_sectors(), 8U);
    EXPECT_EQ((Header{.sectors = 8, .flags = kDiscard}).data_sectors(), 0U);
    EXPECT_EQ((Header{.flags = kFlush}).data_sectors(), 0U);
}

TEST(WriteLogFormat, sector_size_is_a_power_of_two_within_bounds) {
    EXPECT_TRUE(is_sector_size(512));
    EXPECT_TRUE(is_sector_size(65536));
    EXPECT_FALSE(is_sector_size(256));
    EXPECT_FALSE(is_sector_size(131072));
    EXPECT_FALSE(is_sector_size(1536));
}

TEST(WriteLogFormat, mark_names_the_action_and_the_zone_in_sectors) {
    EXPECT_EQ(mark_text(Op::zone_reset, 1048576), "zone_reset 2048");
    EXPECT_EQ(mark_text(Op::zone_reset_all, 0), "zone_reset_all");
}

}  // namespace
}  // namespace zbdkit::write_log
