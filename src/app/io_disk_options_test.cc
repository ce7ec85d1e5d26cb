// SPDX-License-Identifier: Apache-2.0
#include "app/io_disk_options.h"

#include <gtest/gtest.h>

#include <string>

namespace zbdkit::app {
namespace {

constexpr const char* kNowhere = "/nonexistent/disk";

IoOpening opening_of(std::string driver) {
    IoOpening opening{.filename = kNowhere, .options = OptionValues("node options")};
    if (!driver.empty()) opening.options.replace("driver", std::move(driver));
    return opening;
}

TEST(IoOpening, file_name_goes_below_a_format) {
    const Outcome<IoPlan> plan = plan_io_opening(opening_of("raw"));
    ASSERT_TRUE(plan.has_value());
    EXPECT_EQ(plan->options.text("driver"), "raw");
    EXPECT_EQ(plan->options.text("file.driver"), "file");
    EXPECT_EQ(plan->options.text("file.filename"), kNowhere);
    EXPECT_FALSE(plan->guessed_raw);
}

TEST(IoOpening, file_name_goes_to_a_protocol_itself) {
    const Outcome<IoPlan> plan = plan_io_opening(opening_of("file"));
    ASSERT_TRUE(plan.has_value());
    EXPECT_EQ(plan->options.text("filename"), kNowhere);
    EXPECT_FALSE(plan->options.has("file.driver"));
}

TEST(IoOpening, child_that_was_named_is_kept) {
    IoOpening opening = opening_of("raw");
    opening.options.replace("file.driver", "host_device");
    const Outcome<IoPlan> plan = plan_io_opening(opening);
    ASSERT_TRUE(plan.has_value());
    EXPECT_EQ(plan->options.text("file.driver"), "host_device");
    EXPECT_EQ(plan->options.text("file.filename"), kNowhere);
}

TEST(IoOpening, unknown_file_is_taken_as_raw) {
    const Outcome<IoPlan> plan = plan_io_opening(opening_of(""));
    ASSERT_TRUE(plan.has_value());
    EXPECT_EQ(plan->options.text("driver"), "raw");
    EXPECT_TRUE(plan->guessed_raw);
}

TEST(IoOpening, driver_without_a_file_is_refused) {
    const Outcome<IoPlan> plan = plan_io_opening(opening_of("memory"));
    ASSERT_FALSE(plan.has_value());
    EXPECT_EQ(plan.error().message,
              "driver 'memory' takes no file name: expected --image-opts with its options");
}

TEST(IoOpening, address_without_a_driver_is_to_be_looked_at) {
    IoOpening opening{.filename = "rbd:pool/disk", .options = OptionValues("node options")};
    EXPECT_TRUE(needs_probe(opening));
    opening.options.replace("driver", "raw");
    EXPECT_FALSE(needs_probe(opening));
}

TEST(IoOpening, rbd_name_goes_below_the_format_that_was_named) {
    IoOpening opening{.filename = "rbd:pool/disk", .options = OptionValues("node options")};
    opening.options.replace("driver", "raw");
    const Outcome<IoPlan> plan = plan_io_opening(opening);
    ASSERT_TRUE(plan.has_value());
    EXPECT_EQ(plan->options.text("driver"), "raw");
    EXPECT_EQ(plan->options.text("file.pool"), "pool");
    EXPECT_FALSE(plan->options.has("file.filename"));
}

TEST(IoOpening, rbd_name_for_another_protocol_is_refused) {
    IoOpening opening{.filename = "rbd:pool/disk", .options = OptionValues("node options")};
    opening.options.replace("driver", "file");
    const Outcome<IoPlan> plan = plan_io_opening(opening);
    ASSERT_FALSE(plan.has_value());
    EXPECT_EQ(plan.error().message, "driver 'file' cannot open what driver 'rbd' names");
}

TEST(IoOpening, whole_graphs_are_left_as_they_are) {
    IoOpening opening{.options = OptionValues("node options")};
    opening.options.replace("driver", "memory");
    const Outcome<IoPlan> plan = plan_io_opening(opening);
    ASSERT_TRUE(plan.has_value());
    EXPECT_EQ(plan->options.items().size(), 1U);
}

struct CacheCase {
    IoCache cache;
    const char* direct;  ///< what the file's option becomes; "" if it is not set
};

class IoCacheMode : public testing::TestWithParam<CacheCase> {};

TEST_P(IoCacheMode, mode_decides_about_the_page_cache) {
    IoOpening opening = opening_of("raw");
    opening.cache = GetParam().cache;
    const Outcome<IoPlan> plan = plan_io_opening(opening);
    ASSERT_TRUE(plan.has_value());
    EXPECT_EQ(plan->options.text("file.cache.direct"), GetParam().direct);
}

INSTANTIATE_TEST_SUITE_P(
    Modes, IoCacheMode,
    testing::Values(CacheCase{IoCache::as_driver, ""}, CacheCase{IoCache::none, "on"},
                    CacheCase{IoCache::direct_sync, "on"}, CacheCase{IoCache::write_back, "off"},
                    CacheCase{IoCache::write_through, "off"}, CacheCase{IoCache::unsafe, "off"}));

TEST(IoOpening, explicit_cache_option_wins_over_the_mode) {
    IoOpening opening = opening_of("raw");
    opening.options.replace("file.driver", "file");
    opening.options.replace("file.cache.direct", "off");
    opening.cache = IoCache::none;
    const Outcome<IoPlan> plan = plan_io_opening(opening);
    ASSERT_TRUE(plan.has_value());
    EXPECT_EQ(plan->options.text("file.cache.direct"), "off");
}

TEST(IoOpening, reading_only_switches_all_nodes_and_may_do_without_the_lock) {
    IoOpening opening = opening_of("zoned");
    opening.read_only = true;
    opening.force_share = true;
    const Outcome<IoPlan> plan = plan_io_opening(opening);
    ASSERT_TRUE(plan.has_value());
    EXPECT_EQ(plan->options.text("read-only"), "on");
    EXPECT_EQ(plan->options.text("file.read-only"), "on");
    EXPECT_EQ(plan->options.text("file.locking"), "off");
}

TEST(IoOpening, writing_needs_the_lock) {
    IoOpening opening = opening_of("raw");
    opening.force_share = true;
    const Outcome<IoPlan> plan = plan_io_opening(opening);
    ASSERT_FALSE(plan.has_value());
    EXPECT_EQ(plan.error().message, "force-share=on can only be used with read-only images");
}

TEST(IoModes, words_are_those_of_qemu_io) {
    EXPECT_EQ(parse_io_cache("none").value(), IoCache::none);
    EXPECT_EQ(parse_io_cache("writethrough").value(), IoCache::write_through);
    EXPECT_EQ(parse_io_cache("fast").error().message, "Invalid cache option: fast");
    EXPECT_FALSE(parse_io_discard("ignore").value());
    EXPECT_TRUE(parse_io_discard("unmap").value());
    EXPECT_EQ(parse_io_discard("maybe").error().message, "Invalid discard option: maybe");
    EXPECT_TRUE(check_io_aio_mode("native").has_value());
    EXPECT_EQ(check_io_aio_mode("posix").error().message, "Invalid aio option: posix");
}

}  // namespace
}  // namespace zbdkit::app
