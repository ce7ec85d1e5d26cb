// SPDX-License-Identifier: Apache-2.0
#include "bench/latency_histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "bench/random.h"
#include "tests/support/seed.h"

namespace zbdkit::bench {
namespace {

TEST(LatencyHistogram, empty_is_all_zeros) {
    const LatencyHistogram histogram;
    EXPECT_EQ(histogram.count(), 0U);
    EXPECT_EQ(histogram.mean_ns(), 0U);
    EXPECT_EQ(histogram.quantile_ns(0.99), 0U);
}

TEST(LatencyHistogram, small_values_are_exact) {
    LatencyHistogram histogram;
    for (std::uint64_t value = 1; value <= 100; ++value) histogram.add(value);
    EXPECT_EQ(histogram.mean_ns(), 50U);
    EXPECT_EQ(histogram.quantile_ns(0.5), 50U);
    EXPECT_EQ(histogram.quantile_ns(0.99), 99U);
    EXPECT_EQ(histogram.quantile_ns(1), 100U);
    EXPECT_EQ(histogram.max_ns(), 100U);
}

TEST(LatencyHistogram, the_largest_value_has_a_bucket) {
    LatencyHistogram histogram;
    histogram.add(std::numeric_limits<std::uint64_t>::max());
    EXPECT_GT(histogram.quantile_ns(0.5), std::numeric_limits<std::uint64_t>::max() / 100 * 99);
}

TEST(LatencyHistogram, quantiles_are_within_one_percent) {
    Random random(test::seed());
    LatencyHistogram histogram;
    std::vector<std::uint64_t> values;
    for (int i = 0; i < 20'000; ++i) {
        values.push_back(random.next() >> (20 + random.below(40)));
        histogram.add(values.back());
    }
    std::ranges::sort(values);
    for (const auto [share, index] : {std::pair(0.001, 19), std::pair(0.5, 9'999),
                                      std::pair(0.99, 19'799), std::pair(0.999, 19'979)}) {
        const auto exact = static_cast<double>(values[static_cast<std::size_t>(index)]);
        EXPECT_NEAR(static_cast<double>(histogram.quantile_ns(share)), exact, exact / 100) << share;
    }
    EXPECT_EQ(histogram.max_ns(), values.back());
}

}  // namespace
}  // namespace zbdkit::bench
