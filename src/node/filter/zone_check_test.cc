// SPDX-License-Identifier: Apache-2.0
// zone_check over nodes that lie, and over the zoned format under storms of concurrent requests
// with failures and wear: there it must find nothing.
#include "node/filter/zone_check.h"

#include <deque>
#include <map>
#include <random>

#include "io/scope.h"
#include "node/filter/fault.h"
#include "tests/support/node/captured_log.h"
#include "tests/support/node/filter_test.h"
#include "tests/support/node/held_node.h"
#include "tests/support/seed.h"

namespace zbdkit {
namespace {

using test::kOk;

/// Says of appends that they landed elsewhere.
class LyingNode final : public PassthroughFilter {
  public:
    explicit LyingNode(std::unique_ptr<BlockNode> child)
        : PassthroughFilter("lying", std::move(child)) {}
    bool lies = false;

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        const Result<void> result = co_await child().submit(request);
        if (lies && request.op == Op::append) request.append_offset += 4096;
        co_return result;
    }
};

class ZoneCheck : public test::FilterTest {};

TEST_F(ZoneCheck, honest_disk_passes) {
    const auto node = open(kZoneCheckDriver, "", zoned_disk()).value();
    EXPECT_EQ(append(*node, kZone, 4096), kOk);
    EXPECT_EQ(write(*node, kZone + 4096, 4096), kOk);
    EXPECT_EQ(zone(*node, 1).state, ZoneState::implicit_open);
    EXPECT_EQ(act(*node, Op::zone_reset_all), kOk);
    EXPECT_EQ(zone(*node, 1).state, ZoneState::empty);
    close(*node);
}

TEST_F(ZoneCheck, plain_storage_passes) {
    const auto node = open(kZoneCheckDriver, "", plain_disk()).value();
    EXPECT_EQ(write(*node, 4096, 4096), kOk);
    EXPECT_EQ(read(*node, 0, 8192), kOk);
    close(*node);
}

TEST_F(ZoneCheck, violation_fails_the_request_and_is_logged_with_its_zone) {
    auto lying = std::make_unique<LyingNode>(zoned_disk());
    LyingNode& below = *lying;
    const auto node = open(kZoneCheckDriver, "", std::move(lying)).value();
    below.lies = true;
    const test::CapturedLog log;
    EXPECT_EQ(append(*node, 2 * kZone, 4096), Errc::corrupt);
    EXPECT_NE(log.text().find("broke the rules of zones: append of zone 2: a write landed at "
                              "2101248+4096: expected it at the write pointer"),
              std::string::npos)
        << log.text();
    close(*node);
}

TEST_F(ZoneCheck, violation_that_is_ignored_is_only_logged) {
    auto lying = std::make_unique<LyingNode>(zoned_disk());
    LyingNode& below = *lying;
    const auto node = open(kZoneCheckDriver, "on-error=ignore", std::move(lying)).value();
    below.lies = true;
    const test::CapturedLog log;
    EXPECT_EQ(append(*node, 2 * kZone, 4096), kOk);
    EXPECT_NE(log.text(), "");
    close(*node);
}

TEST_F(ZoneCheck, unknown_policy_is_refused) {
    EXPECT_EQ(refusal(kZoneCheckDriver, "on-error=stop", zoned_disk()),
              "driver 'zone_check': option 'on-error': 'stop' is neither report nor ignore");
}

TEST_F(ZoneCheck, host_aware_disk_passes) {
    const auto node =
        open(kZoneCheckDriver, "", zoned_disk("zone.size=1M,zone.mode=host-aware")).value();
    EXPECT_EQ(write(*node, 512 * kKiB, 4096), kOk);
    EXPECT_EQ(write(*node, 0, 4096), kOk);
    EXPECT_EQ(act(*node, Op::zone_finish, 0), kOk);
    EXPECT_EQ(zone(*node, 0).state, ZoneState::full);
    close(*node);
}

/// One request of a storm.
struct Pending {
    AlignedBuffer buffer;
    iovec segment{};
    std::array<ZoneDescriptor, 8> zones{};
    Request request;
    bool is_done = false;
    test::Answer error;
};

/// Random requests side by side; writes to the storage are held back below, let go in any order,
/// and sometimes failed.
class Storm : public ZoneCheck {
  protected:
    void start(BlockNode& node, const Request& request) {
        Pending& pending = pendings_.emplace_back();
        pending.request = request;
        if (request.op == Op::report_zones) pending.request.zones = pending.zones;
        if (request.range.length != 0) {
            pending.buffer = AlignedBuffer(request.range.length);
            pending.segment = segment_of(pending.buffer.bytes());
            pending.request.segments = IoSegments(&pending.segment, 1);
        }
        constexpr auto drive = [](BlockNode& target, Pending& one) -> Task<void> {
            const Result<void> result = co_await target.submit(one.request);
            one.is_done = true;
            if (!result) one.error = result.error().code;
        };
        scope_.spawn(drive(node, pending));
    }
    void settle() {
        for (int turn = 0; turn < 32; ++turn) reactor_.turn(false);
    }
    Request draw(std::mt19937_64& random) {
        const std::uint64_t zone_start = (1 + random() % 5) * kZone;
        const std::uint64_t length = kBlock * (1 + random() % 8);
        const auto choice = random() % 100;
        if (choice < 45) return {.op = Op::append, .range = {zone_start, length}};
        if (choice < 60) {
            return {.op = Op::write, .range = {zone_start + pointers_[zone_start], length}};
        }
        if (choice < 70) return {.op = Op::report_zones};
        if (choice < 75) return {.op = Op::read, .range = {zone_start, length}};
        if (choice < 82) return zone_request(Op::zone_open, zone_start);
        if (choice < 89) return zone_request(Op::zone_close, zone_start);
        if (choice < 92) return zone_request(Op::zone_finish, zone_start);
        if (choice < 99) return zone_request(Op::zone_reset, zone_start);
        return zone_request(Op::zone_reset_all, 0);
    }
    /// Where the writer believes the pointers to be, from the reports that came back.
    void learn() {
        for (; learned_ < pendings_.size() && pendings_[learned_].is_done; ++learned_) {
            const Pending& pending = pendings_[learned_];
            for (std::uint32_t i = 0; i < pending.request.zones_reported; ++i) {
                const ZoneDescriptor& seen = pending.zones.at(i);
                pointers_[seen.start] = seen.write_pointer % kZone;
            }
        }
    }
    /// @return what went to the log
    std::string rage(BlockNode& node, test::HeldNode& below, unsigned failures_percent) {
        std::mt19937_64 random(test::seed());
        const test::CapturedLog log;
        for (int round = 0; round < 4000; ++round) {
            if (random() % 3 != 0) {
                start(node, draw(random));
            } else if (below.held_count() > 0) {
                const bool fails = random() % 100 < failures_percent;
                below.release(random() % below.held_count(),
                              fails ? std::optional(Errc::io) : std::nullopt);
            }
            settle();
            learn();
        }
        below.hold_nothing();
        while (below.held_count() > 0) {
            below.release(0);
            settle();
        }
        close(node);
        return log.text();
    }
    void expect_calm(const std::string& log) {
        EXPECT_EQ(log.find("broke the rules"), std::string::npos) << log;
        EXPECT_TRUE(std::ranges::all_of(pendings_, &Pending::is_done));
        EXPECT_EQ(std::ranges::count(pendings_, test::Answer(Errc::corrupt), &Pending::error), 0);
        EXPECT_GT(std::ranges::count(pendings_, kOk, &Pending::error), 500);
    }
    /// A zoned disk whose storage holds its data writes back.
    std::unique_ptr<BlockNode> held_disk(test::HeldNode** below) {
        const OptionValues create = OptionValues::parse(kZonedOptions, "", "test").value();
        const zoned::NewImage plan = zoned::plan_image(kZones * kZone, create).value();
        const zoned::Layout layout = zoned::layout_of(plan.geometry);
        auto held = std::make_unique<test::HeldNode>(plain_disk(layout.image_size));
        *below = held.get();
        EXPECT_TRUE(reactor_.run_to_end(zoned::format_image(*held, plan)).has_value());
        std::unique_ptr<BlockNode> disk = open(kZonedDriver, "", std::move(held)).value();
        (*below)->hold_from(layout.data_offset);
        return disk;
    }

