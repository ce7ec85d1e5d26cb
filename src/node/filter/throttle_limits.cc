// SPDX-License-Identifier: Apache-2.0
#include "node/filter/throttle_limits.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace zbdkit {
namespace {

constexpr std::array<std::string_view, kThrottleRates> kRateNames = {
    "iops-total", "iops-read", "iops-write", "bps-total", "bps-read", "bps-write",
};
std::string_view name_of(ThrottleRate rate) { return kRateNames[static_cast<std::size_t>(rate)]; }
constexpr std::string_view kRequestSize = "iops-size";

bool counts_bytes(ThrottleRate rate) { return rate >= ThrottleRate::bps_total; }

constexpr double kNanosecondsPerSecond = 1e9;
/// A request that fits into a tenth of a second's share need not wait for the one before it.
constexpr double kSmoothing = 0.1;

// --- Reading options ----------------------------------------------------------------------------

/// An option as it was spelled, with its value.
struct Given {
    std::string key;
    std::uint64_t value = 0;
};

/// The options of one set of limits, by their names without a prefix.
class LimitReader {
  public:
    explicit LimitReader(const OptionValues& options) : options_(options) {}

    [[nodiscard]] std::unexpected<Failure> refuse(std::string_view key,
                                                  std::string_view reason) const {
        return failure(fmt::format("{}: option '{}': {}", options_.subject(), key, reason),
                       Errc::not_supported);
    }

    /// @param otherwise  the value if it is not given
    [[nodiscard]] Outcome<Given> number(std::string_view name, std::uint64_t otherwise) const {
        return read(name, [&](std::string_view key) {
            return options_.number(key, otherwise, kMostThrottleRate);
        });
    }
    [[nodiscard]] Outcome<Given> bytes(std::string_view name) const {
        return read(name, [&](std::string_view key) { return options_.size(key, 0); });
    }
    /// The option as it was given: "x-NAME" or "limits.NAME".
    [[nodiscard]] std::string spelling(std::string_view name) const {
        std::string key = fmt::format("x-{}", name);
        return options_.has(key) ? key : fmt::format("limits.{}", name);
    }

  private:
    template <class Read>
    Outcome<Given> read(std::string_view name, Read read_value) const {
        Given given{.key = spelling(name)};
        const std::string other = fmt::format("limits.{}", name);
        if (given.key != other && options_.has(other)) {
            return refuse(given.key, fmt::format("the same as '{}': expected one of them", other));
        }
        const Outcome<std::uint64_t> value = read_value(std::string_view(given.key));
        if (!value) return std::unexpected(value.error());
        given.value = *value;
        if (given.value > kMostThrottleRate) {
            return refuse(given.key,
                          fmt::format("{} is too much: at most {}", *value, kMostThrottleRate));
        }
        return given;
    }

    const OptionValues& options_;
};

/// @param rate, burst, length  of one limit, as they were given
Outcome<void> check_burst(const LimitReader& reader, const Given& rate, const Given& burst,
                          const Given& length) {
    if (length.value == 0) return reader.refuse(length.key, "a burst lasts at least 1 second");
    if (burst.value == 0 && length.value > 1) {
        return reader.refuse(length.key, "the length of a burst needs the burst's rate too");
    }
    if (burst.value == 0) return {};
    if (rate.value == 0) {
        return reader.refuse(burst.key, fmt::format("a burst needs '{}' too", rate.key));
    }
    if (burst.value < rate.value) {
        return reader.refuse(
            burst.key, fmt::format("{} is less than '{}', {}", burst.value, rate.key, rate.value));
    }
    if (length.value > kMostThrottleRate / burst.value) {
        return reader.refuse(
            length.key, fmt::format("{} seconds are too long for a burst of {} "
                                    "a second: at most {}",
                                    length.value, burst.value, kMostThrottleRate / burst.value));
    }
    return {};
}

Outcome<RateLimit> read_rate(const LimitReader& reader, ThrottleRate rate) {
    const std::string name(name_of(rate));
    const auto read = [&](const std::string& option) {
        return counts_bytes(rate) ? reader.bytes(option) : reader.number(option, 0);
    };
    const Outcome<Given> average = read(name);
    if (!average) return std::unexpected(average.error());
    const Outcome<Given> burst = read(name + "-max");
    if (!burst) return std::unexpected(burst.error());
    const Outcome<Given> length = reader.number(name + "-max-length", 1);
    if (!length) return std::unexpected(length.error());
    if (const Outcome<void> sane = check_burst(reader, *average, *burst, *length); !sane) {
        return std::unexpected(sane.error());
    }
    return RateLimit{
        .per_second = average->value, .burst = burst->value, .burst_seconds = length->value};
}

Outcome<void> check_totals(const LimitReader& reader, const ThrottleLimits& limits) {
    const auto is_set = [&](ThrottleRate rate) {
        return limits.rates[static_cast<std::size_t>(rate)].per_second != 0;
    };
    struct Conflict {
        ThrottleRate total;
        ThrottleRate part;
    };
    using enum ThrottleRate;
    for (const Conflict conflict : {Conflict{iops_total, iops_read},
                                    {iops_total, iops_write},
                                    {bps_total, bps_read},
                                    {bps_total, bps_write}}) {
        if (!is_set(conflict.total) || !is_set(conflict.part)) continue;
        return reader.refuse(reader.spelling(name_of(conflict.part)),
                             fmt::format("not together with '{}': expected a total, or reads and "
                                         "writes",
                                         reader.spelling(name_of(conflict.total))));
    }
    const bool counts_requests = is_set(iops_total) || is_set(iops_read) || is_set(iops_write);
    if (limits.request_size != 0 && !counts_requests) {
        return reader.refuse(reader.spelling(kRequestSize),
                             "a size of requests needs a limit of requests too");
    }
    return {};
}

// --- Buckets ------------------------------------------------------------------------------------

std::uint64_t time_to_leak(double units, std::uint64_t per_second) {
    constexpr double kLongest = 9e18;  // what 63 bits can hold
    const double wait = units * kNanosecondsPerSecond / static_cast<double>(per_second);
    return static_cast<std::uint64_t>(std::min(std::ceil(wait), kLongest));
}

constexpr ThrottleRate kAllRates[] = {
    ThrottleRate::iops_total, ThrottleRate::iops_read, ThrottleRate::iops_write,
    ThrottleRate::bps_total,  ThrottleRate::bps_read,  ThrottleRate::bps_write,
};

/// Whether requests of that direction count for the limit.
bool concerns(ThrottleRate rate, ThrottleDirection direction) {
    switch (rate) {
        case ThrottleRate::iops_total:
        case ThrottleRate::bps_total: return true;
        case ThrottleRate::iops_read:
        case ThrottleRate::bps_read: return direction == ThrottleDirection::read;
        case ThrottleRate::iops_write:
        case ThrottleRate::bps_write: return direction == ThrottleDirection::write;
    }
    std::unreachable();
}

}  // namespace

