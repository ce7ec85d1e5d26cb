// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <gtest/gtest.h>

#include <string>

namespace zbdkit {
namespace {

constexpr std::uint64_t kInterval = 1000;

TEST(LogLimiter, burst_passes) {
    LogLimiter limiter(3, kInterval);
    EXPECT_TRUE(limiter.allow(1));
    EXPECT_TRUE(limiter.allow(1));
    EXPECT_TRUE(limiter.allow(1));
    EXPECT_EQ(limiter.take_suppressed(), 0U);
}

TEST(LogLimiter, message_after_the_burst_is_held_back_and_counted) {
    LogLimiter limiter(1, kInterval);
    EXPECT_TRUE(limiter.allow(1));
    EXPECT_FALSE(limiter.allow(2));
    EXPECT_FALSE(limiter.allow(1000));
    EXPECT_EQ(limiter.take_suppressed(), 2U);
    EXPECT_EQ(limiter.take_suppressed(), 0U);
}

TEST(LogLimiter, one_message_an_interval_passes) {
    LogLimiter limiter(1, kInterval);
    EXPECT_TRUE(limiter.allow(1));
    EXPECT_TRUE(limiter.allow(1001));
    EXPECT_FALSE(limiter.allow(1002));
    EXPECT_FALSE(limiter.allow(2000));
    EXPECT_TRUE(limiter.allow(2001));
}

TEST(LogLimiter, without_burst_the_first_message_passes) {
    LogLimiter limiter(0, kInterval);
    EXPECT_TRUE(limiter.allow(0));
    EXPECT_FALSE(limiter.allow(0));
}

TEST(LogLimiter, next_message_says_how_many_were_held_back) {
    LogLimiter limiter(1, kInterval);
    EXPECT_TRUE(limiter.allow(1));
    EXPECT_EQ(limiter.and_more(), "");
    EXPECT_FALSE(limiter.allow(2));
    EXPECT_FALSE(limiter.allow(3));
    EXPECT_FALSE(limiter.allow(4));
    EXPECT_TRUE(limiter.allow(1001));
    EXPECT_EQ(limiter.and_more(), " (and 3 more)");
    EXPECT_EQ(limiter.and_more(), "");
    EXPECT_EQ(limiter.take_suppressed(), 0U);
}

TEST(InitLog, messages_of_the_level_go_to_stderr) {
    testing::internal::CaptureStderr();
    init_log(spdlog::level::warn);
    spdlog::info("not this");
    spdlog::warn("but this");
    spdlog::default_logger()->flush();
    const std::string text = testing::internal::GetCapturedStderr();
    EXPECT_EQ(text.find("not this"), std::string::npos);
    EXPECT_TRUE(text.starts_with("zbdkit: "));
    EXPECT_TRUE(text.ends_with("warning: but this\n"));
}

}  // namespace
}  // namespace zbdkit
