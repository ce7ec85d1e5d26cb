// SPDX-License-Identifier: Apache-2.0
// Trace points: places that tell a listener what passes by. Each is a USDT probe of provider
// "zbdkit" (for bpftrace, perf, gdb) and, switched on by name, a line in the log. Nobody listening
// costs a load and a branch: a point's arguments are not even computed. docs/tracing.md lists them.
// Usable from any thread; holds no lock but the log's.
#pragma once

#if __has_include(<sys/sdt.h>)
#define SDT_USE_VARIADIC
#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>
#define ZBDKIT_HAS_USDT 1
#else
#define ZBDKIT_HAS_USDT 0
#endif

#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

// The table of all points: POINT(name, when it passes, {argument, unit}, ...). "text" arguments are
// C strings, all others unsigned numbers. An argument added goes to the end: scripts count them.
#define ZBDKIT_TRACE_POINTS(POINT)                                                               \
    POINT(request_start, "a request enters the graph", {"node", "text"}, {"op", "text"},         \
          {"offset", "bytes"}, {"length", "bytes"})                                              \
    POINT(request_end, "a request is answered", {"node", "text"}, {"op", "text"},                \
          {"offset", "bytes"}, {"length", "bytes"}, {"error", "text"}, {"latency", "ns"})        \
    POINT(zone_report, "zones are asked for", {"node", "text"}, {"offset", "bytes"},             \
          {"most_zones", "count"})                                                               \
    POINT(zone_mgmt, "a zone, or all of them, is to change", {"node", "text"}, {"op", "text"},   \
          {"zone_start", "bytes"})                                                               \
    POINT(zone_append, "an append enters the graph", {"node", "text"}, {"zone_start", "bytes"},  \
          {"length", "bytes"})                                                                   \
    POINT(zone_append_complete, "an append is answered; offset is where the data is",            \
          {"node", "text"}, {"zone_start", "bytes"}, {"offset", "bytes"}, {"error", "text"})     \
    POINT(session_connected, "a front end connected", {"socket", "text"}, {"pid", "number"})     \
    POINT(session_closed, "a front end is gone", {"socket", "text"}, {"pid", "number"})          \
    POINT(session_features, "a front end accepted features", {"socket", "text"},                 \
          {"features", "bits"})                                                                  \
    POINT(ring_started, "a ring begins to take requests", {"socket", "text"}, {"ring", "index"}, \
          {"size", "descriptors"})                                                               \
    POINT(ring_stopped, "a ring has ended all of its requests", {"socket", "text"},              \
          {"ring", "index"})                                                                     \
    POINT(ring_kick, "a guest's kick was seen", {"socket", "text"}, {"ring", "index"})           \
    POINT(ring_notify, "a guest is notified of results", {"socket", "text"}, {"ring", "index"})  \
    POINT(ring_chain_refused, "a chain of descriptors is unusable", {"socket", "text"},          \
          {"ring", "index"}, {"id", "number"}, {"reason", "text"})                               \
    POINT(ublk_request, "the kernel gave a request to a ublk disk", {"disk", "text"},            \
          {"queue", "index"}, {"tag", "index"}, {"operation", "number"}, {"sector", "number"},   \
          {"sectors", "count"})                                                                  \
    POINT(ublk_answer, "a request of a ublk disk is answered", {"disk", "text"},                 \
          {"queue", "index"}, {"tag", "index"}, {"errno", "number"})

/// Tells whoever listens to trace point `point`; the other arguments are those of the table, in
/// their order. They are evaluated only if somebody listens, and then maybe twice.
#define ZBDKIT_TRACE(point, ...)                                                      \
    do {                                                                              \
        if (::zbdkit::trace_has_listener(::zbdkit::TracePoint::point)) [[unlikely]] { \
            ZBDKIT_TRACE_PROBE(point, __VA_ARGS__);                                   \
            ::zbdkit::trace_to_log<::zbdkit::TracePoint::point>({__VA_ARGS__});       \
        }                                                                             \
    } while (false)

#if ZBDKIT_HAS_USDT
#define ZBDKIT_TRACE_PROBE(point, ...) STAP_PROBEV(zbdkit, point, __VA_ARGS__)
#else
#define ZBDKIT_TRACE_PROBE(point, ...) static_cast<void>(0)
#endif

namespace zbdkit {

enum class TracePoint : std::uint8_t {
#define ZBDKIT_POINT(name, ...) name,
    ZBDKIT_TRACE_POINTS(ZBDKIT_POINT)
#undef ZBDKIT_POINT
};

struct TraceArgument {
    std::string_view name;
    std::string_view unit;  ///< "text", "bytes", "ns", ...
};

struct TracePointInfo {
    std::string_view name;
    std::string_view when;
    std::span<const TraceArgument> arguments;
};

/// All points, in the order of the table.
[[nodiscard]] std::span<const TracePointInfo> trace_points();

/// Switches log lines on for the points that the pattern fits.
/// @param pattern  a name, or a glob with "*" and "?"; "enable=" may stand before it
/// Errors: fits no point, naming the nearest; anything but enable= before a pattern.
/// Thread: any.
[[nodiscard]] Outcome<void> enable_trace(std::string_view pattern);

/// Switches all log lines off. Thread: any.
void disable_trace();

/// What `-T help` prints: a line for each point, with its arguments.
[[nodiscard]] std::string trace_help();

// --- what ZBDKIT_TRACE is made of ---------------------------------------------------------------

// How many listen to a point: a tracer adds itself here when it attaches, and so does the log. The
// names are what <sys/sdt.h> expects ("semaphores").
extern "C" {
#define ZBDKIT_POINT(name, ...) \
    [[gnu::visibility("hidden")]] extern std::uint16_t zbdkit_##name##_semaphore;
ZBDKIT_TRACE_POINTS(ZBDKIT_POINT)
#undef ZBDKIT_POINT
}

/// Whether anybody listens to the point now: an argument that must be measured asks before.
[[nodiscard]] inline bool trace_has_listener(TracePoint point) {
    switch (point) {
#define ZBDKIT_POINT(name, ...) \
    case TracePoint::name:      \
        return std::atomic_ref(zbdkit_##name##_semaphore).load(std::memory_order_relaxed) != 0;
        ZBDKIT_TRACE_POINTS(ZBDKIT_POINT)
#undef ZBDKIT_POINT
    }
    return false;
}

/// Monotonic time for points that tell how long something took. Never 0.
[[nodiscard]] std::uint64_t trace_clock_ns();

/// An argument as the log sees it.
struct TraceValue {
    std::uint64_t number = 0;
    const char* text = nullptr;  ///< null: a number

    template <std::unsigned_integral Number>
    TraceValue(Number value) : number(value) {}               // NOLINT: call sites pass values
    TraceValue(const char* characters) : text(characters) {}  // NOLINT
};

template <TracePoint point>
inline constexpr std::size_t kTraceArgumentCount = 0;
#define ZBDKIT_POINT(name, when, ...)                                    \
    template <>                                                          \
    inline constexpr std::size_t kTraceArgumentCount<TracePoint::name> = \
        std::initializer_list<TraceArgument>{__VA_ARGS__}.size();
ZBDKIT_TRACE_POINTS(ZBDKIT_POINT)
#undef ZBDKIT_POINT

/// Logs one line, if the log is among the listeners.
void trace_to_log(TracePoint point, std::span<const TraceValue> values);

template <TracePoint point>
[[gnu::cold]] void trace_to_log(const TraceValue (&values)[kTraceArgumentCount<point>]) {
    trace_to_log(point, std::span<const TraceValue>(values));
}

}  // namespace zbdkit
