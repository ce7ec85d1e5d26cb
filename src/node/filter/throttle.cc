// SPDX-License-Identifier: Apache-2.0
#include "node/filter/throttle.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "node/filter/throttle_group.h"

namespace zbdkit {
namespace {

constexpr std::string_view kGroupOption = "throttle-group";

/// The group, then the limits.
constexpr auto kOptions = [] {
    std::array<OptionInfo, 1 + kThrottleOptions.size()> options{
        OptionInfo{kGroupOption, "ID", "share the limits of this --object throttle-group"}};
    std::ranges::copy(kThrottleOptions, options.begin() + 1);
    return options;
}();

/// How an operation counts; nothing for those that pass freely.
std::optional<ThrottleDirection> direction_of(Op op) {
    switch (op) {
        case Op::read: return ThrottleDirection::read;
        case Op::write:
        case Op::append:
        case Op::write_zeroes:
        case Op::discard:
        case Op::zone_open:
        case Op::zone_close:
        case Op::zone_finish:
        case Op::zone_reset:
        case Op::zone_reset_all: return ThrottleDirection::write;
        case Op::flush:
        case Op::report_zones: return std::nullopt;
    }
    std::unreachable();
}

class ThrottleFilter final : public PassthroughFilter {
  public:
    /// @param group  shared: owned by the list of objects, if it is in there, and by each filter
    ThrottleFilter(std::unique_ptr<BlockNode> child, std::shared_ptr<ThrottleGroup> group)
        : PassthroughFilter("throttle", std::move(child)),
          group_(std::move(group)),
          member_(*group_) {}

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        const std::optional<ThrottleDirection> direction = direction_of(request.op);
        return direction ? throttled(request, *direction) : child().submit(request);
    }

  private:
    Task<Result<void>> throttled(Request& request, ThrottleDirection direction) {
        co_await member_.admit(direction, request.range.length);
        co_return co_await child().submit(request);
    }

    std::shared_ptr<ThrottleGroup> group_;
    ThrottleGroup::Member member_;
};

Outcome<std::shared_ptr<ThrottleGroup>> find_group(const SharedObjects& objects,
                                                   const std::string& id) {
    const auto found = objects.find(id);
    if (found == objects.end()) {
        std::vector<std::string_view> ids;
        for (const auto& [known, object] : objects) ids.push_back(known);
        return failure(fmt::format("driver 'throttle': there is no object with id '{}'{}: expected "
                                   "--object throttle-group,id={},...",
                                   id, did_you_mean(id, ids), id),
                       Errc::not_supported);
    }
    std::shared_ptr<ThrottleGroup> group = std::dynamic_pointer_cast<ThrottleGroup>(found->second);
    if (group) return group;
    return failure(fmt::format("driver 'throttle': object '{}' is no throttle-group", id),
                   Errc::not_supported);
}

Outcome<std::shared_ptr<ThrottleGroup>> group_for(OpenContext& context,
                                                  const OptionValues& options) {
    const std::string id = options.text(kGroupOption);
    const bool has_limits = has_throttle_options(options);
    if (id.empty() && !has_limits) {
        return failure(fmt::format("driver 'throttle' needs limits: {}=ID, or for example "
                                   "limits.iops-total=N",
                                   kGroupOption),
                       Errc::not_supported);
    }
    if (!id.empty() && has_limits) {
        return failure(fmt::format("driver 'throttle': option '{}': the limits are those of the "
                                   "group: expected no others",
                                   kGroupOption),
                       Errc::not_supported);
    }
    if (!id.empty()) return find_group(context.objects, id);
    const Outcome<ThrottleLimits> limits = parse_throttle_limits(options);
    if (!limits) return std::unexpected(limits.error());
    return std::make_shared<ThrottleGroup>(context.reactor, *limits);
}

Task<Outcome<std::unique_ptr<BlockNode>>> open_throttle(OpenContext& context,
                                                        const OptionValues& options,
                                                        ChildNodes& children) {
    std::shared_ptr<ThrottleGroup> group = co_await ok(group_for(context, options));
    co_return std::make_unique<ThrottleFilter>(std::move(children.front()), std::move(group));
}

}  // namespace

const DriverInfo kThrottleDriver = {
    "throttle",    DriverKind::filter, "lets requests through only so fast", kOptions, kOneChild,
    open_throttle, kGroupOption};

}  // namespace zbdkit
