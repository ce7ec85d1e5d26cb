// SPDX-License-Identifier: Apache-2.0
// A node that does what it is told and notes what it was asked, for tests of what stands above the
// graph. It keeps no zone rules: an append goes where `append_offset` says. One thread.
#pragma once

#include <algorithm>
#include <array>
#include <coroutine>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "block/node.h"
#include "io/run_queue.h"
#include "io/scope.h"
#include "io/sync.h"

namespace zbdkit::test {

/// Runs a task that waits for nothing but other coroutines.
template <class T>
[[nodiscard]] T run_now(Task<T> task) {
    constexpr auto keep = [](Task<T> inner, std::optional<T>& slot) -> Task<void> {
        T value = co_await std::move(inner);
        slot.emplace(std::move(value));
    };
    std::optional<T> result;
    TaskScope scope;
    scope.spawn(keep(std::move(task), result));
    while (has_scheduled()) run_scheduled();
    return std::move(result.value());
}

class FakeZonedNode final : public BlockNode {
  public:
    struct Seen {
        Op op;
        ByteRange range;
        bool fua;
        std::size_t segment_count;
        bool operator==(const Seen&) const = default;
    };

    explicit FakeZonedNode(const NodeInfo& info) : BlockNode("fake") {
        set_info(info);
        for (std::uint32_t i = 0; i < info.zones.zone_count(); ++i) zones.push_back(zone_at(i));
    }
    [[nodiscard]] std::string describe() const override { return "fake disk"; }

    std::vector<Seen> seen;
    std::optional<Error> error;       // what every request fails with
    std::optional<Op> error_of;       // or only those of this kind
    std::uint64_t append_offset = 0;  // where the next append goes
    std::byte pattern{0xd5};          // what reads return
    std::vector<std::byte> received;  // data of the last write or append
    std::vector<ZoneDescriptor> zones;
    std::uint32_t most_reported = ~std::uint32_t{0};  // zones of one report
    bool holds = false;                               // requests wait for release()
    WaitQueue held;

    /// A disk of 1 MiB: 16 zones of 64 KiB, the first conventional, the others of 48 KiB capacity.
    [[nodiscard]] static NodeInfo small_host_managed() {
        return {.size = 1048576,
                .ops = {Op::read, Op::write, Op::append, Op::flush, Op::report_zones, Op::zone_open,
                        Op::zone_close, Op::zone_finish, Op::zone_reset, Op::zone_reset_all},
                .zones = {.model = ZoneModel::host_managed,
                          .device_size = 1048576,
                          .zone_size = 65536,
                          .zone_capacity = 49152,
                          .conventional_zones = 1,
                          .max_open_zones = 3,
                          .max_active_zones = 5,
                          .max_append_bytes = 16384,
                          .write_granularity = 4096}};
    }
    [[nodiscard]] static NodeInfo small_host_aware() {
        NodeInfo info = small_host_managed();
        info.zones.model = ZoneModel::host_aware;
        info.ops.add(Op::discard);
        info.ops.add(Op::write_zeroes);
        return info;
    }
    [[nodiscard]] static NodeInfo plain() {
        return {.size = 1048576,
                .ops = {Op::read, Op::write, Op::flush, Op::discard, Op::write_zeroes}};
    }

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        seen.push_back({request.op, request.range, request.fua, request.segments.size()});
        while (holds) co_await held.wait();
        const bool fails = !error_of || *error_of == request.op;
        if (error && fails) co_return std::unexpected(*error);
        if (request.op == Op::read) fill(request.segments, {0, request.range.length}, pattern);
        if (request.op == Op::write || request.op == Op::append) receive(request);
        if (request.op == Op::append) request.append_offset = append_offset;
        if (request.op == Op::report_zones) report(request);
        co_return Result<void>{};
    }

  private:
    [[nodiscard]] ZoneDescriptor zone_at(std::uint32_t number) const {
        const ZoneGeometry& geometry = info().zones;
        const ZoneIndex zone{number};
        const ZoneType type = geometry.type_of(zone);
        return {.start = geometry.start_of(zone),
                .length = geometry.length_of(zone),
                .capacity = geometry.capacity_of(zone),
                .write_pointer = geometry.start_of(zone),
                .type = type,
                .state = type == ZoneType::conventional ? ZoneState::not_write_pointer
                                                        : ZoneState::empty};
    }
    void receive(const Request& request) {
        received.resize(request.range.length);
        copy_from(request.segments, 0, received);
    }
    void report(Request& request) const {
        const std::size_t first = request.range.offset / info().zones.zone_size;
        const std::size_t count =
            std::min<std::size_t>({zones.size() - first, request.zones.size(), most_reported});
        std::copy_n(zones.begin() + static_cast<std::ptrdiff_t>(first), count,
                    request.zones.begin());
        request.zones_reported = static_cast<std::uint32_t>(count);
    }
};

}  // namespace zbdkit::test
