// SPDX-License-Identifier: Apache-2.0
#include "node/filter/throttle_limits.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "base/units.h"

namespace zbdkit {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kMillisecond = 1'000'000;
using enum ThrottleRate;
using enum ThrottleDirection;

Outcome<ThrottleLimits> parse(std::string_view text) {
    return parse_throttle_limits(OptionValues::parse(text, "", "object 'tg0'").value());
}

/// @return how many requests may go at once at `now_ns`, up to 1000
int requests_at(ThrottleBuckets& buckets, ThrottleDirection direction, std::uint64_t now_ns,
                std::uint64_t bytes = 512) {
    int requests = 0;
    for (; requests < 1000 && buckets.wait_ns(direction, now_ns) == 0; ++requests) {
        buckets.charge(direction, bytes);
    }
    return requests;
}

// --- Options ------------------------------------------------------------------------------------

TEST(ThrottleLimits, both_spellings_are_read) {
    Outcome<ThrottleLimits> limits = parse(
        "x-iops-read=100,limits.iops-write=50,limits.bps-total=1M,x-bps-total-max=4M,"
        "x-bps-total-max-length=10,x-iops-size=4k");
    ASSERT_TRUE(limits.has_value()) << limits.error().message;
    EXPECT_EQ((*limits)[iops_read].per_second, 100U);
    EXPECT_EQ((*limits)[iops_write].per_second, 50U);
    EXPECT_EQ((*limits)[iops_total].per_second, 0U);
    EXPECT_EQ((*limits)[bps_total].per_second, 1048576U);
    EXPECT_EQ((*limits)[bps_total].burst, 4194304U);
    EXPECT_EQ((*limits)[bps_total].burst_seconds, 10U);
    EXPECT_EQ(limits->request_size, 4096U);
}

struct Refusal {
    std::string_view options;
    std::string_view message;
};

class ThrottleRefusal : public testing::TestWithParam<Refusal> {};

TEST_P(ThrottleRefusal, option_and_reason_are_said) {
    const Outcome<ThrottleLimits> limits = parse(GetParam().options);
    ASSERT_FALSE(limits.has_value());
    EXPECT_EQ(limits.error().message, "object 'tg0': " + std::string(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Limits, ThrottleRefusal,
    testing::Values(
        Refusal{"x-iops-total=-1",
                "option 'x-iops-total': '-1' is not a whole number from 0 to 1000000000000000"},
        Refusal{"x-iops-total=1000000000000001",
                "option 'x-iops-total': '1000000000000001' is not a whole number from 0 to "
                "1000000000000000"},
        Refusal{"x-iops-total=1.5",
                "option 'x-iops-total': '1.5' is not a whole number from 0 to 1000000000000000"},
        Refusal{"limits.bps-read=1P",
                "option 'limits.bps-read': 1125899906842624 is too much: at most "
                "1000000000000000"},
        Refusal{"limits.iops-total=5,x-iops-total=5",
                "option 'x-iops-total': the same as 'limits.iops-total': expected one of them"},
        Refusal{
            "x-iops-total=5,x-iops-read=5",
            "option 'x-iops-read': not together with 'x-iops-total': expected a total, or reads "
            "and writes"},
        Refusal{"x-bps-total=5,x-bps-write=5",
                "option 'x-bps-write': not together with 'x-bps-total': expected a total, or reads "
                "and writes"},
        Refusal{"x-iops-total=100,x-iops-total-max=50",
                "option 'x-iops-total-max': 50 is less than 'x-iops-total', 100"},
        Refusal{"x-iops-total-max=50",
                "option 'x-iops-total-max': a burst needs 'limits.iops-total' too"},
        Refusal{"x-iops-total=5,x-iops-total-max=50,x-iops-total-max-length=0",
                "option 'x-iops-total-max-length': a burst lasts at least 1 second"},
        Refusal{"x-iops-total=5,x-iops-total-max-length=2",
                "option 'x-iops-total-max-length': the length of a burst needs the burst's rate "
                "too"},
        Refusal{"x-bps-total=1,x-bps-total-max=1000000,x-bps-total-max-length=1000000001",
                "option 'x-bps-total-max-length': 1000000001 seconds are too long for a burst of "
                "1000000 a second: at most 1000000000"},
        Refusal{"x-iops-size=4k",
                "option 'x-iops-size': a size of requests needs a limit of requests too"}));

// --- Buckets ------------------------------------------------------------------------------------

ThrottleBuckets buckets_of(std::string_view options) {
    return ThrottleBuckets(parse(options).value(), 0);
}

TEST(ThrottleBuckets, without_limits_everything_goes) {
    ThrottleBuckets buckets = buckets_of("x-iops-total=0");
    EXPECT_EQ(requests_at(buckets, write, 0, kMiB), 1000);
}

TEST(ThrottleBuckets, first_request_goes_at_once_and_the_next_after_its_share_of_a_second) {
    ThrottleBuckets buckets = buckets_of("x-iops-total=1");
    EXPECT_EQ(requests_at(buckets, write, 0), 1);
    EXPECT_EQ(buckets.wait_ns(write, 0), 900 * kMillisecond);
    EXPECT_EQ(requests_at(buckets, write, 900 * kMillisecond), 1);
    EXPECT_EQ(buckets.wait_ns(write, 900 * kMillisecond), kSecond);
}

TEST(ThrottleBuckets, average_rate_is_kept_over_time) {
    ThrottleBuckets buckets = buckets_of("x-iops-total=100");
    int requests = 0;
    for (std::uint64_t now = 0; now < 10 * kSecond; now += kMillisecond) {
        requests += requests_at(buckets, read, now);
    }
    EXPECT_NEAR(requests, 1000, 11);  // a tenth of a second's share goes ahead
}

TEST(ThrottleBuckets, bytes_count_for_byte_limits) {
    ThrottleBuckets buckets = buckets_of("x-bps-write=1M");
    buckets.charge(write, 2 * kMiB);
    EXPECT_EQ(buckets.wait_ns(write, 0), 1900 * kMillisecond);
    EXPECT_EQ(buckets.wait_ns(read, 0), 0U);
}

TEST(ThrottleBuckets, total_counts_reads_and_writes) {
    ThrottleBuckets buckets = buckets_of("x-iops-total=10");
    buckets.charge(read, 512);
    buckets.charge(write, 512);
    EXPECT_EQ(buckets.wait_ns(read, 0), 100 * kMillisecond);
    EXPECT_EQ(buckets.wait_ns(write, 0), 100 * kMillisecond);
}

TEST(ThrottleBuckets, strictest_limit_holds) {
    ThrottleBuckets buckets = buckets_of("x-iops-write=10,x-bps-write=1k");
    buckets.charge(write, 1024);
    EXPECT_EQ(buckets.wait_ns(write, 0), 900 * kMillisecond);
}

TEST(ThrottleBuckets, larger_requests_count_as_several) {
    ThrottleBuckets buckets = buckets_of("x-iops-total=10,x-iops-size=4k");
    buckets.charge(write, 6 * kKiB);
    EXPECT_EQ(buckets.wait_ns(write, 0), 50 * kMillisecond);
    buckets.charge(write, 512);
    EXPECT_EQ(buckets.wait_ns(write, 0), 150 * kMillisecond);
}

TEST(ThrottleBuckets, burst_of_one_second_goes_at_once) {
    ThrottleBuckets buckets = buckets_of("x-iops-total=10,x-iops-total-max=50");
    EXPECT_EQ(requests_at(buckets, write, 0), 51);
    EXPECT_EQ(buckets.wait_ns(write, 0), 100 * kMillisecond);
}

TEST(ThrottleBuckets, longer_burst_goes_at_its_own_rate_and_then_at_the_average) {
    ThrottleBuckets buckets =
        buckets_of("x-iops-total=10,x-iops-total-max=100,x-iops-total-max-length=3");
    int in_burst = 0;
    for (std::uint64_t now = 0; now < 3 * kSecond; now += kMillisecond) {
        in_burst += requests_at(buckets, write, now);
    }
    EXPECT_NEAR(in_burst, 300, 15);
    int in_the_next_ten_seconds = 0;
    for (std::uint64_t now = 3 * kSecond; now < 13 * kSecond; now += kMillisecond) {
        in_the_next_ten_seconds += requests_at(buckets, write, now);
    }
    EXPECT_NEAR(in_the_next_ten_seconds, 100, 40);
}

TEST(ThrottleBuckets, wait_of_the_largest_request_does_not_overflow) {
    ThrottleBuckets buckets = buckets_of("x-bps-write=1");
    buckets.charge(write, kMaxOffset);
    EXPECT_EQ(buckets.wait_ns(write, 0), 9'000'000'000'000'000'000U);
}

}  // namespace
}  // namespace zbdkit
