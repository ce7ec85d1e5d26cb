// SPDX-License-Identifier: Apache-2.0
#include "base/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace zbdkit {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class Trace : public ::testing::Test {
  protected:
    void TearDown() override { disable_trace(); }

    static std::string stderr_of(const std::function<void()>& work) {
        testing::internal::CaptureStderr();
        work();
        return testing::internal::GetCapturedStderr();
    }
    static std::string trace_some() {
        return stderr_of([] {
            ZBDKIT_TRACE(zone_report, "disk0", std::uint64_t{4096}, 16U);
            ZBDKIT_TRACE(zone_mgmt, "disk0", "zone_open", std::uint64_t{65536});
            ZBDKIT_TRACE(ring_kick, "a.sock", 1U);
        });
    }
    static std::string message_of(std::string_view pattern) {
        const Outcome<void> enabled = enable_trace(pattern);
        return enabled ? "enabled" : enabled.error().message;
    }
};

TEST_F(Trace, nothing_is_logged_unless_asked_for) { EXPECT_THAT(trace_some(), IsEmpty()); }

TEST_F(Trace, arguments_are_not_evaluated_without_a_listener) {
    int evaluations = 0;
    const auto offset = [&evaluations] {
        ++evaluations;
        return std::uint64_t{0};
    };
    ZBDKIT_TRACE(zone_report, "disk0", offset(), 1U);
    EXPECT_EQ(evaluations, 0);
}

TEST_F(Trace, point_that_was_named_logs_its_arguments) {
    ASSERT_TRUE(enable_trace("zone_report"));
    const std::string log = trace_some();
    EXPECT_THAT(log, EndsWith(" trace: zone_report node=disk0 offset=4096 most_zones=16\n"));
    EXPECT_THAT(log, Not(HasSubstr("zone_mgmt")));
}

TEST_F(Trace, star_fits_any_number_of_characters) {
    ASSERT_TRUE(enable_trace("zone_*"));
    const std::string log = trace_some();
    EXPECT_THAT(log, HasSubstr("zone_report"));
    EXPECT_THAT(log, HasSubstr("zone_mgmt node=disk0 op=zone_open zone_start=65536"));
    EXPECT_THAT(log, Not(HasSubstr("ring_kick")));
}

TEST_F(Trace, star_in_the_middle_tries_all_places) {
    ASSERT_TRUE(enable_trace("z*o*rt"));
    EXPECT_THAT(trace_some(), HasSubstr("zone_report"));
}

TEST_F(Trace, question_mark_fits_one_character) {
    ASSERT_TRUE(enable_trace("ring_?ick"));
    EXPECT_THAT(trace_some(), HasSubstr("ring_kick socket=a.sock ring=1"));
}

TEST_F(Trace, enable_may_stand_before_the_pattern) {
    ASSERT_TRUE(enable_trace("enable=*"));
    EXPECT_THAT(trace_some(), HasSubstr("ring_kick"));
}

TEST_F(Trace, enabling_twice_logs_once_and_ends_with_one_disable) {
    ASSERT_TRUE(enable_trace("zone_report"));
    ASSERT_TRUE(enable_trace("zone_*"));
    EXPECT_TRUE(trace_has_listener(TracePoint::zone_report));
    disable_trace();
    EXPECT_FALSE(trace_has_listener(TracePoint::zone_report));
    EXPECT_THAT(trace_some(), IsEmpty());
}

TEST_F(Trace, listener_of_a_probe_brings_no_log_line) {
    zbdkit_zone_report_semaphore = 1;
    const std::string log = trace_some();
    zbdkit_zone_report_semaphore = 0;
    EXPECT_THAT(log, IsEmpty());
}

TEST_F(Trace, text_of_several_words_is_quoted_and_bits_are_hexadecimal) {
    ASSERT_TRUE(enable_trace("*"));
    const std::string log = stderr_of([] {
        ZBDKIT_TRACE(ring_chain_refused, "a.sock", 0U, 7U, "too long");
        ZBDKIT_TRACE(session_features, "", std::uint64_t{0x20000});
    });
    EXPECT_THAT(log, HasSubstr("id=7 reason='too long'\n"));
    EXPECT_THAT(log, HasSubstr("socket='' features=0x20000\n"));
}

TEST_F(Trace, unknown_point_is_refused_naming_the_nearest) {
    EXPECT_THAT(message_of("zone_reprot"),
                HasSubstr("no trace point fits 'zone_reprot' (did you mean 'zone_report'?): known "
                          "are request_start, "));
}

TEST_F(Trace, pattern_that_fits_nothing_is_refused) {
    EXPECT_THAT(message_of("zone_?"), HasSubstr("no trace point fits 'zone_?'"));
    EXPECT_THAT(message_of(""), HasSubstr("no trace point fits ''"));
    EXPECT_THAT(message_of("one_report"), HasSubstr("did you mean 'zone_report'?"));
}

TEST_F(Trace, another_key_than_enable_is_refused) {
    EXPECT_EQ(message_of("file=trace.log"),
              "trace pattern 'file=trace.log': expected [enable=]PATTERN");
}

TEST_F(Trace, help_names_each_point_with_its_arguments) {
    EXPECT_THAT(trace_help(),
                HasSubstr("zone_mgmt             a zone, or all of them, is to change\n"
                          "                      node (text), op (text), zone_start "
                          "(bytes)\n"));
}

}  // namespace
}  // namespace zbdkit
