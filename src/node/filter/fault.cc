// SPDX-License-Identifier: Apache-2.0
#include "node/filter/fault.h"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <random>
#include <span>
#include <utility>

#include "base/log.h"
#include "node/filter/fault_rules.h"
#include "node/filter/fault_zones.h"
#include "zone/zone_rules.h"

namespace zbdkit {
namespace {

constexpr std::array kOptions = {
    OptionInfo{"seed", "NUMBER",
               "start of the draws of all probabilities (default made up, and said in the log)"},
    OptionInfo{
        "inject-error.*.event", "EVENT",
        "requests that fail: read_aio, write_aio (appends too), flush_to_disk, or an "
        "operation: read, write, append, write_zeroes, discard, flush, report_zones, "
        "zone_open, zone_close, zone_finish, zone_reset, zone_reset_all (default none: all)"},
    OptionInfo{"inject-error.*.iotype", "read|write|write-zeroes|discard|flush",
               "only requests of this kind (default all)"},
    OptionInfo{"inject-error.*.errno", "ERROR",
               "what they fail with: a number, a name like EIO, ENOSPC, ETOOMANYREFS (open limit) "
               "or EOVERFLOW (active limit), or zone_invalid, zone_unaligned_wp (default EIO)"},
    OptionInfo{"inject-error.*.sector", "NUMBER",
               "only requests that touch this sector of 512 bytes; an append or a zone's action "
               "touches its whole zone"},
    OptionInfo{"inject-error.*.offset", "SIZE", "only requests that touch the bytes from here on"},
    OptionInfo{"inject-error.*.length", "SIZE", "how many bytes from the offset on (default 1)"},
    OptionInfo{"inject-error.*.state", "NUMBER",
               "only in this state of the node, which begins as 1 (default 0: any)"},
    OptionInfo{"inject-error.*.after", "COUNT", "let so many of them pass first (default 0)"},
    OptionInfo{"inject-error.*.count", "COUNT", "fail so many of them (default 0: no end)"},
    OptionInfo{"inject-error.*.once", "on|off", "fail one only (default off)"},
    OptionInfo{"inject-error.*.probability", "NUMBER|PERCENT",
               "chance of each to fail, 0 to 1 or 0% to 100% (default 1)"},
    OptionInfo{"set-state.*.event", "EVENT", "the request that changes the node's state"},
    OptionInfo{"set-state.*.state", "NUMBER", "only in this state (default 0: any)"},
    OptionInfo{"set-state.*.new_state", "NUMBER", "the state afterwards, at least 1"},
    OptionInfo{"zone-fault.*.zone", "ZONES",
               "zones that fail, by number: 3, 3-7, 3:5:8-9; sequential ones only"},
    OptionInfo{"zone-fault.*.zone.*", "ZONES", "the same as a list"},
    OptionInfo{"zone-fault.*.state", "read-only|offline",
               "what they become; without it, with when=open, they stay as they are"},
    OptionInfo{"zone-fault.*.when", "start|writes|resets|open",
               "at once; when `after` writes or resets of the zone have succeeded; or when it is "
               "opened next, by an open or by a write: that request fails (default start)"},
    OptionInfo{"zone-fault.*.after", "COUNT",
               "how many writes or resets (default 1), or how many opens pass first (default 0)"},
    OptionInfo{"zone-fault.*.errno", "ERROR", "what the open fails with (default EIO)"},
};

/// Zones of a report that are looked at together.
constexpr std::size_t kReportBatch = 64;

class FaultNode final : public PassthroughFilter {
  public:
    FaultNode(std::unique_ptr<BlockNode> child, FaultRules rules, ZoneFaults zones)
        : PassthroughFilter("fault", std::move(child)),
          rules_(std::move(rules)),
          zones_(std::move(zones)) {}

    /// What goes through mapped memory could not be made to fail.
    [[nodiscard]] Result<NodeMapping> map(ByteRange /*range*/) override {
        return fail(Errc::not_supported, "faults need requests, not mapped memory");
    }

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        if (rules_.empty() && zones_.empty()) return child().submit(request);
        return judge(request);
    }

