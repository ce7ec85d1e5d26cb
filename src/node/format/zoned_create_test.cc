// SPDX-License-Identifier: Apache-2.0
#include "node/format/zoned_create.h"

#include <gtest/gtest.h>

#include <string>

namespace zbdkit::zoned {
namespace {

Outcome<NewImage> plan(std::uint64_t size, const std::string& options) {
    if (options.empty()) return plan_image(size, OptionValues("test"));
    return plan_image(size, OptionValues::parse(options, "", "test").value());
}

std::string objection(std::uint64_t size, const std::string& options) {
    return linux_guest_objection(plan(size, options).value());
}

TEST(ZonedCreate, defaults_of_a_large_disk_are_zones_of_256_mib) {
    const NewImage image = plan(16 * kGiB, "").value();
    EXPECT_EQ(image.block_size, 4096U);
    EXPECT_EQ(image.geometry.zone_size, 268435456U);
    EXPECT_EQ(image.geometry.zone_capacity, 268435456U);
    EXPECT_EQ(image.geometry.max_append_bytes, 516096U);
    EXPECT_EQ(image.geometry.model, ZoneModel::host_managed);
    EXPECT_EQ(linux_guest_objection(image), "");
}

TEST(ZonedCreate, small_disk_gets_smaller_zones) {
    EXPECT_EQ(plan(512 * kMiB, "").value().geometry.zone_size, 16777216U);
    EXPECT_EQ(plan(64 * kMiB, "").value().geometry.zone_size, 4194304U);
}

TEST(ZonedCreate, append_limit_follows_a_small_capacity) {
    EXPECT_EQ(plan(kMiB, "zone.size=64K").value().geometry.max_append_bytes, 65536U);
}

TEST(ZonedCreate, unknown_option_and_mode_name_the_nearest) {
    EXPECT_EQ(plan(kGiB, "zone.sise=64M").error().message,
              "test: unknown option 'zone.sise' (did you mean 'zone.size'?)");
    EXPECT_EQ(plan(kGiB, "zone.mode=host-manged").error().message,
              "option 'zone.mode': 'host-manged' is neither host-managed nor host-aware (did you "
              "mean 'host-managed'?)");
}

TEST(ZonedCreate, value_too_large_for_its_field_is_refused) {
    EXPECT_FALSE(plan(kGiB, "zone.max_open_zones=4294967296").has_value());
    EXPECT_FALSE(plan(kGiB, "zone.write_granularity=8G").has_value());
}

/// What the driver of a Linux guest refuses a disk for.
TEST(ZonedCreate, geometry_that_a_linux_guest_refuses_is_objected_to) {
    EXPECT_EQ(objection(kGiB, "zone.size=96M"), "zone.size 96 MiB is no power of two");
    EXPECT_EQ(objection(16384 * kGiB, "zone.size=2T"), "zone.size 2 TiB is 2 TiB or more");
    EXPECT_EQ(objection(kGiB, "zone.max_append_bytes=0"),
              "zone.max_append_bytes is 0: Linux needs zone append");
    EXPECT_EQ(objection(64 * kGiB, "zone.size=8G,zone.max_append_bytes=4G"),
              "zone.max_append_bytes is 4 GiB or more");
    EXPECT_EQ(objection(64 * kMiB, "zone.size=4M,zone.conventional_zones=16"),
              "all zones are conventional");
}

TEST(ZonedCreate, host_aware_disk_is_a_plain_disk_to_linux) {
    EXPECT_EQ(objection(kGiB, "zone.mode=host-aware,zone.size=96M"), "");
}

TEST(ZonedCreate, device_that_is_no_multiple_of_the_granularity_is_refused) {
    EXPECT_NE(plan(kGiB + 512, "").error().message.find("zone.write_granularity"),
              std::string::npos);
}

}  // namespace
}  // namespace zbdkit::zoned
