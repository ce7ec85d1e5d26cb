// SPDX-License-Identifier: Apache-2.0
#include "bench/latency_histogram.h"

#include <algorithm>
#include <cmath>

namespace zbdkit::bench {

std::uint64_t LatencyHistogram::middle_of(std::size_t bucket) {
    if (bucket < 2 * kPerPower) return bucket;
    const std::size_t shift = bucket / kPerPower - 1;
    const std::uint64_t first = (bucket - shift * kPerPower) << shift;
    return first + (std::uint64_t{1} << shift) / 2;
}

std::uint64_t LatencyHistogram::quantile_ns(double share) const {
    if (count_ == 0) return 0;
    const double exact = std::ceil(share * static_cast<double>(count_));
    const std::uint64_t rank =
        std::clamp(static_cast<std::uint64_t>(exact), std::uint64_t{1}, count_);
    std::uint64_t seen = 0;
    for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
        seen += buckets_[bucket];
        if (seen >= rank) return std::min(middle_of(bucket), max_ns_);
    }
    return max_ns_;
}

}  // namespace zbdkit::bench
