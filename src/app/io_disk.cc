// SPDX-License-Identifier: Apache-2.0
#include "app/io_disk.h"

#include <algorithm>
#include <utility>

#include "base/buffer.h"
#include "graph/graph.h"
#include "graph/zone_range.h"

namespace zbdkit::app {
namespace {

/// Zeroes that are written as data go in pieces of this.
constexpr std::uint64_t kZeroPiece = kMiB;

Task<Outcome<std::unique_ptr<BlockNode>>> open_root(OpenContext& context, OptionValues options) {
    NamedNodes none;
    Outcome<std::unique_ptr<BlockNode>> node =
        co_await open_node(context, std::move(options), none);
    co_return node;
}

}  // namespace

IoDisk::Modes IoDisk::modes_of(const IoOpening& opening) {
    return {.durable_writes =
                opening.cache == IoCache::direct_sync || opening.cache == IoCache::write_through,
            .flushes = opening.cache != IoCache::unsafe,
            .discards = opening.discards};
}

Outcome<std::unique_ptr<IoDisk>> IoDisk::open(Workshop& workshop, OptionValues options,
                                              Modes modes) {
    Outcome<std::unique_ptr<BlockNode>> root =
        workshop.run(open_root(workshop.context(), std::move(options)));
    if (!root) return std::unexpected(std::move(root.error()));
    return std::make_unique<IoDisk>(std::move(*root), modes);
}

Result<void> IoDisk::check_range(ByteRange range) const {
    if (range.is_sane() && range.end() <= info().size) return {};
    return fail(Errc::out_of_range, "beyond the end of the device");
}

bool IoDisk::is_whole_blocks(ByteRange range) const {
    const std::uint32_t block = info().block_size;
    return is_aligned(range.offset, block) && is_aligned(range.length, block);
}

ByteRange IoDisk::whole_blocks_around(ByteRange range) const {
    const std::uint32_t block = info().block_size;
    const std::uint64_t start = round_down(range.offset, block);
    return {start, round_up(range.end(), block) - start};
}

// --- Data ---------------------------------------------------------------------------------------

Task<Result<void>> IoDisk::read(ByteRange range, IoSegments segments) {
    co_await ok(check_range(range));
    const std::uint64_t zone_size = info().zones.zone_size;
    std::uint64_t done = 0;
    while (done < range.length) {
        const std::uint64_t offset = range.offset + done;
        std::uint64_t length = range.length - done;
        if (info().zones.is_zoned()) length = std::min(length, zone_size - offset % zone_size);
        const IoVector piece = slice(segments, {done, length});
        co_await ok(read_piece({offset, length}, piece));
        done += length;
    }
    co_return Result<void>{};
}

Task<Result<void>> IoDisk::read_piece(ByteRange range, IoSegments segments) {
    if (is_whole_blocks(range)) {
        Request request = read_request(range, segments);
        co_return co_await backend_.submit(request);
    }
    const ByteRange blocks = whole_blocks_around(range);
    AlignedBuffer buffer(blocks.length);
    const iovec whole = segment_of(buffer.bytes());
    Request request = read_request(blocks, IoSegments(&whole, 1));
    co_await ok(backend_.submit(request));
    copy_to(segments, 0, buffer.bytes().subspan(range.offset - blocks.offset, range.length));
    co_return Result<void>{};
}

Task<Result<void>> IoDisk::write(ByteRange range, IoSegments segments, bool fua) {
    co_await ok(check_range(range));
    if (range.length == 0) co_return Result<void>{};
    if (!is_whole_blocks(range) && !info().zones.is_zoned()) {
        co_return co_await read_modify_write(range, segments, fua);
    }
    Request request = write_request(range, segments, fua || modes_.durable_writes);
    co_return co_await backend_.submit(request);
}

Task<Result<void>> IoDisk::read_modify_write(ByteRange range, IoSegments segments, bool fua) {
    const AsyncMutex::Guard guard = co_await modifying_.lock();
    const ByteRange blocks = whole_blocks_around(range);
    AlignedBuffer buffer(blocks.length);
    const iovec whole = segment_of(buffer.bytes());
    Request reading = read_request(blocks, IoSegments(&whole, 1));
    co_await ok(backend_.submit(reading));
    copy_from(segments, 0, buffer.bytes().subspan(range.offset - blocks.offset, range.length));
    Request writing = write_request(blocks, IoSegments(&whole, 1), fua || modes_.durable_writes);
    co_return co_await backend_.submit(writing);
}

Task<Result<void>> IoDisk::write_zeroes(ByteRange range, bool fua, bool may_write) {
    co_await ok(check_range(range));
    if (range.length == 0) co_return Result<void>{};
    if (!is_whole_blocks(range)) co_return co_await write_zeroes_as_data(range, fua);
    Request request = range_request(Op::write_zeroes, range);
    request.fua = fua || modes_.durable_writes;
    const Result<void> zeroed = co_await backend_.submit(request);
    if (!zeroed && zeroed.error().code == Errc::not_supported && may_write) {
        co_return co_await write_zeroes_as_data(range, fua);
    }
    co_return zeroed;
}

Task<Result<void>> IoDisk::write_zeroes_as_data(ByteRange range, bool fua) {
    const AlignedBuffer zeroes(std::min(range.length, kZeroPiece));
    for (std::uint64_t done = 0; done < range.length;) {
        const std::uint64_t length = std::min(range.length - done, kZeroPiece);
        const iovec segment = segment_of(zeroes.bytes().first(length));
        co_await ok(write({range.offset + done, length}, IoSegments(&segment, 1), fua));
        done += length;
    }
    co_return Result<void>{};
}

Task<Result<void>> IoDisk::discard(ByteRange range) {
    co_await ok(check_range(range));
    const std::uint32_t block = info().block_size;
    const std::uint64_t start = round_up(range.offset, block);
    const std::uint64_t end = round_down(range.end(), block);
    if (!modes_.discards || start >= end) co_return Result<void>{};
    Request request = range_request(Op::discard, {start, end - start});
    const Result<void> discarded = co_await backend_.submit(request);
    if (!discarded && discarded.error().code == Errc::not_supported) co_return Result<void>{};
    co_return discarded;
}

Task<Result<void>> IoDisk::flush() {
    if (!modes_.flushes) co_return Result<void>{};
    Request request = flush_request();
    co_return co_await backend_.submit(request);
}

// --- Zones --------------------------------------------------------------------------------------

Result<void> IoDisk::check_append(ByteRange data) const {
    const ZoneGeometry& zones = info().zones;
    if (!zones.is_zoned()) return fail(Errc::not_supported, "the disk is not zoned");
    if (!is_aligned(data.offset, zones.zone_size)) {
        return fail(Errc::misaligned, "not the start of a zone");
    }
    return check_range(data);
}

Task<Result<std::uint64_t>> IoDisk::append(std::uint64_t zone_start, IoSegments segments) {
    Request request = append_request(zone_start, segments, modes_.durable_writes);
    co_await ok(backend_.submit(request));
    co_return request.append_offset;
}

Task<Result<std::vector<ZoneDescriptor>>> IoDisk::report(std::uint64_t offset, std::uint64_t most) {
    const ZoneGeometry& geometry = info().zones;
    if (!geometry.is_zoned()) co_return fail(Errc::not_supported, "the disk is not zoned");
    std::vector<ZoneDescriptor> zones;
    if (offset >= info().size) co_return zones;
    const std::uint64_t left = geometry.zone_count() - offset / geometry.zone_size;
    zones.resize(std::min(most, left));
    Request request = report_request(offset, zones);
    co_await ok(backend_.submit(request));
    zones.resize(request.zones_reported);
    co_return zones;
}

Task<Result<void>> IoDisk::act(Op action, ByteRange zones) {
    return act_on_zones(backend_, action, zones);
}

}  // namespace zbdkit::app
