// SPDX-License-Identifier: Apache-2.0
#include "app/bench.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "app/exit_status.h"
#include "app/messages.h"
#include "base/text.h"
#include "bench/bench.h"

namespace zbdkit::app {
namespace {

constexpr std::string_view kCommand = "bench";
using Json = nlohmann::ordered_json;
using bench::Operation;
using bench::Wait;

struct OperationName {
    std::string_view name;
    Operation operation;
};
constexpr std::array kOperations = {
    OperationName{"read", Operation::read},
    OperationName{"write", Operation::write},
    OperationName{"randread", Operation::randread},
    OperationName{"randwrite", Operation::randwrite},
    OperationName{"append", Operation::append},
    OperationName{"mixed", Operation::mixed},
};

// --- the command line -------------------------------------------------------------------------

Outcome<Operation> parse_operation(std::string_view text) {
    std::array<std::string_view, kOperations.size()> names;
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (kOperations[i].name == text) return kOperations[i].operation;
        names[i] = kOperations[i].name;
    }
    return failure(fmt::format("--op '{}'{}: expected {}", text, did_you_mean(text, names),
                               fmt::join(names, ", ")),
                   Errc::not_supported);
}

Outcome<Wait> parse_wait(std::string_view text) {
    if (text == "poll") return Wait::poll;
    if (text == "event") return Wait::event;
    return failure(fmt::format("--wait '{}': expected poll or event", text), Errc::not_supported);
}

/// Reads the options that are text, and keeps the first failure.
class Reader {
  public:
    std::uint64_t size(std::string_view option, const std::string& text) {
        return keep(option, parse_size(text));
    }
    std::uint64_t duration(std::string_view option, const std::string& text) {
        return keep(option, parse_duration(text));
    }
    std::optional<std::uint32_t> number(std::string_view option, const std::string& text) {
        if (text.empty()) return {};
        std::uint32_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error == std::errc() && end == text.data() + text.size()) return value;
        fail(fmt::format("{}: '{}' is no whole number", option, text));
        return {};
    }
    template <class T>
    T value_of(Outcome<T> outcome) {
        if (outcome) return *outcome;
        fail(outcome.error().message);
        return T{};
    }
    [[nodiscard]] const Outcome<void>& outcome() const { return outcome_; }

  private:
    std::uint64_t keep(std::string_view option, const Outcome<std::uint64_t>& value) {
        if (value) return *value;
        fail(fmt::format("{}: {}", option, value.error().message));
        return 0;
    }
    void fail(std::string message) {
        if (outcome_) outcome_ = failure(std::move(message), Errc::not_supported);
    }
    Outcome<void> outcome_;
};

Outcome<bench::Settings> parse(const BenchArguments& arguments) {
    if (arguments.socket_path.empty()) {
        return failure("which server? expected the path of its socket", Errc::not_supported);
    }
    Reader read;
    bench::Settings settings;
    settings.socket_path = arguments.socket_path;
    settings.operation = read.value_of(parse_operation(arguments.operation));
    // Cut to what cannot be right either.
    constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
    const std::uint64_t block_size = read.size("--block-size", arguments.block_size);
    settings.block_size = static_cast<std::uint32_t>(std::min(block_size, kMost));
    settings.depth = arguments.depth;
    settings.queue_count = arguments.queue_count;
    settings.queue_size = arguments.queue_size;
    settings.packed = arguments.packed;
    settings.zone_count = read.number("--zones", arguments.zones);
    settings.zone_first = read.number("--zone-first", arguments.zone_first);
    if (!arguments.range.empty()) settings.range = read.size("--range", arguments.range);
    settings.read_percent = arguments.read_percent;
    settings.run_ns = read.duration("--seconds", arguments.seconds);
    settings.warm_up_ns = read.duration("--warm-up", arguments.warm_up);
    settings.timeout_ns = read.duration("--timeout", arguments.timeout);
    settings.wait = read.value_of(parse_wait(arguments.wait));
    settings.verify = arguments.verify;
    settings.seed = arguments.seed;
    if (!read.outcome()) return std::unexpected(read.outcome().error());
    return bench::check_settings(settings);
}

