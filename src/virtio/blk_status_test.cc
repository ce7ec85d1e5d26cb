// SPDX-License-Identifier: Apache-2.0
#include "virtio/blk_status.h"

#include <gtest/gtest.h>

namespace zbdkit {
namespace {

unsigned zoned(Errc code) { return static_cast<unsigned>(blk_status_of(code, true)); }
unsigned plain(Errc code) { return static_cast<unsigned>(blk_status_of(code, false)); }

TEST(BlkStatus, zone_errors_are_told_apart) {
    EXPECT_EQ(zoned(Errc::zone_invalid), 3U);
    EXPECT_EQ(zoned(Errc::zone_unaligned_wp), 4U);
    EXPECT_EQ(zoned(Errc::zone_open_limit), 5U);
    EXPECT_EQ(zoned(Errc::zone_active_limit), 6U);
}

TEST(BlkStatus, zone_errors_without_zoned_are_io_errors) {
    EXPECT_EQ(plain(Errc::zone_invalid), 1U);
    EXPECT_EQ(plain(Errc::zone_unaligned_wp), 1U);
    EXPECT_EQ(plain(Errc::zone_open_limit), 1U);
    EXPECT_EQ(plain(Errc::zone_active_limit), 1U);
}

TEST(BlkStatus, unsupported_is_unsupp) {
    EXPECT_EQ(zoned(Errc::not_supported), 2U);
    EXPECT_EQ(plain(Errc::not_supported), 2U);
}

TEST(BlkStatus, everything_else_is_an_io_error) {
    EXPECT_EQ(zoned(Errc::io), 1U);
    EXPECT_EQ(zoned(Errc::no_space), 1U);
    EXPECT_EQ(zoned(Errc::read_only), 1U);
    EXPECT_EQ(zoned(Errc::out_of_range), 1U);
    EXPECT_EQ(zoned(Errc::misaligned), 1U);
    EXPECT_EQ(zoned(Errc::corrupt), 1U);
    EXPECT_EQ(zoned(Errc::shutting_down), 1U);
}

TEST(BlkStatus, names_are_those_of_the_specification) {
    EXPECT_STREQ(blk_status_name(BlkStatus::ok), "OK");
    EXPECT_STREQ(blk_status_name(BlkStatus::io_error), "IOERR");
    EXPECT_STREQ(blk_status_name(BlkStatus::unsupported), "UNSUPP");
    EXPECT_STREQ(blk_status_name(BlkStatus::zone_invalid_cmd), "ZONE_INVALID_CMD");
    EXPECT_STREQ(blk_status_name(BlkStatus::zone_unaligned_wp), "ZONE_UNALIGNED_WP");
    EXPECT_STREQ(blk_status_name(BlkStatus::zone_open_resource), "ZONE_OPEN_RESOURCE");
    EXPECT_STREQ(blk_status_name(BlkStatus::zone_active_resource), "ZONE_ACTIVE_RESOURCE");
}

}  // namespace
}  // namespace zbdkit
