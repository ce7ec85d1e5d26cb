// SPDX-License-Identifier: Apache-2.0
// A protocol: a leaf that reaches the storage. This one is an array of bytes.
#include <cstring>
#include <vector>

#include "tests/examples/drivers.h"

namespace zbdkit::examples {
namespace {

constexpr std::array kOptions = {
    OptionInfo{"size", "SIZE", "size of the storage, at most 1G"},
};

class RamNode final : public BlockNode {
  public:
    explicit RamNode(std::uint64_t size) : BlockNode("ram"), bytes_(size) {
        // What the node is, once. submit() checks every request against it, so do_submit() sees
        // only operations in `ops`, within `size` and on block boundaries.
        set_info({.size = size,
                  .block_size = 512,
                  .ops = {Op::read, Op::write, Op::write_zeroes, Op::flush}});
    }
    [[nodiscard]] std::string describe() const override { return "ram"; }

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        switch (request.op) {
            case Op::read: copy_to(request.segments, 0, part(request.range)); break;
            case Op::write: copy_from(request.segments, 0, part(request.range)); break;
            case Op::write_zeroes:
                std::memset(part(request.range).data(), 0, request.range.length);
                break;
            case Op::flush: break;
            case Op::discard:
            case Op::append:
            case Op::report_zones:
            case Op::zone_open:
            case Op::zone_close:
            case Op::zone_finish:
            case Op::zone_reset:
            case Op::zone_reset_all: co_return fail(Errc::not_supported, "ram cannot do this");
        }
        co_return Result<void>{};
    }

  private:
    MutableBytes part(ByteRange range) {
        return MutableBytes(bytes_).subspan(range.offset, range.length);
    }

    std::vector<std::byte> bytes_;
};

Task<Outcome<std::unique_ptr<BlockNode>>> open_ram(OpenContext& /*context*/,
                                                   const OptionValues& options,
                                                   ChildNodes& /*children*/) {
    co_await ok(options.required_text("size"));
    const std::uint64_t size = co_await ok(options.size("size", 0));
    if (size > kGiB) {
        co_return failure("driver 'ram': option 'size': more than 1G", Errc::out_of_range);
    }
    co_return std::make_unique<RamNode>(size);
}

}  // namespace

const DriverInfo kRamDriver = {"ram",   DriverKind::protocol, "an array of bytes", kOptions, {},
                               open_ram};

}  // namespace zbdkit::examples
