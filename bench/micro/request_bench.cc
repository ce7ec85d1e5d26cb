// SPDX-License-Identifier: Apache-2.0
// The way of one request through a ring: the ring alone, and a device over nodes that need no I/O.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>

#include "base/assert.h"
#include "bench/micro/device_loop.h"

namespace zbdkit::bench {
namespace {

constexpr std::uint64_t kDiskSectors = 64 * kMiB / kSectorSize;
constexpr std::uint64_t kSectorsPerBlock = RingLoop::kBlock / kSectorSize;
constexpr std::uint64_t kZoneSize = 8 * kMiB;
constexpr std::uint64_t kZones = 8;

void count_requests(benchmark::State& state) {
    state.SetItemsProcessed(state.iterations() * RingLoop::kBatch);
}

/// Pop and push, and the pretend driver's half, which all benchmarks of this file contain.
void ring(benchmark::State& state) {
    RingLoop ring(state.range(0) != 0,
                  state.range(1) != 0 ? test::ChainForm::indirect : test::ChainForm::direct);
    for (auto _ : state) {
        ring.add_batch(BlkRequestType::in, [] { return 0; });
        for (std::uint32_t i = 0; i < RingLoop::kBatch; ++i) {
            DescriptorChain& chain = ring.chain(i);
            ZBDKIT_ASSERT(ring.queue().pop(chain) == VirtQueue::Pop::chain);
            ring.queue().push(chain, 1);
            chain.clear();
        }
        static_cast<void>(ring.queue().take_notification());
        ring.take_batch(BlkRequestType::in);
    }
    count_requests(state);
}
BENCHMARK(ring)->ArgNames({"packed", "indirect"})->ArgsProduct({{0, 1}, {0, 1}});

/// @param next_sector  where the next request goes
template <class NextSector>
void serve(benchmark::State& state, Disk& disk, BlkRequestType type, NextSector next_sector) {
    RingLoop ring(false);
    for (auto _ : state) {
        ring.add_batch(type, next_sector);
        disk.serve_batch(ring);
        ring.take_batch(type);
    }
    count_requests(state);
}

void plain(benchmark::State& state, const std::string& options, BlkRequestType type) {
    Disk disk(options);
    std::uint64_t sector = 0;
    serve(state, disk, type, [&sector] {
        sector = (sector + 7 * kSectorsPerBlock) % kDiskSectors;
        return sector;
    });
}
BENCHMARK_CAPTURE(plain, null_read, "driver=null,size=64M", BlkRequestType::in);
BENCHMARK_CAPTURE(plain, memory_read, "driver=memory,size=64M", BlkRequestType::in);
BENCHMARK_CAPTURE(plain, memory_write, "driver=memory,size=64M", BlkRequestType::out);

/// Writes or appends to all zones in turn. Full zones are reset, outside of the measured time.
void zoned(benchmark::State& state, BlkRequestType type) {
    Disk disk(kZones * kZoneSize, "zone.size=8M");
    constexpr std::uint64_t kBlocks = kZoneSize / RingLoop::kBlock;
    std::uint64_t requests = 0;
    const auto next_sector = [&requests, type] {
        const std::uint64_t zone = requests % kZones;
        const std::uint64_t block = type == BlkRequestType::out ? requests / kZones % kBlocks : 0;
        ++requests;
        return zone * (kZoneSize / kSectorSize) + block * kSectorsPerBlock;
    };
    RingLoop ring(false);
    for (auto _ : state) {
        ring.add_batch(type, next_sector);
        disk.serve_batch(ring);
        ring.take_batch(type);
        if (requests % (kZones * kBlocks) != 0) continue;
        state.PauseTiming();
        Request reset = zone_request(Op::zone_reset_all, 0);
        disk.submit(reset);
        state.ResumeTiming();
    }
    count_requests(state);
}
BENCHMARK_CAPTURE(zoned, write, BlkRequestType::out);
BENCHMARK_CAPTURE(zoned, append, BlkRequestType::zone_append);

}  // namespace
}  // namespace zbdkit::bench

BENCHMARK_MAIN();
