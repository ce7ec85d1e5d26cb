// SPDX-License-Identifier: Apache-2.0
#include "block/node.h"

#include "base/assert.h"

namespace zbdkit {
namespace {

/// An error that was known before anything was started, as a task.
Task<Result<void>> refused(Error error) { co_return std::unexpected(error); }

Result<void> check_range(const NodeInfo& info, const Request& request) {
    if (!request.range.is_sane() || request.range.end() > info.size) {
        return fail(Errc::out_of_range, "beyond the end of the device");
    }
    return {};
}

Result<void> check_data(const NodeInfo& info, const Request& request) {
    if (const Result<void> in_range = check_range(info, request); !in_range) return in_range;
    if (!is_aligned(request.range.offset, info.block_size) ||
        !is_aligned(request.range.length, info.block_size)) {
        return fail(Errc::misaligned, "offset or length is no multiple of the block size");
    }
    return {};
}

Result<void> check_zone_start(const NodeInfo& info, const Request& request) {
    if (request.range.offset >= info.size) {
        return fail(Errc::out_of_range, "beyond the end of the device");
    }
    if (!is_aligned(request.range.offset, info.zones.zone_size)) {
        return fail(Errc::zone_invalid, "not the start of a zone");
    }
    return {};
}

Result<void> check_append(const NodeInfo& info, const Request& request) {
    if (const Result<void> zone = check_zone_start(info, request); !zone) return zone;
    if (!is_aligned(request.range.length, info.block_size)) {
        return fail(Errc::misaligned, "length is no multiple of the block size");
    }
    return {};
}

}  // namespace

Result<void> BlockNode::check_contract(const Request& request) const {
    if (!info_.ops.has(request.op)) {
        return fail(Errc::not_supported, "the node does not support this operation");
    }
    if (info_.read_only && op_modifies(request.op)) {
        return fail(Errc::read_only, "the node is read-only");
    }
    switch (request.op) {
        case Op::read:
        case Op::write:
            ZBDKIT_ASSERT(total_length(request.segments) == request.range.length);
            return check_data(info_, request);
        case Op::write_zeroes:
        case Op::discard: return check_data(info_, request);
        case Op::append:
            ZBDKIT_ASSERT(total_length(request.segments) == request.range.length);
            return check_append(info_, request);
        case Op::report_zones:
            if (request.range.offset >= info_.size) {
                return fail(Errc::out_of_range, "beyond the end of the device");
            }
            return {};
        case Op::zone_open:
        case Op::zone_close:
        case Op::zone_finish:
        case Op::zone_reset: return check_zone_start(info_, request);
        case Op::flush:
        case Op::zone_reset_all: return {};
    }
    return fail(Errc::not_supported, "unknown operation");
}

Task<Result<void>> BlockNode::submit(Request& request) {
    if (const Result<void> allowed = check_contract(request); !allowed) {
        return refused(allowed.error());
    }
    return do_submit(request);
}

Result<NodeMapping> BlockNode::map(ByteRange /*range*/) {
    return fail(Errc::not_supported, "the node cannot be mapped into memory");
}

Task<Outcome<void>> BlockNode::close() { co_return Outcome<void>{}; }

NodeMapping& NodeMapping::operator=(NodeMapping&& other) noexcept {
    if (this != &other) {
        reset();
        bytes_ = std::exchange(other.bytes_, {});
        release_ = std::exchange(other.release_, {});
    }
    return *this;
}

void NodeMapping::reset() {
    bytes_ = {};
    if (release_) std::exchange(release_, {})();
}

PassthroughFilter::PassthroughFilter(std::string driver, std::unique_ptr<BlockNode> child)
    : BlockNode(std::move(driver)), child_(std::move(child)) {
    set_info(child_->info());
}

}  // namespace zbdkit
