// SPDX-License-Identifier: Apache-2.0
#include "graph/request_trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <string>

namespace zbdkit {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class SilentNode final : public BlockNode {
  public:
    SilentNode() : BlockNode("silent") { set_name("disk0"); }
    [[nodiscard]] std::string describe() const override { return "nothing"; }

  protected:
    Task<Result<void>> do_submit(Request& /*request*/) override { co_return Result<void>(); }
};

/// What is logged of one request, from its start to its end.
class RequestTraceTest : public testing::Test {
  protected:
    void TearDown() override { disable_trace(); }

    std::string log_of(const Request& request, const Result<void>& result = {}) {
        testing::internal::CaptureStderr();
        RequestTrace trace(node_, request);
        trace.end(result);
        return testing::internal::GetCapturedStderr();
    }

    SilentNode node_;
};

TEST_F(RequestTraceTest, request_is_told_with_its_latency) {
    ASSERT_TRUE(enable_trace("request_*"));
    const std::string log = log_of(range_request(Op::discard, {4096, 8192}));
    EXPECT_THAT(log, HasSubstr("request_start node=disk0 op=discard offset=4096 length=8192\n"));
    EXPECT_THAT(log, HasSubstr("request_end node=disk0 op=discard offset=4096 length=8192 "
                               "error=ok latency="));
}

TEST_F(RequestTraceTest, failed_request_is_told_with_its_error) {
    ASSERT_TRUE(enable_trace("request_end"));
    EXPECT_THAT(log_of(flush_request(), fail(Errc::no_space, "full")),
                HasSubstr("op=flush offset=0 length=0 error=no_space"));
}

TEST_F(RequestTraceTest, request_that_began_before_anybody_listened_has_no_latency) {
    const Request request = flush_request();
    RequestTrace trace(node_, request);
    ASSERT_TRUE(enable_trace("request_end"));
    testing::internal::CaptureStderr();
    trace.end({});
    EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("latency=0\n"));
}

TEST_F(RequestTraceTest, report_is_told) {
    ASSERT_TRUE(enable_trace("zone_*"));
    std::array<ZoneDescriptor, 3> zones;
    EXPECT_THAT(log_of(report_request(65536, zones)),
                HasSubstr("zone_report node=disk0 offset=65536 most_zones=3\n"));
}

TEST_F(RequestTraceTest, each_action_is_told) {
    ASSERT_TRUE(enable_trace("zone_*"));
    EXPECT_THAT(log_of(zone_request(Op::zone_open, 65536)),
                HasSubstr("zone_mgmt node=disk0 op=zone_open zone_start=65536\n"));
    EXPECT_THAT(log_of(zone_request(Op::zone_close, 0)), HasSubstr("op=zone_close"));
    EXPECT_THAT(log_of(zone_request(Op::zone_finish, 0)), HasSubstr("op=zone_finish"));
    EXPECT_THAT(log_of(zone_request(Op::zone_reset, 0)), HasSubstr("op=zone_reset"));
    EXPECT_THAT(log_of(zone_request(Op::zone_reset_all, 0)), HasSubstr("op=zone_reset_all"));
}

TEST_F(RequestTraceTest, append_is_told_at_its_start_and_at_its_end) {
    ASSERT_TRUE(enable_trace("zone_*"));
    std::array<std::byte, 512> data{};
    const iovec segment = segment_of(MutableBytes(data));
    Request request = append_request(65536, IoSegments(&segment, 1));
    request.append_offset = 69632;
    const std::string log = log_of(request);
    EXPECT_THAT(log, HasSubstr("zone_append node=disk0 zone_start=65536 length=512\n"));
    EXPECT_THAT(log, HasSubstr("zone_append_complete node=disk0 zone_start=65536 offset=69632 "
                               "error=ok\n"));
}

TEST_F(RequestTraceTest, requests_that_are_not_of_zones_are_no_zone_events) {
    ASSERT_TRUE(enable_trace("zone_*"));
    EXPECT_THAT(log_of(flush_request()), IsEmpty());
}

}  // namespace
}  // namespace zbdkit
