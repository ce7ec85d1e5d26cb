// SPDX-License-Identifier: Apache-2.0
// The parser of requests: what is wanted, checked against the disk.
#include <benchmark/benchmark.h>

#include <cstdint>

#include "base/assert.h"
#include "tests/support/virtio/blk_chain.h"
#include "virtio/blk_parse.h"

namespace zbdkit::bench {
namespace {

using test::operator+;

constexpr std::size_t kBlock = 4096;
constexpr std::size_t kStatus = 1;
constexpr std::size_t kAppendTail = 16;
constexpr std::uint64_t kZoneSize = 64 * kMiB;

/// A zoned disk, or a plain one that can discard.
BlkRules rules_of(bool zoned) {
    BlkDisk disk{.size = kGiB, .block_size = 4096, .can_discard = true};
    if (zoned) {
        disk.zones = {.model = ZoneModel::host_managed,
                      .device_size = disk.size,
                      .zone_size = kZoneSize,
                      .zone_capacity = kZoneSize,
                      .max_append_bytes = kMiB,
                      .write_granularity = 4096};
    }
    return make_blk_rules(disk, blk_offered_features(disk));
}

test::Bytes header(BlkRequestType type, std::uint64_t sector) {
    return test::header_bytes(static_cast<std::uint32_t>(type), sector);
}

void parse(benchmark::State& state, const test::BlkChain& request, const BlkRules& rules) {
    const DescriptorChain& chain = request.chain;
    ZBDKIT_ASSERT(parse_blk_request(chain.readable, chain.writable, rules).has_value());
    for (auto _ : state) {
        benchmark::DoNotOptimize(parse_blk_request(chain.readable, chain.writable, rules));
    }
    state.SetItemsProcessed(state.iterations());
}

void parse_read(benchmark::State& state) {
    const test::BlkChain request(header(BlkRequestType::in, 8), kBlock + kStatus, {}, {kBlock});
    parse(state, request, rules_of(false));
}
BENCHMARK(parse_read);

void parse_append(benchmark::State& state) {
    const test::BlkChain request(
        header(BlkRequestType::zone_append, kZoneSize / kSectorSize) + test::bytes(kBlock, 1),
        kAppendTail, {16});
    parse(state, request, rules_of(true));
}
BENCHMARK(parse_append);

void parse_discard(benchmark::State& state) {
    const test::BlkChain request(header(BlkRequestType::discard, 0) + test::range_bytes(8, 8, 0) +
                                     test::range_bytes(64, 8, 0),
                                 kStatus, {16});
    parse(state, request, rules_of(false));
}
BENCHMARK(parse_discard);

}  // namespace
}  // namespace zbdkit::bench
