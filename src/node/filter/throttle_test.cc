// SPDX-License-Identifier: Apache-2.0
// Requests that wait for the limits, on a clock that the test moves. How fast they may go is
// throttle_limits_test.cc.
#include "node/filter/throttle.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "io/blocking_pool.h"
#include "io/scope.h"
#include "node/filter/throttle_group.h"
#include "tests/support/io/manual_engine.h"
#include "tests/support/node/timed_node.h"

namespace zbdkit {
namespace {

using test::TimedNode;

constexpr std::uint64_t kMillisecond = 1'000'000;

class Throttle : public testing::Test {
  protected:
    /// Makes a group, and returns the message if that fails.
    std::string make_group(const std::string& id, std::string_view options) {
        const OptionValues values = OptionValues::parse(options, "", "object '" + id + "'").value();
        Outcome<std::shared_ptr<SharedObject>> group = kThrottleGroupObject.make(context_, values);
        if (!group) return group.error().message;
        context_.objects.emplace(id, std::move(*group));
        return "";
    }
    /// Opens one more disk, and returns the message if that fails.
    std::string open(std::string_view options) {
        const OptionValues values =
            options.empty() ? OptionValues("driver 'throttle'")
                            : OptionValues::parse(options, "", "driver 'throttle'").value();
        ChildNodes children;
        arrivals_.emplace_back();
        children.push_back(std::make_unique<TimedNode>(reactor_, arrivals_.back()));
        Outcome<std::unique_ptr<BlockNode>> node =
            reactor_.run_to_end(kThrottleDriver.open(context_, values, children));
        if (!node) return node.error().message;
        disks_.push_back(std::move(*node));
        return "";
    }

    static Task<void> drive(BlockNode& disk, Request request, std::vector<std::byte> bytes) {
        const iovec segment = {bytes.data(), bytes.size()};
        if (!bytes.empty()) request.segments = IoSegments(&segment, 1);
        const Result<void> result = co_await disk.submit(request);
        EXPECT_TRUE(result.has_value());
    }
    /// Starts a request at the present time.
    void start(std::size_t disk, const Request& request) {
        const bool has_data =
            request.op == Op::read || request.op == Op::write || request.op == Op::append;
        std::vector<std::byte> bytes(has_data ? request.range.length : 0);
        scope_.spawn(drive(*disks_.at(disk), request, std::move(bytes)));
    }
    void start(std::size_t disk, Op op, int count) {
        for (int i = 0; i < count; ++i) start(disk, Request{.op = op});
    }
    static Task<void> join(TaskScope& scope) { co_await scope.join(); }
    /// Runs until everything has ended.
    void finish() { reactor_.run_to_end(join(scope_)); }
    /// Runs for this long.
    static Task<void> pass(Reactor& reactor, std::uint64_t duration_ns) {
        co_await reactor.sleep_ns(duration_ns);
    }
    void run_for(std::uint64_t duration_ns) { reactor_.run_to_end(pass(reactor_, duration_ns)); }
    /// When the requests of a disk went through, in milliseconds from the test's start.
    std::vector<std::uint64_t> times_ms(std::size_t disk) {
        std::vector<std::uint64_t> times;
        for (const TimedNode::Arrival& arrival : arrivals_.at(disk)) {
            times.push_back((arrival.at_ns - 1000) / kMillisecond);
        }
        return times;
    }

