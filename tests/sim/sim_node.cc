// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_node.h"

#include <fcntl.h>

#include "io/file_io.h"

namespace zbdkit::sim {
namespace {

/// The engine has one disk and asks for no descriptor.
constexpr int kNoFd = -1;

class SimNode final : public BlockNode {
  public:
    SimNode(Reactor& reactor, SimDisk& disk, Storage storage)
        : BlockNode("sim"), reactor_(reactor), disk_(disk), storage_(storage) {
        set_info({.size = disk.size(),
                  .block_size = SimDisk::kSector,
                  .ops = {Op::read, Op::write, Op::write_zeroes, Op::discard, Op::flush},
                  .durable_on_completion = storage == Storage::durable});
    }

    [[nodiscard]] std::string describe() const override { return "simulated disk"; }

    [[nodiscard]] Result<NodeMapping> map(ByteRange range) override {
        if (storage_ != Storage::mapped) return BlockNode::map(range);
        disk_.set_mapped(range);
        return NodeMapping(disk_.bytes().subspan(range.offset, range.length), {});
    }

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        switch (request.op) {
            case Op::read:
                return read_exactly(reactor_, kNoFd, request.range.offset, request.segments);
            case Op::write: return write(request);
            case Op::write_zeroes:
            case Op::discard: return punch(request);
            case Op::flush: return sync_data(reactor_, kNoFd);
            case Op::append:
            case Op::report_zones:
            case Op::zone_open:
            case Op::zone_close:
            case Op::zone_finish:
            case Op::zone_reset:
            case Op::zone_reset_all: break;
        }
        return no_zones();
    }

  private:
    static Task<Result<void>> no_zones() {
        co_return fail(Errc::not_supported, "a simulated disk has no zones");
    }
    Task<Result<void>> write(Request& request) {
        co_await ok(write_exactly(reactor_, kNoFd, request.range.offset, request.segments));
        if (request.fua) co_await ok(sync_data(reactor_, kNoFd));
        co_return Result<void>{};
    }
    Task<Result<void>> punch(Request& request) {
        if (request.range.length == 0) co_return Result<void>{};
        co_await ok(fallocate_range(reactor_, kNoFd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                    request.range));
        co_return Result<void>{};
    }

    Reactor& reactor_;
    SimDisk& disk_;
    Storage storage_;
};

}  // namespace

std::unique_ptr<BlockNode> make_sim_node(Reactor& reactor, SimDisk& disk, Storage storage) {
    return std::make_unique<SimNode>(reactor, disk, storage);
}

}  // namespace zbdkit::sim
