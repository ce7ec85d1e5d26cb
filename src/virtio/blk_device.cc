// SPDX-License-Identifier: Apache-2.0
#include "virtio/blk_device.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <utility>

#include "base/assert.h"
#include "base/iovec.h"
#include "block/request.h"
#include "virtio/blk_report.h"
#include "virtio/blk_status.h"

namespace zbdkit {
namespace {

BlkDisk make_disk(const NodeInfo& info, const BlkDevice::Options& options) {
    BlkDisk disk{.size = info.size,
                 .block_size = std::max(info.block_size, std::uint32_t{kSectorSize}),
                 .physical_block_size = info.physical_block_size,
                 .read_only = info.read_only || !options.writable,
                 .can_discard = info.ops.has(Op::discard),
                 .can_write_zeroes = info.ops.has(Op::write_zeroes),
                 .zones = info.zones,
                 .seg_max = std::max(options.seg_max, 1U),
                 .queue_count = options.queue_count,
                 .packed = options.packed};
    if (!info.ops.has(Op::append)) disk.zones.max_append_bytes = 0;
    return disk;
}

/// The byte at a position of the list, which must have it.
std::byte& byte_at(IoSegments segments, std::uint64_t position) {
    for (const iovec& segment : segments) {
        if (position < segment.iov_len) return byte_pointer(segment.iov_base)[position];
        position -= segment.iov_len;
    }
    ZBDKIT_ASSERT(false && "the position lies within the list");
    std::unreachable();
}

/// Cuts a list to the part that `range` covers, in place, so that no request needs a second list.
/// @param range  must lie within the list and not be empty
IoSegments narrow(IoVector& segments, ByteRange range) {
    std::size_t first = 0;
    while (range.offset >= segments[first].iov_len) range.offset -= segments[first++].iov_len;
    iovec& front = segments[first];
    front.iov_base = byte_pointer(front.iov_base) + range.offset;
    front.iov_len -= range.offset;
    std::size_t last = first;
    while (range.length > segments[last].iov_len) range.length -= segments[last++].iov_len;
    segments[last].iov_len = range.length;
    return IoSegments(segments).subspan(first, last - first + 1);
}

/// Whether a request is one request to the graph.
bool is_one_request(BlkRequestType type) {
    switch (type) {
        case BlkRequestType::in:
        case BlkRequestType::out:
        case BlkRequestType::flush:
        case BlkRequestType::zone_append:
        case BlkRequestType::zone_open:
        case BlkRequestType::zone_close:
        case BlkRequestType::zone_finish:
        case BlkRequestType::zone_reset:
        case BlkRequestType::zone_reset_all: return true;
        case BlkRequestType::discard:
        case BlkRequestType::write_zeroes:
        case BlkRequestType::zone_report:
        case BlkRequestType::get_id:
        case BlkRequestType::get_lifetime:
        case BlkRequestType::secure_erase: return false;
    }
    return false;
}

/// What a request asks of the graph. get_id asks nothing.
Op op_of(BlkRequestType type) {
    switch (type) {
        case BlkRequestType::in: return Op::read;
        case BlkRequestType::out: return Op::write;
        case BlkRequestType::flush: return Op::flush;
        case BlkRequestType::discard: return Op::discard;
        case BlkRequestType::write_zeroes: return Op::write_zeroes;
        case BlkRequestType::zone_append: return Op::append;
        case BlkRequestType::zone_report: return Op::report_zones;
        case BlkRequestType::zone_open: return Op::zone_open;
        case BlkRequestType::zone_close: return Op::zone_close;
        case BlkRequestType::zone_finish: return Op::zone_finish;
        case BlkRequestType::zone_reset: return Op::zone_reset;
        case BlkRequestType::zone_reset_all: return Op::zone_reset_all;
        case BlkRequestType::get_id:
        case BlkRequestType::get_lifetime:
        case BlkRequestType::secure_erase: break;
    }
    ZBDKIT_ASSERT(false && "parse_blk_request lets no other type pass");
    std::unreachable();
}

/// The device always answers for the whole writable memory: the status is its last byte. What a
/// failed request leaves before it is undefined.
std::uint32_t length_up_to(std::uint64_t status_at) {
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(status_at + 1, std::numeric_limits<std::uint32_t>::max()));
}

/// append_sector, and zeroes up to the status for drivers that pad. [5.2.6]
void write_append_reply(IoSegments writable, const BlkRequest& request, std::uint64_t offset) {
    constexpr std::uint64_t kLongestPadding = 4096;
    const Le64 append_sector = offset / kSectorSize;
    copy_to(writable, 0, bytes_of(append_sector));
    const std::uint64_t padding = request.status_at - sizeof append_sector;
    fill(writable, {sizeof append_sector, std::min(padding, kLongestPadding)}, std::byte{0});
}

}  // namespace

