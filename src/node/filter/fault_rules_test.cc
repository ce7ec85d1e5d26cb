// SPDX-License-Identifier: Apache-2.0
#include "node/filter/fault_rules.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace zbdkit {
namespace {

const ZoneGeometry kZones = {.model = ZoneModel::host_managed,
                             .device_size = 8 * kMiB,
                             .zone_size = kMiB,
                             .zone_capacity = kMiB,
                             .conventional_zones = 1,
                             .max_append_bytes = 65536,
                             .write_granularity = 4096};

FaultRules rules(const std::string& text) {
    const OptionValues options = OptionValues::parse(text, "", "driver 'fault'").value();
    return FaultRules::parse(options, 1, kZones).value();
}

std::string refusal(const std::string& text) {
    const OptionValues options = OptionValues::parse(text, "", "driver 'fault'").value();
    const Outcome<FaultRules> parsed = FaultRules::parse(options, 1, kZones);
    return parsed ? "it was taken" : parsed.error().message;
}

const Request kRead = {.op = Op::read, .range = {4096, 4096}};
const Request kWrite = {.op = Op::write, .range = {4096, 4096}};
const Request kAppend = {.op = Op::append, .range = {kMiB, 4096}};
const Request kFlush = {.op = Op::flush};

/// Which of `count` requests fail: 'x' for each that does.
std::string pattern(FaultRules& rules, const Request& request, int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += rules.decide(request) ? 'x' : '.';
    return text;
}

TEST(FaultRules, event_of_blkdebug_fails_its_requests_only) {
    FaultRules some = rules("inject-error.0.event=write_aio");
    EXPECT_EQ(some.decide(kRead), std::nullopt);
    EXPECT_EQ(some.decide(kWrite).value().code, Errc::io);
    EXPECT_EQ(some.decide(kAppend).value().os_errno, 5);
    EXPECT_EQ(some.decide(kFlush), std::nullopt);
}

TEST(FaultRules, name_of_an_operation_is_an_event) {
    FaultRules some = rules("inject-error.0.event=append");
    EXPECT_EQ(some.decide(kWrite), std::nullopt);
    EXPECT_TRUE(some.decide(kAppend).has_value());
}

TEST(FaultRules, iotype_narrows_any_event) {
    FaultRules some = rules("inject-error.0.event=none,inject-error.0.iotype=flush");
    EXPECT_EQ(some.decide(kWrite), std::nullopt);
    EXPECT_TRUE(some.decide(kFlush).has_value());
}

TEST(FaultRules, sector_and_range_choose_what_touches_them) {
    FaultRules sector = rules("inject-error.0.sector=15");
    EXPECT_TRUE(sector.decide(kRead).has_value());
    FaultRules behind = rules("inject-error.0.sector=16");
    EXPECT_EQ(behind.decide(kRead), std::nullopt);
    FaultRules range = rules("inject-error.0.offset=1M,inject-error.0.length=1M");
    EXPECT_EQ(range.decide(kRead), std::nullopt);
    EXPECT_TRUE(range.decide(kAppend).has_value());
    EXPECT_EQ(range.decide(kFlush), std::nullopt);
}

TEST(FaultRules, append_touches_its_whole_zone) {
    FaultRules some = rules("inject-error.0.offset=2097151");
    EXPECT_TRUE(some.decide(kAppend).has_value());
}

TEST(FaultRules, after_and_count_bound_the_failures) {
    FaultRules some = rules("inject-error.0.after=2,inject-error.0.count=3");
    EXPECT_EQ(pattern(some, kRead, 8), "..xxx...");
    FaultRules once = rules("inject-error.0.once=on");
    EXPECT_EQ(pattern(once, kRead, 4), "x...");
}

TEST(FaultRules, first_rule_that_fires_is_the_answer) {
    FaultRules some = rules(
        "inject-error.0.event=read,inject-error.0.errno=ENOSPC,"
        "inject-error.0.once=on,inject-error.1.errno=EROFS");
    EXPECT_EQ(some.decide(kRead).value().code, Errc::no_space);
    EXPECT_EQ(some.decide(kRead).value().code, Errc::read_only);
}

TEST(FaultRules, rules_are_tried_in_the_order_of_their_numbers) {
    FaultRules some = rules("inject-error.10.errno=EROFS,inject-error.9.errno=ENOSPC");
    EXPECT_EQ(some.decide(kRead).value().code, Errc::no_space);
}

TEST(FaultRules, probability_fails_about_that_share_and_repeats_with_the_seed) {
    FaultRules first = rules("seed=7,inject-error.0.probability=25%");
    FaultRules second = rules("seed=7,inject-error.0.probability=0.25");
    FaultRules other = rules("seed=8,inject-error.0.probability=0.25");
    const std::string drawn = pattern(first, kRead, 4000);
    EXPECT_EQ(drawn, pattern(second, kRead, 4000));
    EXPECT_NE(drawn, pattern(other, kRead, 4000));
    const auto failed = std::ranges::count(drawn, 'x');
    EXPECT_GT(failed, 880);
    EXPECT_LT(failed, 1120);
    EXPECT_EQ(drawn.substr(0, 16), "..x.xx..........");
}

TEST(FaultRules, probability_of_nothing_and_of_everything_are_certain) {
    FaultRules never = rules("inject-error.0.probability=0");
    EXPECT_EQ(pattern(never, kRead, 100), std::string(100, '.'));
    FaultRules always = rules("inject-error.0.probability=100%");
    EXPECT_EQ(pattern(always, kRead, 100), std::string(100, 'x'));
    EXPECT_FALSE(always.uses_chance());
    EXPECT_TRUE(never.uses_chance());
}

TEST(FaultRules, state_machine_moves_by_events_and_rules_wait_for_their_state) {
    FaultRules some = rules(
        "set-state.0.event=flush_to_disk,set-state.0.state=1,"
        "set-state.0.new_state=2,inject-error.0.state=2,"
        "inject-error.0.event=write");
    EXPECT_EQ(some.decide(kWrite), std::nullopt);
    EXPECT_EQ(some.decide(kFlush), std::nullopt);
    EXPECT_EQ(some.state(), 2U);
    EXPECT_TRUE(some.decide(kWrite).has_value());
}

TEST(FaultRules, event_that_changes_the_state_is_judged_by_the_state_before) {
    FaultRules some = rules(
        "set-state.0.event=write,set-state.0.new_state=2,"
        "inject-error.0.state=2");
    EXPECT_EQ(pattern(some, kWrite, 3), ".xx");
}

TEST(InjectedError, number_and_name_of_an_errno_are_the_same) {
    EXPECT_EQ(parse_injected_error("28").value().code, Errc::no_space);
    EXPECT_EQ(parse_injected_error("ENOSPC").value().os_errno, 28);
    EXPECT_EQ(parse_injected_error("ETOOMANYREFS").value().code, Errc::zone_open_limit);
    EXPECT_EQ(parse_injected_error("EOVERFLOW").value().code, Errc::zone_active_limit);
    EXPECT_EQ(parse_injected_error("zone_unaligned_wp").value().code, Errc::zone_unaligned_wp);
}

TEST(InjectedError, what_is_no_error_is_refused) {
    EXPECT_FALSE(parse_injected_error("EFOO").has_value());
    EXPECT_FALSE(parse_injected_error("0").has_value());
    EXPECT_FALSE(parse_injected_error("-5").has_value());
    EXPECT_FALSE(parse_injected_error("4096").has_value());
    EXPECT_FALSE(parse_injected_error("").has_value());
}

TEST(FaultRules, bad_options_are_refused_with_rule_option_and_value) {
    EXPECT_EQ(refusal("inject-error.0.probability=1.5"),
              "driver 'fault': inject-error.0: option 'probability': '1.5' is neither a number "
              "from 0 to 1 nor from 0% to 100%");
    for (const char* value : {"-0.1", "101%", "nan", "", "%", "half"}) {
        EXPECT_NE(refusal(std::string("inject-error.0.probability=") + value), "it was taken")
            << value;
    }
    EXPECT_EQ(refusal("inject-error.3.event=write_oi")
                  .find("driver 'fault': inject-error.3: option 'event': unknown event 'write_oi' "
                        "(did you mean 'write_aio'?): known are none, read_aio, "),
              0U);
    EXPECT_EQ(refusal("inject-error.0.errno=EFOO")
                  .find("driver 'fault': inject-error.0: option 'errno': 'EFOO' is no error"),
              0U);
    EXPECT_EQ(refusal("inject-error.0.iotype=block-status"),
              "driver 'fault': inject-error.0: option 'iotype': 'block-status' is no request here: "
              "nothing could fail");
    EXPECT_EQ(refusal("inject-error.0.event=read_aio,inject-error.0.iotype=write"),
              "driver 'fault': inject-error.0: option 'iotype': no request is 'write' on event "
              "'read_aio'");
}

TEST(FaultRules, options_that_contradict_each_other_are_refused) {
    EXPECT_NE(refusal("inject-error.0.sector=1,inject-error.0.offset=4K"), "it was taken");
    EXPECT_NE(refusal("inject-error.0.length=4K"), "it was taken");
    EXPECT_NE(refusal("inject-error.0.offset=0,inject-error.0.length=0"), "it was taken");
    EXPECT_NE(refusal("inject-error.0.offset=7E,inject-error.0.length=7E"), "it was taken");
    EXPECT_NE(refusal("inject-error.0.sector=36028797018963968"), "it was taken");
    EXPECT_NE(refusal("inject-error.0.once=on,inject-error.0.count=2"), "it was taken");
    EXPECT_NE(refusal("set-state.0.event=read"), "it was taken");
    EXPECT_NE(refusal("set-state.0.new_state=0"), "it was taken");
    EXPECT_NE(refusal("seed=x"), "it was taken");
}

}  // namespace
}  // namespace zbdkit