  private:
    [[nodiscard]] const ZoneGeometry& geometry() const { return info().zones; }
    [[nodiscard]] Task<Result<void>> judge(Request& request);
    [[nodiscard]] Task<Result<void>> check_open(const Request& request);
    [[nodiscard]] Task<Result<void>> reset_all();
    [[nodiscard]] Task<Result<void>> reset_zones(std::span<const ZoneDescriptor> zones);

    FaultRules rules_;
    ZoneFaults zones_;
};

Task<Result<void>> FaultNode::judge(Request& request) {
    if (const std::optional<Error> error = rules_.decide(request)) {
        co_return std::unexpected(*error);
    }
    if (zones_.empty()) co_return co_await child().submit(request);
    co_await ok(zones_.check(request));
    if (request.op == Op::zone_reset_all) co_return co_await reset_all();
    if (zones_.watches_open(request)) {
        co_await ok(check_open(request));
        co_await ok(zones_.check(request));  // another open may have met the fault meanwhile
    }
    co_await ok(child().submit(request));
    zones_.completed(request);
    if (request.op == Op::report_zones) zones_.show(request.zones.first(request.zones_reported));
    co_return Result<void>{};
}

/// Whether the request opens its zone, the zone below knows; if it does, it may meet a fault.
Task<Result<void>> FaultNode::check_open(const Request& request) {
    std::array<ZoneDescriptor, 1> zone;
    Request report = report_request(request.range.offset, zone);
    co_await ok(child().submit(report));
    const ZoneState state = zone.front().state;
    const bool is_open =
        request.op == Op::zone_open ? state == ZoneState::explicit_open : takes_open(state);
    if (is_open || state == ZoneState::full || is_worn_out(state)) co_return Result<void>{};
    co_return zones_.opening(geometry().zone_of(request.range.offset));
}

/// Zone by zone, because the child would reset zones that are worn out here.
Task<Result<void>> FaultNode::reset_all() {
    std::array<ZoneDescriptor, kReportBatch> zones;
    std::uint64_t offset = 0;
    while (offset < info().size) {
        Request report = report_request(offset, zones);
        co_await ok(child().submit(report));
        if (report.zones_reported == 0) co_return fail(Errc::io, "the report does not advance");
        const auto reported = std::span(zones).first(report.zones_reported);
        co_await ok(reset_zones(reported));
        offset = reported.back().start + reported.back().length;
    }
    co_return Result<void>{};
}

Task<Result<void>> FaultNode::reset_zones(std::span<const ZoneDescriptor> zones) {
    for (const ZoneDescriptor& zone : zones) {
        if (!takes_active(zone.state) && zone.state != ZoneState::full) continue;
        if (zones_.worn_state(geometry().zone_of(zone.start))) continue;
        Request reset = zone_request(Op::zone_reset, zone.start);
        const Result<void> done = co_await child().submit(reset);
        // One that wore out below since the report is skipped, like those that were so before.
        if (!done && done.error().code != Errc::zone_invalid) co_return done;
        if (done) zones_.completed(reset);
    }
    co_return Result<void>{};
}

Task<Outcome<std::unique_ptr<BlockNode>>> open_fault(OpenContext& /*context*/,
                                                     const OptionValues& options,
                                                     ChildNodes& children) {
    const BlockNode& child = *children.front();
    const std::uint64_t made_up_seed = std::random_device{}();
    FaultRules rules = co_await ok(FaultRules::parse(options, made_up_seed, child.info().zones));
    ZoneFaults zones = co_await ok(ZoneFaults::parse(options, child.info().zones));
    if (rules.uses_chance() && !options.has("seed")) {
        spdlog::info("fault on '{}': seed={}", child.describe(), made_up_seed);
    }
    std::unique_ptr<BlockNode> node = std::make_unique<FaultNode>(
        std::move(children.front()), std::move(rules), std::move(zones));
    co_return node;
}

/// What QEMU calls the child.
constexpr std::array<std::string_view, 1> kImageChild = {"image"};

}  // namespace

const DriverInfo kFaultDriver = {
    "fault",  DriverKind::filter, "makes requests fail and zones wear out",
    kOptions, kOneChild,          open_fault};
const DriverInfo kBlkdebugDriver = {"blkdebug", DriverKind::filter, "QEMU's name of fault",
                                    kOptions,   kImageChild,        open_fault};

}  // namespace zbdkit
