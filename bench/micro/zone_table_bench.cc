// SPDX-License-Identifier: Apache-2.0
// Reserving room in a zone and publishing what landed, without any I/O.
#include <benchmark/benchmark.h>

#include <array>
#include <cstdint>

#include "base/assert.h"
#include "zone/zone_table.h"

namespace zbdkit::bench {
namespace {

constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kZoneSize = kGiB;

/// The first zones of a table, written in turns. Full ones are reset, outside of the measured time.
class Writer {
  public:
    explicit Writer(std::uint32_t zones) : zones_(zones) {}

    [[nodiscard]] ZoneTable& table() { return table_; }
    [[nodiscard]] ZoneIndex next_zone() { return ZoneIndex(count_++ % zones_); }

    void reset_full_zones(benchmark::State& state) {
        if (count_ < std::uint64_t{zones_} * (kZoneSize / kBlock) - kSlack) return;
        state.PauseTiming();
        for (std::uint32_t i = 0; i < zones_; ++i) {
            const auto empty = table_.check(ZoneAction::reset, ZoneIndex(i));
            ZBDKIT_ASSERT(empty.has_value() && empty->has_value());
            table_.record(ZoneIndex(i), **empty);
        }
        count_ = 0;
        state.ResumeTiming();
    }

  private:
    static constexpr std::uint64_t kSlack = 64;

    std::uint32_t zones_;
    ZoneTable table_{ZoneGeometry{.model = ZoneModel::host_managed,
                                  .device_size = 64 * kZoneSize,
                                  .zone_size = kZoneSize,
                                  .zone_capacity = kZoneSize,
                                  .max_append_bytes = kMiB,
                                  .write_granularity = 4096}};
    std::uint64_t count_ = 0;
};

void reserve(ZoneTable& table, ZoneReservation& reservation, ZoneIndex zone) {
    const Result<void> reserved = table.reserve(reservation, zone, std::nullopt, kBlock);
    ZBDKIT_ASSERT(reserved.has_value());
}

void reserve_and_publish(benchmark::State& state) {
    Writer writer(static_cast<std::uint32_t>(state.range(0)));
    for (auto _ : state) {
        ZoneReservation reservation;
        reserve(writer.table(), reservation, writer.next_zone());
        benchmark::DoNotOptimize(writer.table().landed(reservation).resolved.size());
        writer.reset_full_zones(state);
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(reserve_and_publish)->ArgName("zones")->Arg(1)->Arg(8);

/// Two writes of each zone, of which the later one lands first and waits.
void publish_in_order(benchmark::State& state) {
    const auto zones = static_cast<std::uint32_t>(state.range(0));
    Writer writer(zones);
    ZoneTable& table = writer.table();
    for (auto _ : state) {
        std::array<ZoneReservation, 8> earlier;
        std::array<ZoneReservation, 8> later;
        for (std::uint32_t i = 0; i < zones; ++i) reserve(table, earlier[i], writer.next_zone());
        for (std::uint32_t i = 0; i < zones; ++i) reserve(table, later[i], writer.next_zone());
        for (std::uint32_t i = 0; i < zones; ++i) {
            ZBDKIT_ASSERT(table.landed(later[i]).resolved.empty());
            ZBDKIT_ASSERT(table.landed(earlier[i]).resolved.size() == 1);
        }
        writer.reset_full_zones(state);
    }
    state.SetItemsProcessed(state.iterations() * 2 * zones);
}
BENCHMARK(publish_in_order)->ArgName("zones")->Arg(1)->Arg(8);

}  // namespace
}  // namespace zbdkit::bench
