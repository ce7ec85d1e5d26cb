// SPDX-License-Identifier: Apache-2.0
#include "node/filter/zone_check.h"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "node/filter/option_list.h"
#include "node/filter/zone_watch.h"

namespace zbdkit {
namespace {

using Violation = ZoneWatch::Violation;

enum class OnError : std::uint8_t { report, ignore };

constexpr std::array kOptions = {
    OptionInfo{"on-error", "report|ignore",
               "what becomes of a request whose answer breaks the rules of zones: report fails it, "
               "ignore only logs what is wrong (default report)"},
};

class ZoneCheckNode final : public PassthroughFilter {
  public:
    ZoneCheckNode(Reactor& reactor, std::unique_ptr<BlockNode> child, ZoneWatch watch,
                  OnError on_error)
        : PassthroughFilter("zone_check", std::move(child)),
          reactor_(reactor),
          watch_(std::move(watch)),
          on_error_(on_error) {}

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        return info().zones.is_zoned() ? watched(request) : child().submit(request);
    }

  private:
    [[nodiscard]] Task<Result<void>> watched(Request& request);
    void log(const Request& request, const Violation& violation);

    Reactor& reactor_;
    ZoneWatch watch_;
    OnError on_error_;
    LogLimiter limiter_;
};

Task<Result<void>> ZoneCheckNode::watched(Request& request) {
    const ZoneWatch::Ticket ticket = watch_.begin(request);
    const Result<void> result = co_await child().submit(request);
    const std::optional<Violation> violation = watch_.end(request, ticket, result);
    if (!violation) co_return result;
    log(request, *violation);
    if (on_error_ == OnError::ignore) co_return result;
    co_return fail(Errc::corrupt, "the device broke the rules of zones");
}

void ZoneCheckNode::log(const Request& request, const Violation& violation) {
    if (!limiter_.allow(reactor_.now_ns())) return;
    const std::uint64_t held_back = limiter_.take_suppressed();
    spdlog::error("'{}' broke the rules of zones: {} of zone {}: {}{}", describe(),
                  op_name(request.op), to_number(violation.zone), violation.text,
                  held_back == 0 ? "" : fmt::format(" ({} more before)", held_back));
}

// --- Opening ------------------------------------------------------------------------------------

Task<Outcome<std::vector<ZoneDescriptor>>> report_all(BlockNode& node) {
    std::vector<ZoneDescriptor> zones(node.info().zones.zone_count());
    std::size_t known = 0;
    while (known < zones.size()) {
        const auto rest = std::span(zones).subspan(known);
        Request report = report_request(known * node.info().zones.zone_size, rest);
        const Result<void> reported = co_await node.submit(report);
        if (!reported || report.zones_reported == 0 || report.zones_reported > rest.size()) {
            const Error error =
                reported ? Error{Errc::io, 0, "the report does not advance"} : reported.error();
            co_return failure(fmt::format("cannot report the zones of '{}'", node.describe()),
                              error);
        }
        known += report.zones_reported;
    }
    co_return zones;
}

Outcome<OnError> parse_on_error(const OptionValues& options) {
    const std::string given = options.text("on-error", "report");
    if (given == "report") return OnError::report;
    if (given == "ignore") return OnError::ignore;
    return bad_option(options, "on-error", fmt::format("'{}' is neither report nor ignore", given));
}

Task<Outcome<std::unique_ptr<BlockNode>>> open_zone_check(OpenContext& context,
                                                          const OptionValues& options,
                                                          ChildNodes& children) {
    const OnError on_error = co_await ok(parse_on_error(options));
    BlockNode& child = *children.front();
    ZoneWatch watch(child.info().zones);
    if (child.info().zones.is_zoned()) {
        const std::vector<ZoneDescriptor> zones = co_await ok(report_all(child));
        const std::optional<Violation> violation = watch.load(zones);
        if (violation) {
            co_return failure(
                fmt::format("'{}' breaks the rules of zones: zone {}: {}", child.describe(),
                            to_number(violation->zone), violation->text),
                Errc::corrupt);
        }
    }
    std::unique_ptr<BlockNode> node = std::make_unique<ZoneCheckNode>(
        context.reactor, std::move(children.front()), std::move(watch), on_error);
    co_return node;
}

}  // namespace

const DriverInfo kZoneCheckDriver = {
    "zone_check", DriverKind::filter, "checks that zones keep their rules",
    kOptions,     kOneChild,          open_zone_check};

}  // namespace zbdkit
