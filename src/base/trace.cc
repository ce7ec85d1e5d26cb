// SPDX-License-Identifier: Apache-2.0
#include "base/trace.h"

#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/text.h"

namespace zbdkit {

extern "C" {
#define ZBDKIT_POINT(name, ...) \
    [[gnu::section(".probes"),  \
      gnu::visibility("hidden")]] std::uint16_t zbdkit_##name##_semaphore = 0;
ZBDKIT_TRACE_POINTS(ZBDKIT_POINT)
#undef ZBDKIT_POINT
}

namespace {

template <TracePoint point>
constexpr std::array<TraceArgument, 0> kArguments{};
#define ZBDKIT_POINT(name, when, ...) \
    template <>                       \
    constexpr auto kArguments<TracePoint::name> = std::to_array<TraceArgument>({__VA_ARGS__});
ZBDKIT_TRACE_POINTS(ZBDKIT_POINT)
#undef ZBDKIT_POINT

constexpr auto kPoints = std::to_array<TracePointInfo>({
#define ZBDKIT_POINT(name, when, ...) {#name, when, kArguments<TracePoint::name>},
    ZBDKIT_TRACE_POINTS(ZBDKIT_POINT)
#undef ZBDKIT_POINT
});

std::uint16_t& semaphore_of(std::size_t index) {
    static constexpr std::array<std::uint16_t*, kPoints.size()> kSemaphores = {
#define ZBDKIT_POINT(name, ...) &zbdkit_##name##_semaphore,
        ZBDKIT_TRACE_POINTS(ZBDKIT_POINT)
#undef ZBDKIT_POINT
    };
    return *kSemaphores.at(index);
}

/// Which points the log listens to.
std::array<std::atomic<bool>, kPoints.size()> logged_points;

void set_logged(std::size_t index, bool logged) {
    if (logged_points.at(index).exchange(logged) == logged) return;
    // Tracers count themselves in the same place, the kernel on their behalf.
    std::atomic_ref<std::uint16_t> listeners(semaphore_of(index));
    if (logged) {
        ++listeners;
    } else {
        --listeners;
    }
}

/// Whether all of `name` fits a pattern of characters, "*" (any, also none) and "?" (any one).
bool fits(std::string_view pattern, std::string_view name) {
    std::size_t at = 0;
    std::size_t in = 0;
    std::size_t star = std::string_view::npos;  // the last one met
    std::size_t retry = 0;                      // where what follows it is tried next
    while (in < name.size()) {
        if (at < pattern.size() && (pattern[at] == '?' || pattern[at] == name[in])) {
            ++at;
            ++in;
        } else if (at < pattern.size() && pattern[at] == '*') {
            star = at++;
            retry = in;
        } else if (star != std::string_view::npos) {
            at = star + 1;
            in = ++retry;
        } else {
            return false;
        }
    }
    return pattern.find_first_not_of('*', at) == std::string_view::npos;
}

std::unexpected<Failure> unknown_point(std::string_view pattern) {
    std::vector<std::string_view> names;
    for (const TracePointInfo& point : kPoints) names.push_back(point.name);
    return failure(fmt::format("no trace point fits '{}'{}: known are {}", pattern,
                               did_you_mean(pattern, names), fmt::join(names, ", ")),
                   Errc::not_supported);
}

std::string format_value(const TraceValue& value, std::string_view unit) {
    if (value.text == nullptr) {
        return unit == "bits" ? fmt::format("{:#x}", value.number) : fmt::to_string(value.number);
    }
    const std::string_view text = value.text;
    const bool is_one_word = !text.empty() && text.find(' ') == std::string_view::npos;
    return is_one_word ? std::string(text) : fmt::format("'{}'", text);
}

}  // namespace

std::span<const TracePointInfo> trace_points() { return kPoints; }

Outcome<void> enable_trace(std::string_view pattern) {
    constexpr std::string_view kEnable = "enable=";
    std::string_view glob = pattern;
    if (glob.starts_with(kEnable)) glob.remove_prefix(kEnable.size());
    if (glob.find('=') != std::string_view::npos) {
        return failure(fmt::format("trace pattern '{}': expected [enable=]PATTERN", pattern),
                       Errc::not_supported);
    }
    bool fits_any = false;
    for (std::size_t i = 0; i < kPoints.size(); ++i) {
        if (!fits(glob, kPoints.at(i).name)) continue;
        set_logged(i, true);
        fits_any = true;
    }
    return fits_any ? Outcome<void>() : unknown_point(glob);
}

void disable_trace() {
    for (std::size_t i = 0; i < kPoints.size(); ++i) set_logged(i, false);
}

std::string trace_help() {
    std::string text;
    for (const TracePointInfo& point : kPoints) {
        text += fmt::format("{:<22}{}\n{:22}", point.name, point.when, "");
        for (const TraceArgument& argument : point.arguments) {
            text += fmt::format("{} ({}){}", argument.name, argument.unit,
                                &argument == &point.arguments.back() ? "\n" : ", ");
        }
    }
    return text;
}

std::uint64_t trace_clock_ns() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

void trace_to_log(TracePoint point, std::span<const TraceValue> values) {
    const auto index = std::to_underlying(point);
    if (!logged_points.at(index).load(std::memory_order_relaxed)) return;
    const TracePointInfo& info = kPoints.at(index);
    std::string line(info.name);
    for (std::size_t i = 0; i < values.size(); ++i) {
        const TraceArgument& argument = info.arguments[i];
        line += fmt::format(" {}={}", argument.name, format_value(values[i], argument.unit));
    }
    // A log of its own: what was asked for by name is not held back by the log's level.
    static const std::shared_ptr<spdlog::logger> log =
        make_stderr_log(spdlog::level::trace);  // owned by this alone
    log->trace(line);
}

}  // namespace zbdkit
