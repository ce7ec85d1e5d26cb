// SPDX-License-Identifier: Apache-2.0
#include "node/filter/fault.h"

#include <string>

#include "tests/support/node/captured_log.h"
#include "tests/support/node/filter_test.h"

namespace zbdkit {
namespace {

using test::kOk;

class Fault : public test::FilterTest {
  protected:
    std::unique_ptr<BlockNode> faulty(const std::string& options) {
        return open(kFaultDriver, options, zoned_disk()).value();
    }
    std::string zoned_refusal(const std::string& options) {
        return refusal(kFaultDriver, options, zoned_disk());
    }
};

TEST_F(Fault, without_rules_everything_passes) {
    const auto node = faulty("");
    EXPECT_EQ(append(*node, kZone, 4096), kOk);
    EXPECT_EQ(act(*node, Op::zone_reset_all), kOk);
    EXPECT_EQ(node->info().zones.zone_size, kZone);
    close(*node);
}

TEST_F(Fault, injected_error_does_not_reach_the_disk) {
    const auto node = faulty(
        "inject-error.0.event=append,inject-error.0.errno=EOVERFLOW,"
        "inject-error.0.once=on");
    EXPECT_EQ(append(*node, kZone, 4096), Errc::zone_active_limit);
    EXPECT_EQ(zone(*node, 1).state, ZoneState::empty);
    EXPECT_EQ(append(*node, kZone, 4096), kOk);
    EXPECT_EQ(last().append_offset, kZone);
    close(*node);
}

TEST_F(Fault, plain_storage_takes_rules_and_keeps_its_data) {
    const auto node = open(kBlkdebugDriver,
                           "inject-error.0.event=write_aio,inject-error.0.errno=28", plain_disk())
                          .value();
    EXPECT_EQ(write(*node, 0, 4096, 1), Errc::no_space);
    EXPECT_EQ(image()[0], std::byte{0});
    EXPECT_EQ(read(*node, 0, 4096), kOk);
    close(*node);
}

TEST_F(Fault, read_only_zone_is_reported_so_and_refuses_all_but_reads) {
    const auto node = faulty("zone-fault.0.zone=2,zone-fault.0.state=read-only");
    EXPECT_EQ(zone(*node, 2).state, ZoneState::read_only);
    EXPECT_EQ(zone(*node, 1).state, ZoneState::empty);
    EXPECT_EQ(read(*node, 2 * kZone, 4096), kOk);
    EXPECT_EQ(write(*node, 2 * kZone, 4096), Errc::zone_invalid);
    EXPECT_EQ(append(*node, 2 * kZone, 4096), Errc::zone_invalid);
    for (const Op op : {Op::zone_open, Op::zone_close, Op::zone_finish, Op::zone_reset}) {
        EXPECT_EQ(act(*node, op, 2 * kZone), Errc::zone_invalid) << op_name(op);
    }
    close(*node);
}

TEST_F(Fault, offline_zone_refuses_reads_too) {
    const auto node = faulty("zone-fault.0.zone=2,zone-fault.0.state=offline");
    EXPECT_EQ(zone(*node, 2).state, ZoneState::offline);
    EXPECT_EQ(read(*node, 2 * kZone, 4096), Errc::zone_invalid);
    EXPECT_EQ(read(*node, 3 * kZone, 4096), kOk);
    close(*node);
}

TEST_F(Fault, several_zones_are_named_by_ranges_and_lists) {
    const auto node = faulty(
        "zone-fault.0.zone=1:3-4,zone-fault.0.state=offline,"
        "zone-fault.1.zone.0=6,zone-fault.1.zone.1=7,"
        "zone-fault.1.state=read-only");
    const std::vector<ZoneDescriptor> zones = report(*node);
    std::string states;
    for (const ZoneDescriptor& each : zones) {
        states += each.state == ZoneState::offline     ? 'o'
                  : each.state == ZoneState::read_only ? 'r'
                                                       : '.';
    }
    EXPECT_EQ(states, ".o.oo.rr");
    close(*node);
}

TEST_F(Fault, zone_wears_out_after_so_many_writes_and_keeps_its_data) {
    const auto node = faulty(
        "zone-fault.0.zone=1,zone-fault.0.state=read-only,"
        "zone-fault.0.when=writes,zone-fault.0.after=2");
    EXPECT_EQ(append(*node, kZone, 4096), kOk);
    EXPECT_EQ(zone(*node, 1).state, ZoneState::implicit_open);
    EXPECT_EQ(append(*node, kZone, 4096), kOk);
    EXPECT_EQ(zone(*node, 1).state, ZoneState::read_only);
    EXPECT_EQ(append(*node, kZone, 4096), Errc::zone_invalid);
    EXPECT_EQ(read(*node, kZone, 8192), kOk);
    close(*node);
}

TEST_F(Fault, zone_wears_out_after_so_many_resets_those_of_all_included) {
    const auto node = faulty(
        "zone-fault.0.zone=1,zone-fault.0.state=offline,"
        "zone-fault.0.when=resets,zone-fault.0.after=2");
    ASSERT_EQ(append(*node, kZone, 4096), kOk);
    ASSERT_EQ(act(*node, Op::zone_reset, kZone), kOk);
    EXPECT_EQ(zone(*node, 1).state, ZoneState::empty);
    ASSERT_EQ(append(*node, kZone, 4096), kOk);
    ASSERT_EQ(act(*node, Op::zone_reset_all), kOk);
    EXPECT_EQ(zone(*node, 1).state, ZoneState::offline);
    close(*node);
}

TEST_F(Fault, reset_all_passes_over_zones_that_are_worn_out_here) {
    const auto node = faulty(
        "zone-fault.0.zone=1,zone-fault.0.state=read-only,"
        "zone-fault.0.when=writes,zone-fault.0.after=1");
    ASSERT_EQ(append(*node, kZone, 4096, 7), kOk);
    ASSERT_EQ(append(*node, 2 * kZone, 4096, 8), kOk);
    ASSERT_EQ(act(*node, Op::zone_reset_all), kOk);
    EXPECT_EQ(zone(*node, 1).state, ZoneState::read_only);
    EXPECT_EQ(zone(*node, 2).state, ZoneState::empty);
    AlignedBuffer buffer(4096);
    const iovec segment = segment_of(buffer.bytes());
    ASSERT_EQ(submit(*node, read_request({kZone, 4096}, IoSegments(&segment, 1))), kOk);
    EXPECT_EQ(buffer.bytes()[0], std::byte{7});
    close(*node);
}

TEST_F(Fault, next_explicit_open_fails_and_the_one_after_succeeds) {
    const auto node = faulty(
        "zone-fault.0.zone=3,zone-fault.0.when=open,"
        "zone-fault.0.errno=ETOOMANYREFS");
    EXPECT_EQ(act(*node, Op::zone_open, 3 * kZone), Errc::zone_open_limit);
    EXPECT_EQ(zone(*node, 3).state, ZoneState::empty);
    EXPECT_EQ(act(*node, Op::zone_open, 3 * kZone), kOk);
    close(*node);
}

TEST_F(Fault, write_that_opens_the_zone_meets_the_fault_and_later_writes_do_not) {
    const auto node = faulty("zone-fault.0.zone=3,zone-fault.0.when=open,zone-fault.0.after=1");
    EXPECT_EQ(append(*node, 3 * kZone, 4096), kOk);
    EXPECT_EQ(append(*node, 3 * kZone, 4096), kOk);
    ASSERT_EQ(act(*node, Op::zone_close, 3 * kZone), kOk);
    EXPECT_EQ(append(*node, 3 * kZone, 4096), Errc::io);
    EXPECT_EQ(append(*node, 3 * kZone, 4096), kOk);
    close(*node);
}

TEST_F(Fault, zone_can_wear_out_when_it_is_opened) {
    const auto node = faulty(
        "zone-fault.0.zone=3,zone-fault.0.when=open,"
        "zone-fault.0.state=offline");
    EXPECT_EQ(act(*node, Op::zone_open, 3 * kZone), Errc::io);
    EXPECT_EQ(zone(*node, 3).state, ZoneState::offline);
    EXPECT_EQ(act(*node, Op::zone_open, 3 * kZone), Errc::zone_invalid);
    close(*node);
}

TEST_F(Fault, read_only_zone_can_go_offline_later_but_not_back) {
    const auto node = faulty(
        "zone-fault.0.zone=1,zone-fault.0.state=offline,"
        "zone-fault.1.zone=1,zone-fault.1.state=read-only");
    EXPECT_EQ(zone(*node, 1).state, ZoneState::offline);
    close(*node);
}

TEST_F(Fault, made_up_seed_is_logged) {
    const test::CapturedLog log;
    const auto node = faulty("inject-error.0.probability=0.5");
    EXPECT_NE(log.text().find(": seed="), std::string::npos) << log.text();
    close(*node);
}

TEST_F(Fault, mapping_is_refused_because_nothing_could_fail) {
    const auto node = open(kFaultDriver, "", plain_disk()).value();
    EXPECT_EQ(node->map({0, 4096}).error().code, Errc::not_supported);
    close(*node);
}

TEST_F(Fault, zones_that_cannot_fail_are_refused) {
    EXPECT_EQ(zoned_refusal("zone-fault.0.zone=8,zone-fault.0.state=offline"),
              "driver 'fault': zone-fault.0: option 'zone': '8': the device has zones 0 to 7");
    EXPECT_EQ(zoned_refusal("zone-fault.0.zone=0,zone-fault.0.state=offline"),
              "driver 'fault': zone-fault.0: option 'zone': '0': zone 0 is conventional, and only "
              "sequential zones wear out");
    for (const char* zones : {"x", "-1", "3-", "4-3", "99999999999", ""}) {
        EXPECT_NE(
            zoned_refusal("zone-fault.0.state=offline,zone-fault.0.zone=" + std::string(zones))
                .find("is neither a zone's number nor a range like 3-7"),
            std::string::npos)
            << zones;
    }
    EXPECT_EQ(refusal(kFaultDriver, "zone-fault.0.zone=1,zone-fault.0.state=offline", plain_disk()),
              "driver 'fault': zone-fault.0: the node below has no zones");
}

TEST_F(Fault, bad_zone_faults_are_refused_with_option_and_value) {
    EXPECT_EQ(zoned_refusal("zone-fault.0.zone=1,zone-fault.0.state=broken"),
              "driver 'fault': zone-fault.0: option 'state': 'broken' is neither read-only nor "
              "offline");
    EXPECT_EQ(zoned_refusal("zone-fault.0.zone=1,zone-fault.0.when=writs"),
              "driver 'fault': zone-fault.0: option 'when': unknown time 'writs' (did you mean "
              "'writes'?): known are start, writes, resets, open");
    EXPECT_EQ(zoned_refusal("zone-fault.0.zone=1"),
              "driver 'fault': zone-fault.0: option 'state': it is missing");
    EXPECT_EQ(zoned_refusal("zone-fault.0.state=offline"),
              "driver 'fault': zone-fault.0: option 'zone': it is missing");
    EXPECT_EQ(zoned_refusal("zone-fault.0.zone=1,zone-fault.0.state=offline,zone-fault.0.after=3"),
              "driver 'fault': zone-fault.0: option 'after': at the start there is nothing to "
              "count");
    EXPECT_EQ(zoned_refusal("zone-fault.0.zone=1,zone-fault.0.state=offline,"
                            "zone-fault.0.when=writes,zone-fault.0.after=0"),
              "driver 'fault': zone-fault.0: option 'after': expected at least 1");
    EXPECT_EQ(zoned_refusal("zone-fault.0.zone=1,zone-fault.0.state=offline,"
                            "zone-fault.0.errno=EIO"),
              "driver 'fault': zone-fault.0: option 'errno': only an open fails, with when=open");
}

TEST_F(Fault, unknown_option_names_the_nearest) {
    EXPECT_EQ(zoned_refusal("inject-error.0.evnt=read"),
              "driver 'fault': unknown option 'inject-error.0.evnt' (did you mean "
              "'inject-error.*.event'?)");
}

}  // namespace
}  // namespace zbdkit
