// SPDX-License-Identifier: Apache-2.0
// A format: makes a device out of the bytes of its child. This one leaves out the first of them.
#include <fmt/format.h>

#include <utility>

#include "tests/examples/drivers.h"

namespace zbdkit::examples {
namespace {

constexpr std::array kOptions = {
    OptionInfo{"skip", "SIZE", "how much of the child to leave out at its start (default 1M)"},
};

class WindowNode final : public TranslatingNode {
  public:
    WindowNode(std::unique_ptr<BlockNode> child_node, std::uint64_t skip)
        : TranslatingNode("window", std::move(child_node)), skip_(skip) {
        NodeInfo info = child().info();
        info.size -= skip;
        set_info(info);
    }
    // A node closes what it stands on.
    [[nodiscard]] Task<Outcome<void>> close() override { return child().close(); }

  protected:
    // No default: an operation that is added to zbdkit later stops the build here.
    Task<Result<void>> do_submit(Request& request) override {
        switch (request.op) {
            case Op::read:
            case Op::write:
            case Op::write_zeroes:
            case Op::discard: return shifted(request);
            case Op::flush: return child().submit(request);
            case Op::append:
            case Op::report_zones:
            case Op::zone_open:
            case Op::zone_close:
            case Op::zone_finish:
            case Op::zone_reset:
            case Op::zone_reset_all: break;
        }
        std::unreachable();  // the child's operations, and it has no zones
    }

  private:
    Task<Result<void>> shifted(Request& request) {
        Request below = request;  // the caller's own request stays as it is
        below.range.offset += skip_;
        co_return co_await child().submit(below);
    }

    std::uint64_t skip_;
};

Task<Outcome<std::unique_ptr<BlockNode>>> open_window(OpenContext& /*context*/,
                                                      const OptionValues& options,
                                                      ChildNodes& children) {
    const NodeInfo& child = children.front()->info();
    const std::uint64_t skip = co_await ok(options.size("skip", kMiB));
    // Zones would be cut. A node that cannot carry them says so; it never hides them.
    if (child.zones.is_zoned()) {
        co_return failure(
            fmt::format("driver 'window': '{}' is zoned", children.front()->describe()),
            Errc::not_supported);
    }
    if (skip > child.size || !is_aligned(skip, child.block_size)) {
        co_return failure(fmt::format("driver 'window': option 'skip': expected a multiple of {}, "
                                      "up to {}",
                                      child.block_size, child.size),
                          Errc::out_of_range);
    }
    // Last: what a failing open leaves in `children` the caller closes in good order.
    co_return std::make_unique<WindowNode>(std::move(children.front()), skip);
}

}  // namespace

const DriverInfo kWindowDriver = {"window", DriverKind::format, "all but the start of the child",
                                  kOptions, kOneChild,          open_window};

}  // namespace zbdkit::examples
