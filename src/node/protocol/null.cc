// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/null.h"

#include <array>
#include <string>
#include <utility>

#include "base/iovec.h"

namespace zbdkit {
namespace {

constexpr std::array kOptions = {
    OptionInfo{"size", "SIZE", "size of the device (default 1G)"},
    OptionInfo{"read-zeroes", "on|off", "reads give zeroes rather than nothing (default off)"},
};

class NullNode final : public BlockNode {
  public:
    NullNode(std::uint64_t size, bool read_zeroes) : BlockNode("null"), zero_(read_zeroes) {
        set_info({.size = size,
                  .block_size = 1,
                  .ops = {Op::read, Op::write, Op::write_zeroes, Op::discard, Op::flush}});
    }
    [[nodiscard]] std::string describe() const override { return "null"; }

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        if (request.op == Op::read && zero_) {
            fill(request.segments, {0, request.range.length}, std::byte{0});
        }
        co_return Result<void>{};
    }

  private:
    bool zero_;
};

Task<Outcome<std::unique_ptr<BlockNode>>> open_null(OpenContext& /*context*/,
                                                    const OptionValues& options,
                                                    ChildNodes& /*children*/) {
    const std::uint64_t size = co_await ok(options.size("size", kGiB));
    const bool read_zeroes = co_await ok(options.flag("read-zeroes", false));
    std::unique_ptr<BlockNode> node = std::make_unique<NullNode>(size, read_zeroes);
    co_return node;
}

}  // namespace

const DriverInfo kNullDriver = {
    "null", DriverKind::protocol, "storage that keeps nothing", kOptions, {}, open_null};
const DriverInfo kNullCoDriver = {
    "null-co", DriverKind::protocol, "QEMU's name of null", kOptions, {}, open_null};

}  // namespace zbdkit