// --- the output -------------------------------------------------------------------------------

double per(double value, std::uint64_t count) {
    return count == 0 ? 0 : value / static_cast<double>(count);
}

/// What is derived from the counts.
struct Figures {
    double iops;
    double mb_per_second;
    std::optional<double> server_cpu_ns;    ///< per request
    std::optional<double> server_switches;  ///< per 1000 requests, as the next two
    double kicks;
    double calls;
    double client_cpu_ns;
};

Figures figures_of(const bench::Meter& meter, std::uint32_t block_size) {
    constexpr double kSecond = 1e9;
    const auto as_double = [](std::uint64_t value) { return static_cast<double>(value); };
    const double seconds = as_double(meter.elapsed_ns) / kSecond;
    Figures figures{};
    figures.iops = as_double(meter.requests) / seconds;
    figures.mb_per_second = figures.iops * block_size / 1e6;
    if (meter.server.cpu_ns)
        figures.server_cpu_ns = per(as_double(*meter.server.cpu_ns), meter.requests);
    if (meter.server.voluntary_switches) {
        figures.server_switches =
            per(1000 * as_double(*meter.server.voluntary_switches), meter.requests);
    }
    figures.kicks = per(1000 * as_double(meter.kicks), meter.requests);
    figures.calls = per(1000 * as_double(meter.calls), meter.requests);
    figures.client_cpu_ns = per(as_double(meter.client_cpu_ns), meter.requests);
    return figures;
}

std::string header_of(const BenchArguments& arguments, const bench::Settings& settings,
                      const bench::Plan& plan) {
    const std::string part =
        plan.zone_count == 0
            ? fmt::format("{} of a disk of {} without zones", format_size(plan.range),
                          format_size(plan.disk_size))
            : fmt::format("{} of {} from zone {} on", count_text(plan.zone_count, "zone"),
                          format_size(plan.zone_size), plan.zone_first);
    std::string text = fmt::format(
        "{}{}, {} blocks, depth {}, {} of {} ({}), {}, {}\n", arguments.operation,
        settings.operation == Operation::mixed ? fmt::format(" ({} % reads)", settings.read_percent)
                                               : "",
        format_size(settings.block_size), settings.depth, count_text(settings.queue_count, "queue"),
        settings.queue_size, settings.packed ? "packed" : "split", arguments.wait, part);
    if (plan.zones_reset != 0 || plan.bytes_filled != 0) {
        text += fmt::format("before: {} reset, {} filled\n", count_text(plan.zones_reset, "zone"),
                            format_size(plan.bytes_filled));
    }
    return text;
}

void print_text(const bench::Settings& settings, const bench::Results& results) {
    const bench::Meter& meter = results.meter;
    const Figures figures = figures_of(meter, settings.block_size);
    const auto us = [](std::uint64_t ns) { return static_cast<double>(ns) / 1000; };
    const auto maybe = [](std::optional<double> value) {
        return value ? fmt::format("{:.2f}", *value) : std::string("unknown");
    };
    std::optional<double> server_cpu_us;
    if (figures.server_cpu_ns) server_cpu_us = *figures.server_cpu_ns / 1000;
    fmt::print("IOPS:        {:.0f}\n", figures.iops);
    fmt::print("MB/s:        {:.1f}\n", figures.mb_per_second);
    fmt::print("latency us:  mean {:.2f}, p50 {:.2f}, p99 {:.2f}, p99.9 {:.2f}, max {:.2f}\n",
               us(meter.latency.mean_ns()), us(meter.latency.quantile_ns(0.5)),
               us(meter.latency.quantile_ns(0.99)), us(meter.latency.quantile_ns(0.999)),
               us(meter.latency.max_ns()));
    fmt::print("server:      {} us CPU per request, {} voluntary switches per 1000 requests\n",
               maybe(server_cpu_us), maybe(figures.server_switches));
    fmt::print("client:      {:.2f} us CPU per request, {:.2f} kicks and {:.2f} calls per 1000\n",
               figures.client_cpu_ns / 1000, figures.kicks, figures.calls);
    if (meter.resets != 0) fmt::print("zone resets: {}\n", meter.resets);
    if (settings.verify) fmt::print("verified:    {} blocks\n", results.blocks_verified);
}

