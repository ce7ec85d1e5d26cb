// SPDX-License-Identifier: Apache-2.0
// How fast requests may go: limits as a person gives them, and the buckets that keep them. Nothing
// here waits or knows the time; throttle_group.h does. Times are nanoseconds of any one clock.
//
// A bucket fills with what requests take (one, or their bytes) and leaks at the rate of its limit.
// While it is fuller than what a burst may take, requests wait.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/error.h"
#include "base/options.h"

namespace zbdkit {

enum class ThrottleDirection : std::uint8_t { read = 0, write = 1 };
inline constexpr std::size_t kThrottleDirections = 2;

/// What is limited, in the order of kThrottleOptions.
enum class ThrottleRate : std::uint8_t {
    iops_total,
    iops_read,
    iops_write,
    bps_total,
    bps_read,
    bps_write,
};
inline constexpr std::size_t kThrottleRates = 6;

/// The largest rate, and the most that a burst may take.
inline constexpr std::uint64_t kMostThrottleRate = 1'000'000'000'000'000;

struct RateLimit {
    std::uint64_t per_second = 0;  ///< requests or bytes on average; 0 = no limit
    std::uint64_t burst = 0;       ///< the same during a burst; 0 = no bursts
    std::uint64_t burst_seconds = 1;
};

struct ThrottleLimits {
    std::array<RateLimit, kThrottleRates> rates{};
    /// Larger requests count as several, in fractions, of this many bytes; 0 = each counts as one.
    std::uint64_t request_size = 0;

    [[nodiscard]] RateLimit& operator[](ThrottleRate rate) {
        return rates[static_cast<std::size_t>(rate)];
    }
};

/// The options of limits, in both spellings that QEMU has.
inline constexpr std::array kThrottleOptions = {
    OptionInfo{"limits.iops-total", "N", "requests a second on average; 0 is no limit (default 0)"},
    OptionInfo{"limits.iops-total-max", "N", "requests a second in a burst (default no bursts)"},
    OptionInfo{"limits.iops-total-max-length", "N",
               "how many seconds a burst may last (default 1)"},
    OptionInfo{"limits.iops-read", "N", "reads a second on average; 0 is no limit (default 0)"},
    OptionInfo{"limits.iops-read-max", "N", "reads a second in a burst (default no bursts)"},
    OptionInfo{"limits.iops-read-max-length", "N", "how many seconds a burst may last (default 1)"},
    OptionInfo{"limits.iops-write", "N",
               "writes, appends and zone actions a second on average; 0 is no limit (default 0)"},
    OptionInfo{"limits.iops-write-max", "N",
               "writes, appends and zone actions a second in a burst (default no bursts)"},
    OptionInfo{"limits.iops-write-max-length", "N",
               "how many seconds a burst may last (default 1)"},
    OptionInfo{"limits.bps-total", "SIZE", "bytes a second on average; 0 is no limit (default 0)"},
    OptionInfo{"limits.bps-total-max", "SIZE", "bytes a second in a burst (default no bursts)"},
    OptionInfo{"limits.bps-total-max-length", "N", "how many seconds a burst may last (default 1)"},
    OptionInfo{"limits.bps-read", "SIZE",
               "bytes read a second on average; 0 is no limit (default 0)"},
    OptionInfo{"limits.bps-read-max", "SIZE", "bytes read a second in a burst (default no bursts)"},
    OptionInfo{"limits.bps-read-max-length", "N", "how many seconds a burst may last (default 1)"},
    OptionInfo{"limits.bps-write", "SIZE",
               "bytes written a second on average; 0 is no limit (default 0)"},
    OptionInfo{"limits.bps-write-max", "SIZE",
               "bytes written a second in a burst (default no bursts)"},
    OptionInfo{"limits.bps-write-max-length", "N", "how many seconds a burst may last (default 1)"},
    OptionInfo{"limits.iops-size", "SIZE",
               "larger requests count as several of this size (default any size is one)"},
    OptionInfo{"x-iops-total", "N", "the same as limits.iops-total"},
    OptionInfo{"x-iops-total-max", "N", "the same as limits.iops-total-max"},
    OptionInfo{"x-iops-total-max-length", "N", "the same as limits.iops-total-max-length"},
    OptionInfo{"x-iops-read", "N", "the same as limits.iops-read"},
    OptionInfo{"x-iops-read-max", "N", "the same as limits.iops-read-max"},
    OptionInfo{"x-iops-read-max-length", "N", "the same as limits.iops-read-max-length"},
    OptionInfo{"x-iops-write", "N", "the same as limits.iops-write"},
    OptionInfo{"x-iops-write-max", "N", "the same as limits.iops-write-max"},
    OptionInfo{"x-iops-write-max-length", "N", "the same as limits.iops-write-max-length"},
    OptionInfo{"x-bps-total", "SIZE", "the same as limits.bps-total"},
    OptionInfo{"x-bps-total-max", "SIZE", "the same as limits.bps-total-max"},
    OptionInfo{"x-bps-total-max-length", "N", "the same as limits.bps-total-max-length"},
    OptionInfo{"x-bps-read", "SIZE", "the same as limits.bps-read"},
    OptionInfo{"x-bps-read-max", "SIZE", "the same as limits.bps-read-max"},
    OptionInfo{"x-bps-read-max-length", "N", "the same as limits.bps-read-max-length"},
    OptionInfo{"x-bps-write", "SIZE", "the same as limits.bps-write"},
    OptionInfo{"x-bps-write-max", "SIZE", "the same as limits.bps-write-max"},
    OptionInfo{"x-bps-write-max-length", "N", "the same as limits.bps-write-max-length"},
    OptionInfo{"x-iops-size", "SIZE", "the same as limits.iops-size"},
};

/// True if one of kThrottleOptions was given.
[[nodiscard]] bool has_throttle_options(const OptionValues& options);

/// Reads the limits. Errors: both spellings of one; a number that is none or too large; a total
/// together with one for reads or writes; a burst without its rate or below it; a burst's length
/// of 0, or without a burst, or too long; a request size without a limit of requests.
[[nodiscard]] Outcome<ThrottleLimits> parse_throttle_limits(const OptionValues& options);

/// One limit and how much of it is used up.
class LeakyBucket {
  public:
    LeakyBucket() = default;
    explicit LeakyBucket(const RateLimit& limit) : limit_(limit) {}

    /// Lets time pass.
    void leak(std::uint64_t elapsed_ns);
    /// @return nanoseconds until it has room again; 0 if it has
    [[nodiscard]] std::uint64_t wait_ns() const;
    /// @param units  requests or bytes; may be more than there is room
    void add(double units);

  private:
    RateLimit limit_;
    double level_ = 0;        ///< leaks at the average rate
    double burst_level_ = 0;  ///< leaks at the burst's rate; only for bursts of several seconds
};

/// All limits of a group.
class ThrottleBuckets {
  public:
    /// @param now_ns  the time
    ThrottleBuckets(const ThrottleLimits& limits, std::uint64_t now_ns);

    /// @return nanoseconds until a request may go; 0 if it may now
    [[nodiscard]] std::uint64_t wait_ns(ThrottleDirection direction, std::uint64_t now_ns);
    /// A request goes. @param bytes  of data, 0 for zone actions
    void charge(ThrottleDirection direction, std::uint64_t bytes);

  private:
    std::array<LeakyBucket, kThrottleRates> buckets_;
    std::uint64_t request_size_;
    std::uint64_t leaked_at_ns_;
};

}  // namespace zbdkit
