// SPDX-License-Identifier: Apache-2.0
// A small disk in memory for tests of what serves it: zoned with a write pointer for each zone, or
// plain. Requests can be held back from another thread. It knows only what those tests need; rules
// of zones are tested elsewhere.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "block/node.h"
#include "io/reactor.h"

namespace zbdkit::test {

class FakeDisk final : public BlockNode {
  public:
    static constexpr std::uint32_t kBlockSize = 512;
    static constexpr std::uint64_t kZoneSize = kMiB;
    static constexpr std::uint32_t kZoneCount = 8;
    static constexpr std::uint64_t kSize = kZoneCount * kZoneSize;

    FakeDisk(Reactor& reactor, ZoneModel model)
        : BlockNode("fake"), reactor_(reactor), bytes_(kSize), written_(kZoneCount) {
        NodeInfo info{
            .size = kSize, .block_size = kBlockSize, .ops = {Op::read, Op::write, Op::flush}};
        if (model != ZoneModel::none) {
            info.ops = {Op::read,         Op::write,         Op::append,      Op::flush,
                        Op::zone_open,    Op::zone_close,    Op::zone_finish, Op::zone_reset,
                        Op::report_zones, Op::zone_reset_all};
            info.zones = {.model = model,
                          .device_size = kSize,
                          .zone_size = kZoneSize,
                          .zone_capacity = kZoneSize,
                          .max_append_bytes = 64 * kKiB,
                          .write_granularity = kBlockSize};
        }
        set_info(info);
    }
    [[nodiscard]] std::string describe() const override { return "fake"; }

    /// While set, requests that arrive wait. Thread: any.
    std::atomic<bool> hold{false};
    /// While set, requests that were performed wait before they end. Thread: any.
    std::atomic<bool> hold_ends{false};
    std::atomic<unsigned> performed{0};
    /// While set: a byte in the middle of what is read is wrong; data of writes goes nowhere; all
    /// requests fail. Thread: any.
    std::atomic<bool> spoil_reads{false};
    std::atomic<bool> lose_writes{false};
    std::atomic<bool> fail_all{false};
    /// Requests that arrived, and those that ended. Thread: any.
    std::atomic<unsigned> arrived{0};
    std::atomic<unsigned> ended{0};

    /// How much of a zone is written; to be told, and asked, on the disk's reactor.
    void set_written(std::uint32_t zone, std::uint64_t length) { written_[zone] = length; }
    [[nodiscard]] std::uint64_t written(std::uint32_t zone) const { return written_[zone]; }

  protected:
    [[nodiscard]] Task<Result<void>> do_submit(Request& request) override {
        ++arrived;
        while (hold) co_await reactor_.sleep_ns(200'000);
        const Result<void> result = perform(request);
        ++performed;
        while (hold_ends) co_await reactor_.sleep_ns(200'000);
        ++ended;
        co_return result;
    }

  private:
    [[nodiscard]] Result<void> perform(Request& request) {
        if (fail_all) return fail(Errc::io, "a fake fault");
        const auto zone = static_cast<std::uint32_t>(request.range.offset / kZoneSize);
        switch (request.op) {
            case Op::read: read(request); return {};
            case Op::write: return write(request, zone);
            case Op::append:
                request.append_offset = zone * kZoneSize + written_[zone];
                copy_from(request.segments, 0, at({request.append_offset, request.range.length}));
                request.record.placed({request.append_offset, request.range.length});
                written_[zone] += request.range.length;
                request.record.landed();
                return {};
            case Op::report_zones: report(request, zone); return {};
            case Op::zone_finish: written_[zone] = kZoneSize; return {};
            case Op::zone_reset: written_[zone] = 0; return {};
            case Op::zone_reset_all: written_.assign(kZoneCount, 0); return {};
            case Op::flush:
            case Op::zone_open: return {};
            case Op::zone_close:
                // No zone is open without data, and none closed.
                if (written_[zone] != 0 && written_[zone] != kZoneSize) return {};
                return fail(Errc::zone_invalid, "close of an empty or full zone");
            case Op::discard:
            case Op::write_zeroes: break;
        }
        return fail(Errc::not_supported, "not in this fake");
    }

    void read(const Request& request) {
        const MutableBytes found = at(request.range);
        std::byte& middle = found[found.size() / 2];
        const std::byte right = middle;
        if (spoil_reads) middle ^= std::byte{1};
        copy_to(request.segments, 0, found);
        middle = right;
    }

    [[nodiscard]] Result<void> write(const Request& request, std::uint32_t zone) {
        if (info().zones.is_zoned()) {
            if (request.range.offset != zone * kZoneSize + written_[zone]) {
                return fail(Errc::zone_unaligned_wp, "not at the write pointer");
            }
            written_[zone] += request.range.length;
        }
        if (!lose_writes) copy_from(request.segments, 0, at(request.range));
        return {};
    }

    void report(Request& request, std::uint32_t first) {
        for (std::uint32_t i = first; i < kZoneCount; ++i) {
            if (request.zones_reported == request.zones.size()) return;
            request.zones[request.zones_reported++] = {
                .start = i * kZoneSize,
                .length = kZoneSize,
                .capacity = kZoneSize,
                .write_pointer = i * kZoneSize + written_[i],
                .type = ZoneType::sequential_required,
                .state = written_[i] == 0 ? ZoneState::empty : ZoneState::implicit_open};
        }
    }

    [[nodiscard]] MutableBytes at(ByteRange range) {
        return MutableBytes(bytes_).subspan(range.offset, range.length);
    }

    Reactor& reactor_;
    std::vector<std::byte> bytes_;
    std::vector<std::uint64_t> written_;  // bytes, for each zone
};

}  // namespace zbdkit::test
