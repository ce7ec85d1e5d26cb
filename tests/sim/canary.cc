// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/canary.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "base/buffer.h"
#include "base/iovec.h"
#include "io/scope.h"

namespace zbdkit::sim {
namespace {

/// What a write of the zoned format is for.
enum class Part : std::uint8_t { superblock, live_table, commit_page, data };

Part part_of(const zoned::Layout& layout, std::uint64_t offset) {
    if (offset < layout.live_table_offset) return Part::superblock;
    if (offset < layout.commit_offset) return Part::live_table;
    return offset < layout.data_offset ? Part::commit_page : Part::data;
}

class CanaryNode final : public PassthroughFilter {
  public:
    CanaryNode(Canary canary, const ZoneGeometry& geometry, std::unique_ptr<BlockNode> child)
        : PassthroughFilter("canary", std::move(child)),
          canary_(canary),
          layout_(zoned::layout_of(geometry)),
          zone_size_(geometry.zone_size) {}

    [[nodiscard]] Result<NodeMapping> map(ByteRange range) override {
        if (canary_ != Canary::private_live_table) return child().map(range);
        Result<NodeMapping> shared = child().map(range);
        if (!shared) return shared;
        copy_ = AlignedBuffer(range.length);
        std::ranges::copy(shared->bytes(), copy_.bytes().begin());
        return NodeMapping(copy_.bytes(), {});
    }

    [[nodiscard]] Task<Outcome<void>> close() override {
        co_await early_.join();
        Outcome<void> closed = co_await PassthroughFilter::close();
        co_return closed;
    }

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        const Part part = part_of(layout_, request.range.offset);
        if (request.op == Op::flush) return flush(request);
        if (request.op == Op::write && part == Part::commit_page) return commit(request);
        if (request.op == Op::write && part == Part::data) return write_data(request);
        if (request.op == Op::write && part == Part::superblock) return write_superblock(request);
        if (request.op == Op::write && part == Part::live_table) return write_live_page(request);
        return child().submit(request);
    }

  private:
    Task<Result<void>> flush(Request& request) {
        const bool after_commit = std::exchange(wrote_commit_, false);
        const bool after_superblock = std::exchange(wrote_superblock_, false);
        const bool is_skipped =
            !after_superblock && ((canary_ == Canary::skip_data_sync && !after_commit) ||
                                  (canary_ == Canary::skip_commit_sync && after_commit));
        if (is_skipped) co_return Result<void>{};
        co_return co_await child().submit(request);
    }

    Task<Result<void>> write_superblock(Request& request) {
        wrote_superblock_ = true;
        const bool is_second = request.range.offset == zoned::kSecondSuperblockOffset;
        if (canary_ == Canary::stale_superblock && is_second) co_return Result<void>{};
        co_return co_await child().submit(request);
    }

    /// Which slot a page is written to when it is always the same.
    [[nodiscard]] std::uint64_t newer_slot(std::uint64_t offset) {
        const std::uint64_t pair = (offset - layout_.commit_offset) / (2 * zoned::kPageSize);
        return layout_.slot_offset(static_cast<std::uint32_t>(pair), 0);
    }

    Task<Result<void>> commit(Request& request) {
        wrote_commit_ = true;
        if (canary_ == Canary::newer_slot) request.range.offset = newer_slot(request.range.offset);
        if (canary_ == Canary::punch_early) co_await ok(punch_what_it_resets(request));
        co_return co_await child().submit(request);
    }

    Task<Result<void>> punch_what_it_resets(const Request& request) {
        AlignedBuffer page(zoned::kPageSize);
        copy_from(request.segments, 0, page.bytes());
        constexpr std::size_t kFirstWord = 64;
        for (std::size_t i = 0; i < zoned::kZonesPerPage; ++i) {
            const auto bits = load_le<std::uint64_t>(page.data() + kFirstWord + i * 8);
            const Result<zoned::Word> word = zoned::decode_word(bits);
            if (!word || !word->reclaim_pending) continue;
            const std::uint64_t start = layout_.data_offset + i * zone_size_;
            Request punch =
                range_request(Op::discard, {start, std::min(zone_size_, info().size - start)});
            co_await ok(child().submit(punch));
            Request sync = flush_request();
            co_await ok(child().submit(sync));
        }
        co_return Result<void>{};
    }

    Task<Result<void>> write_data(Request& request) {
        if (canary_ == Canary::publish_early) return write_early(request);
        if (canary_ == Canary::forget_failure) return write_blindly(request);
        return child().submit(request);
    }

    Task<Result<void>> write_live_page(Request& request) {
        if (canary_ == Canary::early_live_page) return write_early(request);
        return child().submit(request);
    }

    Task<Result<void>> write_early(Request& request) {
        std::vector<std::byte> bytes(request.range.length);
        copy_from(request.segments, 0, bytes);
        early_.spawn(write_later(request.range.offset, std::move(bytes)));
        co_return Result<void>{};
    }
    Task<void> write_later(std::uint64_t offset, std::vector<std::byte> bytes) {
        const iovec segment = segment_of(MutableBytes(bytes));
        Request request = write_request({offset, bytes.size()}, IoSegments(&segment, 1));
        const Result<void> ignored = co_await child().submit(request);
        static_cast<void>(ignored);
    }

    Task<Result<void>> write_blindly(Request& request) {
        const Result<void> ignored = co_await child().submit(request);
        static_cast<void>(ignored);
        co_return Result<void>{};
    }

    Canary canary_;
    zoned::Layout layout_;
    std::uint64_t zone_size_;
    bool wrote_commit_ = false;
    bool wrote_superblock_ = false;
    AlignedBuffer copy_;
    TaskScope early_;
};

class IgnoreFua final : public PassthroughFilter {
  public:
    explicit IgnoreFua(std::unique_ptr<BlockNode> child)
        : PassthroughFilter("canary", std::move(child)) {}

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        request.fua = false;
        return child().submit(request);
    }
};

}  // namespace

Outcome<Canary> parse_canary(std::string_view name) {
    const auto found = std::ranges::find(kCanaryNames, name);
    if (found == kCanaryNames.end()) {
        return failure(
            fmt::format("unknown canary '{}': expected {}", name, fmt::join(kCanaryNames, ", ")));
    }
    return static_cast<Canary>(found - kCanaryNames.begin());
}

std::unique_ptr<BlockNode> with_canary(Canary canary, const ZoneGeometry& geometry,
                                       std::unique_ptr<BlockNode> child) {
    const bool is_elsewhere = canary == Canary::trust_live_table || canary == Canary::ignore_fua ||
                              canary == Canary::name_a_boot || canary == Canary::lose_completed;
    if (canary == Canary::none || is_elsewhere) return child;
    return std::make_unique<CanaryNode>(canary, geometry, std::move(child));
}

std::unique_ptr<BlockNode> with_canary_above(Canary canary, std::unique_ptr<BlockNode> format) {
    if (canary != Canary::ignore_fua) return format;
    return std::make_unique<IgnoreFua>(std::move(format));
}

}  // namespace zbdkit::sim