    TaskScope scope_;
    std::deque<Pending> pendings_;
    std::size_t learned_ = 0;
    std::map<std::uint64_t, std::uint64_t> pointers_;
};

TEST_F(Storm, of_concurrent_requests_raises_no_alarm) {
    SCOPED_TRACE(test::seed_trace());
    test::HeldNode* below = nullptr;
    auto disk = held_disk(&below);
    const auto node = open(kZoneCheckDriver, "", std::move(disk)).value();
    expect_calm(rage(*node, *below, 0));
}

TEST_F(Storm, with_failing_writes_raises_no_alarm) {
    SCOPED_TRACE(test::seed_trace());
    test::HeldNode* below = nullptr;
    auto disk = held_disk(&below);
    const auto node = open(kZoneCheckDriver, "", std::move(disk)).value();
    expect_calm(rage(*node, *below, 10));
}

TEST_F(Storm, over_zones_that_wear_out_raises_no_alarm) {
    SCOPED_TRACE(test::seed_trace());
    test::HeldNode* below = nullptr;
    auto disk = held_disk(&below);
    auto faulty = open(kFaultDriver,
                       "zone-fault.0.zone=1,zone-fault.0.state=read-only,zone-fault.0.when=writes,"
                       "zone-fault.0.after=20,zone-fault.1.zone=2,zone-fault.1.state=offline,"
                       "zone-fault.1.when=resets,zone-fault.1.after=5,zone-fault.2.zone=3,"
                       "zone-fault.2.when=open,zone-fault.2.state=offline,zone-fault.2.after=9,"
                       "seed=3,inject-error.0.probability=2%",
                       std::move(disk))
                      .value();
    const auto node = open(kZoneCheckDriver, "", std::move(faulty)).value();
    expect_calm(rage(*node, *below, 5));
}

TEST_F(Storm, over_a_disk_that_lies_raises_the_alarm) {
    SCOPED_TRACE(test::seed_trace());
    test::HeldNode* below = nullptr;
    auto lying = std::make_unique<LyingNode>(held_disk(&below));
    lying->lies = true;
    const auto node = open(kZoneCheckDriver, "", std::move(lying)).value();
    EXPECT_NE(rage(*node, *below, 5).find("broke the rules"), std::string::npos);
}

}  // namespace
}  // namespace zbdkit
