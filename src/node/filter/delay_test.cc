// SPDX-License-Identifier: Apache-2.0
#include "node/filter/delay.h"

#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <vector>

#include "io/blocking_pool.h"
#include "io/scope.h"
#include "tests/support/io/manual_engine.h"
#include "tests/support/node/timed_node.h"

namespace zbdkit {
namespace {

using test::TimedNode;

constexpr std::uint64_t kMillisecond = 1'000'000;

class Delay : public testing::Test {
  protected:
    /// Opens the filter, and returns the message if that fails.
    std::string open(std::string_view options) {
        const OptionValues values = OptionValues::parse(options, "", "driver 'delay'").value();
        ChildNodes children;
        children.push_back(std::make_unique<TimedNode>(reactor_, arrivals_));
        Outcome<std::unique_ptr<BlockNode>> node =
            reactor_.run_to_end(kDelayDriver.open(context_, values, children));
        if (!node) return node.error().message;
        disk_ = std::move(*node);
        return "";
    }

    static Task<void> submit(BlockNode& disk, Request& request) {
        const Result<void> result = co_await disk.submit(request);
        EXPECT_TRUE(result.has_value());
    }
    static Task<void> submit_all(BlockNode& disk, std::deque<Request>& requests) {
        TaskScope scope;
        for (Request& request : requests) scope.spawn(submit(disk, request));
        co_await scope.join();
    }
    /// Submits one request at the clock's 1000 ns. @return when it reached the node below
    std::uint64_t arrival_of(Request request) {
        const std::uint64_t start = reactor_.now_ns();
        arrivals_.clear();
        reactor_.run_to_end(submit(*disk_, request));
        return arrivals_.at(0).at_ns - start;
    }

    Reactor reactor_{std::make_unique<test::ManualEngine>()};
    BlockingPool pool_{1};
    OpenContext context_{reactor_, pool_};
    std::vector<TimedNode::Arrival> arrivals_;
    std::unique_ptr<BlockNode> disk_;
};

TEST_F(Delay, each_kind_of_request_waits_for_its_own_time) {
    ASSERT_EQ(open("delay-read=10ms,delay-write=20ms,delay-append=30ms,delay-zero=40ms,"
                   "delay-trim=50ms,delay-flush=60ms,delay-report=70ms,delay-zone=80ms"),
              "");
    EXPECT_EQ(arrival_of({.op = Op::read}), 10 * kMillisecond);
    EXPECT_EQ(arrival_of({.op = Op::write}), 20 * kMillisecond);
    EXPECT_EQ(arrival_of({.op = Op::append}), 30 * kMillisecond);
    EXPECT_EQ(arrival_of({.op = Op::write_zeroes}), 40 * kMillisecond);
    EXPECT_EQ(arrival_of({.op = Op::discard}), 50 * kMillisecond);
    EXPECT_EQ(arrival_of({.op = Op::flush}), 60 * kMillisecond);
    EXPECT_EQ(arrival_of({.op = Op::report_zones}), 70 * kMillisecond);
    EXPECT_EQ(arrival_of({.op = Op::zone_open}), 80 * kMillisecond);
    EXPECT_EQ(arrival_of({.op = Op::zone_close}), 80 * kMillisecond);
    EXPECT_EQ(arrival_of({.op = Op::zone_finish}), 80 * kMillisecond);
    EXPECT_EQ(arrival_of({.op = Op::zone_reset}), 80 * kMillisecond);
    EXPECT_EQ(arrival_of({.op = Op::zone_reset_all}), 80 * kMillisecond);
}

TEST_F(Delay, without_options_nothing_waits) {
    ASSERT_EQ(open("delay-read=0"), "");
    for (std::size_t op = 0; op < kOpCount; ++op) {
        EXPECT_EQ(arrival_of({.op = static_cast<Op>(op)}), 0U) << op_name(static_cast<Op>(op));
    }
}

TEST_F(Delay, append_waits_as_a_write_does_unless_told_otherwise) {
    ASSERT_EQ(open("delay-write=20ms"), "");
    EXPECT_EQ(arrival_of({.op = Op::append}), 20 * kMillisecond);
    ASSERT_EQ(open("wdelay=20ms,delay-append=0"), "");
    EXPECT_EQ(arrival_of({.op = Op::write}), 20 * kMillisecond);
    EXPECT_EQ(arrival_of({.op = Op::append}), 0U);
}

TEST_F(Delay, many_requests_wait_side_by_side) {
    ASSERT_EQ(open("rdelay=10ms"), "");
    std::deque<Request> requests(100, Request{.op = Op::read});
    reactor_.run_to_end(submit_all(*disk_, requests));
    ASSERT_EQ(arrivals_.size(), 100U);
    EXPECT_EQ(arrivals_.back().at_ns, 1000 + 10 * kMillisecond);
}

TEST_F(Delay, zones_of_the_child_are_kept) {
    ASSERT_EQ(open("delay-zone=1ms"), "");
    EXPECT_EQ(disk_->info().zones.model, ZoneModel::host_managed);
    EXPECT_TRUE(disk_->info().ops.has(Op::append));
}

TEST_F(Delay, impossible_times_are_refused_naming_the_option) {
    EXPECT_EQ(open("delay-read=-1ms").substr(0, 55),
              "driver 'delay': option 'delay-read': '-1ms' is not a ti");
    EXPECT_EQ(open("delay-zone=2h"),
              "driver 'delay': option 'delay-zone': '2h' is too long: at most 1 h");
    EXPECT_EQ(
        open("delay-read=1ms,rdelay=1ms"),
        "driver 'delay': 'delay-read' and 'rdelay' are the same option: expected one of them");
}

}  // namespace
}  // namespace zbdkit
