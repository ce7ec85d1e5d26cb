// SPDX-License-Identifier: Apache-2.0
// How often each latency occurred, in fixed memory: exact below 256 ns, above that 128 buckets for
// each power of two, so a value is known to within 0.8 %. One thread.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace zbdkit::bench {

class LatencyHistogram {
  public:
    /// @param latency_ns  any
    void add(std::uint64_t latency_ns) {
        ++buckets_[bucket_of(latency_ns)];
        ++count_;
        sum_ns_ += latency_ns;
        if (latency_ns > max_ns_) max_ns_ = latency_ns;
    }

    [[nodiscard]] std::uint64_t count() const { return count_; }
    /// @return ns; 0 if nothing was added. Exact, as the maximum is.
    [[nodiscard]] std::uint64_t mean_ns() const { return count_ == 0 ? 0 : sum_ns_ / count_; }
    [[nodiscard]] std::uint64_t max_ns() const { return max_ns_; }
    /// @param share  0 to 1; 0.99 for p99
    /// @return ns: the middle of the bucket that holds the value which `share` of all do not
    ///         exceed, and at most max_ns(); 0 if nothing was added
    [[nodiscard]] std::uint64_t quantile_ns(double share) const;

  private:
    static constexpr unsigned kExactBits = 8;
    static constexpr std::size_t kPerPower = std::size_t{1} << (kExactBits - 1);
    static constexpr std::size_t kBuckets = 2 * kPerPower + (64 - kExactBits) * kPerPower;

    [[nodiscard]] static std::size_t bucket_of(std::uint64_t value) {
        const unsigned width = static_cast<unsigned>(std::bit_width(value));
        if (width <= kExactBits) return value;
        const unsigned shift = width - kExactBits;
        return shift * kPerPower + (value >> shift);
    }
    [[nodiscard]] static std::uint64_t middle_of(std::size_t bucket);

    std::array<std::uint64_t, kBuckets> buckets_{};
    std::uint64_t count_ = 0;
    std::uint64_t sum_ns_ = 0;
    std::uint64_t max_ns_ = 0;
};

}  // namespace zbdkit::bench
