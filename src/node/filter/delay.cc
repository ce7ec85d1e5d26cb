// SPDX-License-Identifier: Apache-2.0
#include "node/filter/delay.h"

#include <fmt/format.h>

#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace zbdkit {
namespace {

constexpr std::array kOptions = {
    OptionInfo{"delay-read", "TIME", "before each read: 10ms, 1.5s, 200us (default 0)"},
    OptionInfo{"rdelay", "TIME", "the same as delay-read"},
    OptionInfo{"delay-write", "TIME", "before each write"},
    OptionInfo{"wdelay", "TIME", "the same as delay-write"},
    OptionInfo{"delay-append", "TIME", "before each zone append (default as delay-write)"},
    OptionInfo{"delay-zero", "TIME", "before each write of zeroes"},
    OptionInfo{"delay-trim", "TIME", "before each discard"},
    OptionInfo{"delay-flush", "TIME", "before each flush"},
    OptionInfo{"delay-report", "TIME", "before each zone report"},
    OptionInfo{"delay-zone", "TIME",
               "before each zone action: open, close, finish, reset, reset all"},
};

constexpr std::uint64_t kLongestDelay = 3'600'000'000'000;  // an hour

/// How long a request of each kind waits, in nanoseconds, by Op.
using Delays = std::array<std::uint64_t, kOpCount>;

class DelayFilter final : public PassthroughFilter {
  public:
    DelayFilter(Reactor& reactor, std::unique_ptr<BlockNode> child, const Delays& delays)
        : PassthroughFilter("delay", std::move(child)), reactor_(reactor), delays_(delays) {}

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        const std::uint64_t delay_ns = delays_[static_cast<std::size_t>(request.op)];
        return delay_ns == 0 ? child().submit(request) : delayed(request, delay_ns);
    }

  private:
    Task<Result<void>> delayed(Request& request, std::uint64_t delay_ns) {
        co_await reactor_.sleep_ns(delay_ns);
        co_return co_await child().submit(request);
    }

    Reactor& reactor_;
    Delays delays_;
};

/// An option that has two names.
Outcome<std::uint64_t> delay_of(const OptionValues& options, std::string_view name,
                                std::string_view other_name) {
    if (options.has(name) && options.has(other_name)) {
        return failure(fmt::format("{}: '{}' and '{}' are the same option: expected one of them",
                                   options.subject(), name, other_name),
                       Errc::not_supported);
    }
    return options.duration_ns(options.has(name) ? name : other_name, 0, kLongestDelay);
}

Task<Outcome<std::unique_ptr<BlockNode>>> open_delay(OpenContext& context,
                                                     const OptionValues& options,
                                                     ChildNodes& children) {
    Delays delays{};
    const auto delay = [&delays](Op op) -> std::uint64_t& {
        return delays[static_cast<std::size_t>(op)];
    };
    delay(Op::read) = co_await ok(delay_of(options, "delay-read", "rdelay"));
    const std::uint64_t write = co_await ok(delay_of(options, "delay-write", "wdelay"));
    delay(Op::write) = write;
    delay(Op::append) = co_await ok(options.duration_ns("delay-append", write, kLongestDelay));
    delay(Op::write_zeroes) = co_await ok(options.duration_ns("delay-zero", 0, kLongestDelay));
    delay(Op::discard) = co_await ok(options.duration_ns("delay-trim", 0, kLongestDelay));
    delay(Op::flush) = co_await ok(options.duration_ns("delay-flush", 0, kLongestDelay));
    delay(Op::report_zones) = co_await ok(options.duration_ns("delay-report", 0, kLongestDelay));
    const std::uint64_t action = co_await ok(options.duration_ns("delay-zone", 0, kLongestDelay));
    for (const Op op :
         {Op::zone_open, Op::zone_close, Op::zone_finish, Op::zone_reset, Op::zone_reset_all}) {
        delay(op) = action;
    }
    co_return std::make_unique<DelayFilter>(context.reactor, std::move(children.front()), delays);
}

}  // namespace

const DriverInfo kDelayDriver = {
    "delay",  DriverKind::filter, "slows requests down by a fixed time",
    kOptions, kOneChild,          open_delay};

}  // namespace zbdkit
