// SPDX-License-Identifier: Apache-2.0
// The options of filters with a grammar of their own, and of new images: limits of throttling,
// rules of faults, worn-out zones, geometries. Parsed or refused with a message; what was parsed is
// used, and keeps its promises.
//
//   input = which:u8 request{6} text       text = key=value,...
//   request = op:u8 zone:u8 sectors:u8
#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "base/assert.h"
#include "node/filter/fault_rules.h"
#include "node/filter/fault_zones.h"
#include "node/filter/throttle_limits.h"
#include "node/format/zoned_create.h"
#include "tests/fuzz/input.h"

namespace zbdkit {
namespace {

constexpr std::size_t kRequests = 6;
constexpr std::size_t kLongestText = 2048;
constexpr int kMostWaits = 4;
/// 30 years: nobody waits that long, and the clock does not overflow.
constexpr std::uint64_t kLongestWaitNs = 1'000'000'000'000'000'000;
constexpr ZoneGeometry kDisk = {.model = ZoneModel::host_managed,
                                .device_size = 16 * kMiB,
                                .zone_size = kMiB,
                                .zone_capacity = 768 * kKiB,
                                .conventional_zones = 2,
                                .max_append_bytes = 64 * kKiB,
                                .write_granularity = 512};

using Requests = std::array<Request, kRequests>;

Requests take_requests(test::FuzzInput& input) {
    Requests requests;
    for (Request& request : requests) {
        request.op = static_cast<Op>(input.byte() % kOpCount);
        request.range = {input.byte() % 16 * kMiB, std::uint64_t{input.byte()} * 512};
    }
    return requests;
}

void throttle(const OptionValues& options, const Requests& requests) {
    const Outcome<ThrottleLimits> limits = parse_throttle_limits(options);
    if (!limits) {
        ZBDKIT_ASSERT(!limits.error().message.empty());
        return;
    }
    std::uint64_t now_ns = 1;
    ThrottleBuckets buckets(*limits, now_ns);
    for (const Request& request : requests) {
        const auto direction =
            request.op == Op::read ? ThrottleDirection::read : ThrottleDirection::write;
        // Who waits as long as told may go, or is rounded to wait a little more.
        for (int waits = 0; waits < kMostWaits; ++waits) {
            const std::uint64_t wait_ns = buckets.wait_ns(direction, now_ns);
            if (wait_ns > kLongestWaitNs) return;
            now_ns += wait_ns;
        }
        ZBDKIT_ASSERT(buckets.wait_ns(direction, now_ns) == 0);
        buckets.charge(direction, request.range.length);
    }
}

void fault(const OptionValues& options, const Requests& requests) {
    Outcome<FaultRules> rules = FaultRules::parse(options, 1, kDisk);
    if (!rules) {
        ZBDKIT_ASSERT(!rules.error().message.empty());
        return;
    }
    for (const Request& request : requests) {
        const std::optional<Error> error = rules->decide(request);
        ZBDKIT_ASSERT(!error || !rules->empty());
    }
}

void wear_out(const OptionValues& options, const Requests& requests) {
    Outcome<ZoneFaults> faults = ZoneFaults::parse(options, kDisk);
    if (!faults) {
        ZBDKIT_ASSERT(!faults.error().message.empty());
        return;
    }
    for (const Request& request : requests) {
        const ZoneIndex zone = kDisk.zone_of(request.range.offset);
        if (!faults->check(request)) {
            const bool is_reset_all = request.op == Op::zone_reset_all;
            ZBDKIT_ASSERT(is_reset_all || !faults->empty());
            continue;
        }
        if (faults->watches_open(request)) (void)faults->opening(zone);
        faults->completed(request);
        const std::optional<ZoneState> state = faults->worn_state(zone);
        ZBDKIT_ASSERT(!state || *state == ZoneState::read_only || *state == ZoneState::offline);
    }
}

void create(const OptionValues& options, const Requests& requests) {
    const std::uint64_t size =
        requests[0].range.offset + requests[0].range.length * (requests[1].range.offset + 1);
    const Outcome<zoned::NewImage> image = zoned::plan_image(size, options);
    if (!image) {
        ZBDKIT_ASSERT(!image.error().message.empty());
        return;
    }
    const zoned::Superblock superblock{.geometry = image->geometry,
                                       .block_size = image->block_size};
    ZBDKIT_ASSERT(zoned::decode_superblock(zoned::encode_superblock(superblock)) == superblock);
    (void)zoned::linux_guest_objection(*image);
}

}  // namespace
}  // namespace zbdkit

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace zbdkit;
    if (size > kLongestText) return 0;
    test::FuzzInput input(std::as_bytes(std::span(data, size)));
    const unsigned which = input.byte();
    const Requests requests = take_requests(input);
    const Outcome<OptionValues> options =
        OptionValues::parse(test::text_of(input.take_all()), "", "fuzz");
    if (!options) return 0;
    switch (which % 4) {
        case 0: throttle(*options, requests); break;
        case 1: fault(*options, requests); break;
        case 2: wear_out(*options, requests); break;
        default: create(*options, requests); break;
    }
    return 0;
}
