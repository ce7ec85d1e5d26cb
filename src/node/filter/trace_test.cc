// SPDX-License-Identifier: Apache-2.0
#include "node/filter/trace.h"

#include <algorithm>

#include "tests/support/io/manual_engine.h"
#include "tests/support/node/captured_log.h"
#include "tests/support/node/filter_test.h"

namespace zbdkit {
namespace {

using test::CapturedLog;
using test::kOk;

class Trace : public test::FilterTest {};

TEST_F(Trace, start_and_end_of_each_request_are_logged) {
    const auto node = open(kTraceDriver, "", zoned_disk()).value();
    const CapturedLog log;
    ASSERT_EQ(append(*node, kZone, 8192), kOk);
    EXPECT_NE(log.text().find(": #1 append 1048576+8192\n"), std::string::npos) << log.text();
    EXPECT_NE(log.text().find(": #1 append 1048576+8192: done at 1048576 in "), std::string::npos)
        << log.text();
    close(*node);
}

TEST_F(Trace, failure_is_logged_with_its_reason) {
    const auto node = open(kTraceDriver, "", zoned_disk()).value();
    const CapturedLog log;
    ASSERT_EQ(act(*node, Op::zone_close, kZone), Errc::zone_invalid);
    EXPECT_NE(log.text().find("#1 zone_close 1048576: failed in "), std::string::npos);
    EXPECT_NE(log.text().find(": close of an empty zone\n"), std::string::npos) << log.text();
    close(*node);
}

TEST_F(Trace, only_the_operations_wished_for_are_logged) {
    const auto node = open(kTraceDriver, "ops=read:flush", plain_disk()).value();
    const CapturedLog log;
    ASSERT_EQ(write(*node, 0, 4096), kOk);
    EXPECT_EQ(log.text(), "");
    ASSERT_EQ(submit(*node, flush_request()), kOk);
    EXPECT_NE(log.text().find("#1 flush"), std::string::npos);
    close(*node);
}

TEST_F(Trace, list_of_operations_from_json_is_taken) {
    const auto node = open(kTraceDriver, "ops.0=read,ops.1=write", plain_disk()).value();
    const CapturedLog log;
    ASSERT_EQ(write(*node, 0, 4096, 1, true), kOk);
    EXPECT_NE(log.text().find("#1 write 0+4096 fua"), std::string::npos) << log.text();
    close(*node);
}

TEST_F(Trace, messages_beyond_the_limit_are_held_back_until_their_time_comes) {
    auto owned = std::make_unique<test::ManualEngine>();
    test::ManualEngine& clock = *owned;
    Reactor still(std::move(owned));
    OpenContext context{still, pool_};
    ChildNodes children;
    children.push_back(plain_disk());
    const OptionValues options = OptionValues::parse("limit=4", "", "test").value();
    const auto node = still.run_to_end(kTraceDriver.open(context, options, children)).value();
    const CapturedLog log;
    Request flush = flush_request();
    for (int i = 0; i < 50; ++i) ASSERT_TRUE(still.run_to_end(node->submit(flush)).has_value());
    const std::string first = log.text();
    EXPECT_EQ(std::ranges::count(first, '\n'), 4);
    clock.clock_ns += 250'000'000;
    ASSERT_TRUE(still.run_to_end(node->submit(flush)).has_value());
    EXPECT_EQ(log.text().substr(first.size()),
              "info: 'memory of 2 MiB': #51 flush (96 messages before this one were held back)\n");
}

TEST_F(Trace, unknown_operation_names_the_nearest) {
    const std::string message = refusal(kTraceDriver, "ops=read:apend", plain_disk());
    EXPECT_EQ(message.find("driver 'trace': option 'ops': unknown operation 'apend' (did you mean "
                           "'append'?): known are read, "),
              0U)
        << message;
}

TEST_F(Trace, limit_of_none_logs_nothing) {
    const auto node = open(kTraceDriver, "limit=0", plain_disk()).value();
    const CapturedLog log;
    ASSERT_EQ(read(*node, 0, 4096), kOk);
    EXPECT_EQ(log.text(), "");
    close(*node);
}

TEST_F(Trace, limit_out_of_bounds_is_refused) {
    EXPECT_EQ(refusal(kTraceDriver, "limit=1000001", plain_disk()),
              "driver 'trace': option 'limit': '1000001' is not a whole number from 0 to 1000000");
}

}  // namespace
}  // namespace zbdkit