Outcome<void> BlkDevice::check(const NodeInfo& info, const Options& options) {
    if (options.queue_count == 0 || options.queue_count > kMaxQueues) {
        return failure("a virtio disk has 1 to " + std::to_string(kMaxQueues) + " queues, not " +
                       std::to_string(options.queue_count));
    }
    return check_blk_disk(make_disk(info, options));
}

BlkDevice::BlkDevice(BlockBackend& backend, const Options& options, Clock now_ns)
    : backend_(backend),
      options_(options),
      now_ns_(std::move(now_ns)),
      disk_(make_disk(backend.info(), options)) {
    negotiate(0);
}

std::uint64_t BlkDevice::offered_features() const { return blk_offered_features(disk_); }

void BlkDevice::set_features(std::uint64_t features) {
    const std::uint64_t accepted = features & offered_features();
    // The same features come again when the transport switches its dirty log; that is no new
    // negotiation, and the driver's choice of the write cache stays.
    if (accepted != features_) negotiate(accepted);
}

void BlkDevice::reset() { negotiate(0); }

void BlkDevice::negotiate(std::uint64_t features) {
    features_ = features;
    rules_ = make_blk_rules(disk_, features);
    // A driver that cannot flush starts without a cache. [5.2.5.2]
    const bool cannot_flush = has(blk_feature::kConfigWce) && !has(blk_feature::kFlush);
    writeback_ = options_.write_cache && !cannot_flush;
}

bool BlkDevice::refuses_all() const { return rules_.refuses_all; }

bool BlkDevice::is_write_through() const { return !writeback_ || !has(blk_feature::kFlush); }

void BlkDevice::read_config(std::uint32_t offset, MutableBytes to) const {
    const BlkConfig config =
        make_blk_config(disk_, {.features = features_, .writeback = writeback_});
    const ConstBytes bytes = bytes_of(config);
    const ConstBytes from = bytes.subspan(std::min<std::size_t>(offset, bytes.size()));
    const std::size_t count = std::min(from.size(), to.size());
    std::ranges::copy(from.first(count), to.begin());
    std::ranges::fill(to.subspan(count), std::byte{0});
}

Outcome<void> BlkDevice::write_config(std::uint32_t offset, ConstBytes from) {
    constexpr std::size_t kWriteback = offsetof(BlkConfig, writeback);
    std::array<std::byte, sizeof(BlkConfig)> present{};
    read_config(0, present);
    bool writeback = writeback_;
    for (std::size_t i = 0; i < from.size(); ++i) {
        const std::size_t at = offset + i;
        const std::byte now = at < present.size() ? present[at] : std::byte{0};
        if (from[i] == now) continue;
        if (at != kWriteback) {
            return failure("byte " + std::to_string(at) + " of the configuration is read-only");
        }
        if (!has(blk_feature::kConfigWce)) {
            return failure("byte 32, writeback, is read-only: CONFIG_WCE was not negotiated");
        }
        if (std::to_integer<unsigned>(from[i]) > 1) {
            return failure("byte 32, writeback, is 0 or 1, not " +
                           std::to_string(std::to_integer<unsigned>(from[i])));
        }
        writeback = from[i] != std::byte{0};
    }
    writeback_ = writeback;
    return {};
}

Task<std::uint32_t> BlkDevice::handle(DescriptorChain& chain, History history) {
    const auto request = parse_blk_request(chain.readable, chain.writable, rules_);
    if (!request) co_return refuse(chain, request.error());
    std::byte& status = byte_at(chain.writable, request->status_at);
    const bool zoned = rules_.zoned;

    Result<void> done;
    if (is_one_request(request->type)) {
        // Nearly all are, so this is done here and not in a coroutine of its own.
        Request down = make_request(*request, chain);
        done = co_await submit_rest(backend_, down, history);
        if (!done) {
            done = failed(down.op, down.range, done.error());
        } else if (down.op == Op::append) {
            write_append_reply(chain.writable, *request, down.append_offset);
        }
    } else {
        done = co_await perform(*request, chain);
    }
    status = std::byte(done ? BlkStatus::ok : blk_status_of(done.error().code, zoned));
    co_return length_up_to(request->status_at);
}