bool has_throttle_options(const OptionValues& options) {
    return std::ranges::any_of(kThrottleOptions,
                               [&](const OptionInfo& option) { return options.has(option.name); });
}

Outcome<ThrottleLimits> parse_throttle_limits(const OptionValues& options) {
    const LimitReader reader(options);
    ThrottleLimits limits;
    for (const ThrottleRate rate : kAllRates) {
        const Outcome<RateLimit> limit = read_rate(reader, rate);
        if (!limit) return std::unexpected(limit.error());
        limits[rate] = *limit;
    }
    const Outcome<Given> request_size = reader.bytes(kRequestSize);
    if (!request_size) return std::unexpected(request_size.error());
    limits.request_size = request_size->value;
    if (const Outcome<void> sane = check_totals(reader, limits); !sane) {
        return std::unexpected(sane.error());
    }
    return limits;
}

void LeakyBucket::leak(std::uint64_t elapsed_ns) {
    const double seconds = static_cast<double>(elapsed_ns) / kNanosecondsPerSecond;
    level_ = std::max(0.0, level_ - static_cast<double>(limit_.per_second) * seconds);
    burst_level_ = std::max(0.0, burst_level_ - static_cast<double>(limit_.burst) * seconds);
}

std::uint64_t LeakyBucket::wait_ns() const {
    if (limit_.per_second == 0) return 0;
    const auto average = static_cast<double>(limit_.per_second);
    const auto burst = static_cast<double>(limit_.burst);
    const double room = limit_.burst == 0 ? average * kSmoothing
                                          : burst * static_cast<double>(limit_.burst_seconds);
    if (level_ > room) return time_to_leak(level_ - room, limit_.per_second);
    // Within a burst of several seconds the burst's own rate is the limit.
    const double burst_room = burst * kSmoothing;
    if (limit_.burst_seconds > 1 && burst_level_ > burst_room) {
        return time_to_leak(burst_level_ - burst_room, limit_.burst);
    }
    return 0;
}

void LeakyBucket::add(double units) {
    level_ += units;
    burst_level_ += units;
}

ThrottleBuckets::ThrottleBuckets(const ThrottleLimits& limits, std::uint64_t now_ns)
    : request_size_(limits.request_size), leaked_at_ns_(now_ns) {
    std::ranges::transform(limits.rates, buckets_.begin(),
                           [](const RateLimit& limit) { return LeakyBucket(limit); });
}

std::uint64_t ThrottleBuckets::wait_ns(ThrottleDirection direction, std::uint64_t now_ns) {
    for (LeakyBucket& bucket : buckets_) bucket.leak(now_ns - leaked_at_ns_);
    leaked_at_ns_ = now_ns;
    std::uint64_t longest = 0;
    for (const ThrottleRate rate : kAllRates) {
        if (!concerns(rate, direction)) continue;
        longest = std::max(longest, buckets_[static_cast<std::size_t>(rate)].wait_ns());
    }
    return longest;
}

void ThrottleBuckets::charge(ThrottleDirection direction, std::uint64_t bytes) {
    const auto size = static_cast<double>(bytes);
    const double requests = request_size_ != 0 && bytes > request_size_
                                ? size / static_cast<double>(request_size_)
                                : 1.0;
    for (const ThrottleRate rate : kAllRates) {
        if (!concerns(rate, direction)) continue;
        buckets_[static_cast<std::size_t>(rate)].add(counts_bytes(rate) ? size : requests);
    }
}

}  // namespace zbdkit