    Reactor reactor_{std::make_unique<test::ManualEngine>()};
    BlockingPool pool_{1};
    OpenContext context_{reactor_, pool_};
    std::deque<std::vector<TimedNode::Arrival>> arrivals_;
    std::vector<std::unique_ptr<BlockNode>> disks_;
    TaskScope scope_;
};

using Times = std::vector<std::uint64_t>;

TEST_F(Throttle, requests_go_at_the_rate_of_their_limit) {
    ASSERT_EQ(open("limits.iops-total=10"), "");
    start(0, Op::write, 5);
    finish();
    EXPECT_EQ(times_ms(0), (Times{0, 0, 100, 200, 300}));
}

TEST_F(Throttle, first_come_is_first_served) {
    ASSERT_EQ(open("limits.iops-total=10"), "");
    for (std::uint64_t i = 0; i < 5; ++i) {
        start(0, range_request(Op::discard, {i * 512, 512}));
    }
    finish();
    std::vector<std::uint64_t> offsets;
    for (const TimedNode::Arrival& arrival : arrivals_[0]) offsets.push_back(arrival.offset);
    EXPECT_EQ(offsets, (std::vector<std::uint64_t>{0, 512, 1024, 1536, 2048}));
}

TEST_F(Throttle, bytes_of_writes_and_appends_count) {
    ASSERT_EQ(open("limits.bps-write=1M"), "");
    start(0, {.op = Op::write, .range = {0, kMiB}});
    start(0, {.op = Op::append, .range = {0, kMiB}});
    start(0, {.op = Op::write, .range = {0, 512}});
    finish();
    EXPECT_EQ(times_ms(0), (Times{0, 900, 1900}));
}

TEST_F(Throttle, zone_actions_count_as_writes) {
    ASSERT_EQ(open("limits.iops-write=1"), "");
    for (const Op op :
         {Op::zone_open, Op::zone_close, Op::zone_finish, Op::zone_reset, Op::zone_reset_all}) {
        start(0, op, 1);
    }
    finish();
    EXPECT_EQ(times_ms(0), (Times{0, 900, 1900, 2900, 3900}));
}

TEST_F(Throttle, write_limit_does_not_hold_up_reads) {
    ASSERT_EQ(open("limits.iops-write=1"), "");
    start(0, Op::write, 3);
    start(0, Op::read, 100);
    run_for(kMillisecond);
    EXPECT_EQ(arrivals_[0].size(), 101U);
    finish();
    EXPECT_EQ(arrivals_[0].size(), 103U);
}

TEST_F(Throttle, reads_and_writes_share_a_total_evenly) {
    ASSERT_EQ(open("limits.iops-total=10"), "");
    start(0, Op::write, 50);
    start(0, Op::read, 50);
    run_for(3950 * kMillisecond);
    const auto is_read = [](const TimedNode::Arrival& arrival) { return arrival.op == Op::read; };
    const auto reads = std::ranges::count_if(arrivals_[0], is_read);
    const auto writes = static_cast<std::ptrdiff_t>(arrivals_[0].size()) - reads;
    EXPECT_EQ(arrivals_[0].size(), 41U);
    EXPECT_LE(std::abs(reads - writes), 3);
    finish();
}

TEST_F(Throttle, flushes_and_reports_pass_freely) {
    ASSERT_EQ(open("limits.iops-total=1"), "");
    start(0, Op::write, 2);
    start(0, Op::flush, 10);
    start(0, Op::report_zones, 10);
    run_for(kMillisecond);
    EXPECT_EQ(arrivals_[0].size(), 21U);
    finish();
}

TEST_F(Throttle, burst_goes_at_once) {
    ASSERT_EQ(open("limits.iops-total=10,limits.iops-total-max=20"), "");
    start(0, Op::write, 23);
    finish();
    const Times times = times_ms(0);
    EXPECT_EQ(std::ranges::count(times, 0U), 21);
    EXPECT_EQ(times[21], 100U);
    EXPECT_EQ(times[22], 200U);
}

TEST_F(Throttle, disks_of_a_group_take_turns) {
    ASSERT_EQ(make_group("tg0", "x-iops-total=10"), "");
    ASSERT_EQ(open("throttle-group=tg0"), "");
    ASSERT_EQ(open("throttle-group=tg0"), "");
    ASSERT_EQ(open("throttle-group=tg0"), "");
    start(0, Op::write, 100);
    start(1, Op::write, 5);
    start(2, Op::write, 5);
    finish();
    // The first disk's many requests came first, and yet the others wait for three turns each.
    EXPECT_EQ(times_ms(1), (Times{200, 500, 800, 1100, 1400}));
    EXPECT_EQ(times_ms(2), (Times{300, 600, 900, 1200, 1500}));
}

TEST_F(Throttle, idle_disk_of_a_group_leaves_its_share_to_the_others) {
    ASSERT_EQ(make_group("tg0", "x-iops-total=10"), "");
    ASSERT_EQ(open("throttle-group=tg0"), "");
    ASSERT_EQ(open("throttle-group=tg0"), "");
    start(0, Op::write, 12);
    finish();
    EXPECT_EQ(times_ms(0).back(), 1000U);
}

TEST_F(Throttle, group_goes_on_when_a_disk_leaves_it) {
    ASSERT_EQ(make_group("tg0", "x-iops-total=10"), "");
    ASSERT_EQ(open("throttle-group=tg0"), "");
    ASSERT_EQ(open("throttle-group=tg0"), "");
    start(0, Op::write, 1);
    start(1, Op::write, 3);
    finish();
    disks_.pop_back();
    start(0, Op::write, 1);
    finish();
    EXPECT_EQ(times_ms(0), (Times{0, 300}));
}

TEST_F(Throttle, disks_without_a_group_do_not_share) {
    ASSERT_EQ(open("limits.iops-total=10"), "");
    ASSERT_EQ(open("limits.iops-total=10"), "");
    start(0, Op::write, 3);
    start(1, Op::write, 3);
    finish();
    EXPECT_EQ(times_ms(0), (Times{0, 0, 100}));
    EXPECT_EQ(times_ms(1), (Times{0, 0, 100}));
}

TEST_F(Throttle, zones_of_the_child_are_kept) {
    ASSERT_EQ(open("limits.iops-total=10"), "");
    EXPECT_EQ(disks_[0]->info().zones.model, ZoneModel::host_managed);
    EXPECT_TRUE(disks_[0]->info().ops.has(Op::append));
}

TEST_F(Throttle, group_with_impossible_limits_is_refused) {
    EXPECT_EQ(make_group("tg0", "x-iops-total=100,x-iops-total-max=50"),
              "object 'tg0': option 'x-iops-total-max': 50 is less than 'x-iops-total', 100");
}

TEST_F(Throttle, unknown_group_is_refused_naming_the_nearest) {
    ASSERT_EQ(make_group("tg0", "x-iops-total=10"), "");
    EXPECT_EQ(open("throttle-group=tg1"),
              "driver 'throttle': there is no object with id 'tg1' (did you mean 'tg0'?): expected "
              "--object throttle-group,id=tg1,...");
}

TEST_F(Throttle, object_of_another_kind_is_refused) {
    struct Other final : SharedObject {};
    context_.objects.emplace("other", std::make_shared<Other>());  // owned by the list only
    EXPECT_EQ(open("throttle-group=other"),
              "driver 'throttle': object 'other' is no throttle-group");
}

TEST_F(Throttle, group_and_own_limits_together_are_refused) {
    ASSERT_EQ(make_group("tg0", "x-iops-total=10"), "");
    EXPECT_EQ(open("throttle-group=tg0,limits.iops-total=5"),
              "driver 'throttle': option 'throttle-group': the limits are those of the group: "
              "expected no others");
}

TEST_F(Throttle, no_limits_at_all_are_refused) {
    EXPECT_EQ(open(""),
              "driver 'throttle' needs limits: throttle-group=ID, or for example "
              "limits.iops-total=N");
}

}  // namespace
}  // namespace zbdkit