void BlkDevice::prefetch_data(const DescriptorChain& chain) const {
    // The rest of it the processor then fetches by itself, ahead of whoever reads or writes it.
    constexpr std::uint64_t kLength = 1024;
    constexpr std::uint64_t kCacheLine = 64;
    const std::optional<BlkPlace> place = blk_place(chain.readable);
    const ConstBytes resident = backend_.info().resident;
    if (!place || place->offset >= resident.size()) return;
    const std::uint64_t offset =
        place->is_append ? backend_.root().append_place(place->offset) : place->offset;
    const std::uint64_t left = resident.size() - std::min<std::uint64_t>(offset, resident.size());
    const ConstBytes start = resident.last(left).first(std::min(kLength, left));
    for (std::uint64_t at = 0; at < start.size(); at += kCacheLine) {
        __builtin_prefetch(&start[at]);
    }
}

Request BlkDevice::make_request(const BlkRequest& request, DescriptorChain& chain) const {
    Request down{.op = op_of(request.type), .range = request.range};
    if (down.op == Op::read) {
        down.segments = narrow(chain.writable, request.data);
    } else if (down.op == Op::write || down.op == Op::append) {
        down.segments = narrow(chain.readable, request.data);
        down.fua = is_write_through();
    }
    return down;
}

/// A request that is several to the graph, or none.
Task<Result<void>> BlkDevice::perform(const BlkRequest& request, DescriptorChain& chain) {
    switch (request.type) {
        case BlkRequestType::discard:
        case BlkRequestType::write_zeroes: return perform_ranges(request);
        case BlkRequestType::zone_report: return perform_report(request, chain);
        case BlkRequestType::get_id: return write_id(request, chain);
        case BlkRequestType::in:
        case BlkRequestType::out:
        case BlkRequestType::flush:
        case BlkRequestType::zone_append:
        case BlkRequestType::zone_open:
        case BlkRequestType::zone_close:
        case BlkRequestType::zone_finish:
        case BlkRequestType::zone_reset:
        case BlkRequestType::zone_reset_all:
        case BlkRequestType::get_lifetime:
        case BlkRequestType::secure_erase: break;
    }
    ZBDKIT_ASSERT(false && "is_one_request() and parse_blk_request leave no other type");
    std::unreachable();
}

/// DISCARD and WRITE_ZEROES, one range after the other.
Task<Result<void>> BlkDevice::perform_ranges(const BlkRequest& request) {
    for (const ByteRange& range : request.ranges) {
        Request down = range_request(op_of(request.type), range);
        down.fua = down.op == Op::write_zeroes && is_write_through();
        const Result<void> done = co_await backend_.submit(down);
        if (!done) co_return failed(down.op, down.range, done.error());
    }
    co_return Result<void>{};
}

Task<Result<void>> BlkDevice::perform_report(const BlkRequest& request, DescriptorChain& chain) {
    const IoSegments room = narrow(chain.writable, request.data);
    const Result<void> done = co_await write_zone_report(backend_, request.range.offset, room);
    if (!done) co_return failed(Op::report_zones, request.range, done.error());
    co_return Result<void>{};
}

Task<Result<void>> BlkDevice::write_id(const BlkRequest& request, DescriptorChain& chain) {
    std::array<std::byte, kBlkIdSize> id{};
    const std::size_t length = std::min(options_.serial.size(), id.size());
    std::memcpy(id.data(), options_.serial.data(), length);
    copy_to(chain.writable, 0, std::span(id).first(request.data.length));
    co_return Result<void>{};
}

std::uint32_t BlkDevice::refuse(const DescriptorChain& chain, const BlkRefusal& refusal) {
    ++refused_;
    if (refusals_log_.allow(now_ns_())) {
        spdlog::warn("{}: virtio-blk request of type {} at sector {} is refused with {}: {}{}",
                     disk_name(), refusal.type, refusal.sector,
                     refusal.has_status ? blk_status_name(refusal.status) : "no status",
                     refusal.reason, refusals_log_.and_more());
    }
    if (!refusal.has_status) return 0;
    byte_at(chain.writable, refusal.status_at) = std::byte(refusal.status);
    return length_up_to(refusal.status_at);
}

std::unexpected<Error> BlkDevice::failed(Op op, ByteRange range, const Error& error) {
    if (is_storage_failure(error.code) && failures_log_.allow(now_ns_())) {
        spdlog::error("{}: {} of {} bytes at {} failed: {}{}", disk_name(), op_name(op),
                      range.length, range.offset, describe(error), failures_log_.and_more());
    }
    return std::unexpected(error);
}

std::string BlkDevice::disk_name() const {
    const BlockNode& root = backend_.root();
    return root.name().empty() ? root.describe() : root.name();
}

}  // namespace zbdkit
