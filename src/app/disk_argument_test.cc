// SPDX-License-Identifier: Apache-2.0
#include "app/disk_argument.h"

#include <gtest/gtest.h>

namespace zbdkit::app {
namespace {

TEST(DiskArgument, file_name_is_a_zoned_image) {
    const Outcome<OptionValues> options =
        disk_options({.filename = "d", .image_opts = ""}, Access::serve);
    ASSERT_TRUE(options);
    EXPECT_EQ(options->text("driver"), "zoned");
    EXPECT_EQ(options->text("file.filename"), "d");
    EXPECT_FALSE(options->has("file.read-only"));
}

TEST(DiskArgument, address_is_where_a_zoned_image_is) {
    const Outcome<OptionValues> options =
        disk_options({.filename = "nbd://host/disk", .image_opts = ""}, Access::look);
    ASSERT_TRUE(options);
    EXPECT_EQ(options->text("driver"), "zoned");
    EXPECT_EQ(options->text("read-only"), "on");
    EXPECT_EQ(options->text("file.driver"), "nbd");
    EXPECT_EQ(options->text("file.uri"), "nbd://host/disk");
    EXPECT_EQ(options->text("file.read-only"), "on");
    EXPECT_FALSE(options->has("file.locking"));
    EXPECT_FALSE(options->has("file.filename"));
}

TEST(DiskArgument, looking_switches_read_only_on_where_a_driver_has_it) {
    const Outcome<OptionValues> options =
        disk_options({.filename = "", .image_opts = "driver=zoned,file.driver=memory,file.size=1M"},
                     Access::look);
    ASSERT_TRUE(options);
    EXPECT_EQ(options->text("read-only"), "on");
    EXPECT_FALSE(options->has("file.read-only"));
}

TEST(DiskArgument, what_the_options_say_stays) {
    const Outcome<OptionValues> options =
        disk_options({.filename = "",
                      .image_opts = "driver=zoned,read-only=off,file.driver=file,file.filename=d"},
                     Access::look);
    ASSERT_TRUE(options);
    EXPECT_EQ(options->text("read-only"), "off");
    EXPECT_EQ(options->text("file.read-only"), "on");
}

TEST(DiskArgument, rbd_name_is_a_zoned_image_on_that_protocol) {
    const Outcome<OptionValues> options =
        disk_options({.filename = "rbd:pool/disk:id=me", .image_opts = ""}, Access::serve);
    ASSERT_TRUE(options);
    EXPECT_EQ(options->text("driver"), "zoned");
    EXPECT_EQ(options->text("file.driver"), "rbd");
    EXPECT_EQ(options->text("file.pool"), "pool");
    EXPECT_EQ(options->text("file.image"), "disk");
    EXPECT_EQ(options->text("file.user"), "me");
    EXPECT_FALSE(options->has("read-only"));
}

TEST(DiskArgument, looking_at_an_rbd_name_is_read_only) {
    const Outcome<OptionValues> options =
        disk_options({.filename = "rbd:pool/disk", .image_opts = ""}, Access::look);
    ASSERT_TRUE(options);
    EXPECT_EQ(options->text("read-only"), "on");
    EXPECT_EQ(options->text("file.read-only"), "on");
}

TEST(DiskArgument, rbd_name_that_is_none_is_refused) {
    EXPECT_FALSE(disk_options({.filename = "rbd:pool", .image_opts = ""}, Access::serve));
}

TEST(DiskArgument, neither_or_both_are_refused) {
    EXPECT_FALSE(disk_options({}, Access::look));
    EXPECT_FALSE(disk_options({.filename = "d", .image_opts = "driver=null"}, Access::look));
}

}  // namespace
}  // namespace zbdkit::app