template <class T>
Json or_null(const std::optional<T>& value) {
    return value ? Json(*value) : Json(nullptr);
}

Json settings_json(const BenchArguments& arguments, const bench::Settings& settings,
                   const bench::Plan& plan) {
    Json json = {{"socket", settings.socket_path},
                 {"op", arguments.operation},
                 {"block_size", settings.block_size},
                 {"depth", settings.depth},
                 {"queues", settings.queue_count},
                 {"queue_size", settings.queue_size},
                 {"packed", settings.packed},
                 {"event_idx", plan.event_idx},
                 {"wait", arguments.wait},
                 {"verify", settings.verify},
                 {"seed", settings.seed},
                 {"warm_up_ns", settings.warm_up_ns}};
    if (settings.operation == Operation::mixed) json["read_percent"] = settings.read_percent;
    json["disk_size"] = plan.disk_size;
    if (plan.zone_count == 0) {
        json["range"] = plan.range;
    } else {
        json["zones"] = plan.zone_count;
        json["zone_first"] = plan.zone_first;
        json["zone_size"] = plan.zone_size;
    }
    return json;
}

void print_json(const BenchArguments& arguments, const bench::Settings& settings,
                const bench::Results& results) {
    const bench::Meter& meter = results.meter;
    const bench::LatencyHistogram& latency = meter.latency;
    const Figures figures = figures_of(meter, settings.block_size);
    Json json = {{"settings", settings_json(arguments, settings, results.plan)},
                 {"zones_reset_before", results.plan.zones_reset},
                 {"bytes_filled_before", results.plan.bytes_filled},
                 {"elapsed_ns", meter.elapsed_ns},
                 {"requests", meter.requests},
                 {"iops", figures.iops},
                 {"mb_per_second", figures.mb_per_second},
                 {"latency_ns",
                  {{"mean", latency.mean_ns()},
                   {"p50", latency.quantile_ns(0.5)},
                   {"p99", latency.quantile_ns(0.99)},
                   {"p999", latency.quantile_ns(0.999)},
                   {"max", latency.max_ns()}}},
                 {"server_cpu_ns_per_request", or_null(figures.server_cpu_ns)},
                 {"server_voluntary_switches_per_1000_requests", or_null(figures.server_switches)},
                 {"client_cpu_ns_per_request", figures.client_cpu_ns},
                 {"kicks_per_1000_requests", figures.kicks},
                 {"calls_per_1000_requests", figures.calls},
                 {"zone_resets", meter.resets}};
    json["server_pid"] = results.server_pid == 0 ? Json(nullptr) : Json(results.server_pid);
    json["blocks_verified"] = settings.verify ? Json(results.blocks_verified) : Json(nullptr);
    fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
}

}  // namespace

int run_bench(const BenchArguments& arguments) {
    const Outcome<bench::Settings> settings = parse(arguments);
    if (!settings) return report_usage(kCommand, settings.error());
    const auto announce = [&](const bench::Plan& plan) {
        if (arguments.json) return;
        fmt::print("{}", header_of(arguments, *settings, plan));
        std::fflush(stdout);  // the measurement takes a while
    };
    const Outcome<bench::Results> results = bench::run(*settings, announce);
    if (!results) return report_failure(kCommand, results.error());
    if (arguments.json) {
        print_json(arguments, *settings, *results);
    } else {
        print_text(*settings, *results);
    }
    return kOk;
}

}  // namespace zbdkit::app
