// SPDX-License-Identifier: Apache-2.0
// What zone_check finds wrong, and what it must not: each violation once, with answers made by the
// test. That it raises no false alarm on real traffic is in zone_check_test.cc.
#include "node/filter/zone_watch.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace zbdkit {
namespace {

using Violation = ZoneWatch::Violation;

constexpr std::uint64_t kZone = kMiB;
constexpr std::uint64_t kCapacity = 512 * kKiB;

/// The first zone is conventional; at most 2 are open and 3 active.
const ZoneGeometry kGeometry = {.model = ZoneModel::host_managed,
                                .device_size = 6 * kZone,
                                .zone_size = kZone,
                                .zone_capacity = kCapacity,
                                .conventional_zones = 1,
                                .max_open_zones = 2,
                                .max_active_zones = 3,
                                .max_append_bytes = 64 * kKiB,
                                .write_granularity = 4096};

const Result<void> kDone{};
const Result<void> kIoError = fail(Errc::io, "test");
const Result<void> kRefused = fail(Errc::zone_unaligned_wp, "test");

ZoneDescriptor descriptor(std::uint32_t index, ZoneState state, std::uint64_t written = 0) {
    const ZoneIndex zone{index};
    return {.start = index * kZone,
            .length = kZone,
            .capacity = kGeometry.capacity_of(zone),
            .write_pointer = index * kZone + written,
            .type = kGeometry.type_of(zone),
            .state = state};
}

std::vector<ZoneDescriptor> fresh_zones() {
    std::vector<ZoneDescriptor> zones = {descriptor(0, ZoneState::not_write_pointer)};
    for (std::uint32_t i = 1; i < 6; ++i) zones.push_back(descriptor(i, ZoneState::empty));
    return zones;
}

/// A request on its way.
struct Flight {
    Request request;
    ZoneWatch::Ticket ticket;
};

class Watch : public testing::Test {
  protected:
    void SetUp() override { ASSERT_EQ(message(watch_.load(fresh_zones())), ""); }

    static std::string message(const std::optional<Violation>& violation) {
        return violation ? violation->text : "";
    }
    Flight begin(const Request& request) { return {request, watch_.begin(request)}; }
    Flight begin_append(std::uint32_t zone, std::uint64_t length) {
        return begin({.op = Op::append, .range = {zone * kZone, length}});
    }
    Flight begin_write(std::uint64_t offset, std::uint64_t length) {
        return begin({.op = Op::write, .range = {offset, length}});
    }
    std::string end(Flight& flight, const Result<void>& result) {
        return message(watch_.end(flight.request, flight.ticket, result));
    }
    /// @param at  bytes from the zone's start
    std::string landed(Flight& append, std::uint64_t at) {
        append.request.append_offset = append.request.range.offset + at;
        return end(append, kDone);
    }
    std::string append(std::uint32_t zone, std::uint64_t length, std::uint64_t at) {
        Flight flight = begin_append(zone, length);
        return landed(flight, at);
    }
    std::string write(std::uint64_t offset, std::uint64_t length,
                      const Result<void>& result = kDone) {
        Flight flight = begin_write(offset, length);
        return end(flight, result);
    }
    std::string act(Op op, std::uint32_t zone, const Result<void>& result = kDone) {
        Flight flight = begin({.op = op, .range = {zone * kZone, 0}});
        return end(flight, result);
    }
    std::string report(const ZoneDescriptor& zone) {
        std::vector<ZoneDescriptor> zones = {zone};
        Flight flight = begin({.op = Op::report_zones, .range = {zone.start, 0}, .zones = zones});
        flight.request.zones_reported = 1;
        return end(flight, kDone);
    }
    std::string report_all(std::vector<ZoneDescriptor> zones) {
        Flight flight = begin({.op = Op::report_zones, .range = {0, 0}, .zones = zones});
        flight.request.zones_reported = static_cast<std::uint32_t>(zones.size());
        return end(flight, kDone);
    }

    ZoneWatch watch_{kGeometry};
};

// --- Writes -------------------------------------------------------------------------------------

TEST_F(Watch, writes_and_appends_in_a_row_are_right) {
    EXPECT_EQ(append(1, 4096, 0), "");
    EXPECT_EQ(write(kZone + 4096, 8192), "");
    EXPECT_EQ(append(1, 4096, 12288), "");
    EXPECT_EQ(report(descriptor(1, ZoneState::implicit_open, 16384)), "");
}

TEST_F(Watch, append_over_acknowledged_data_is_a_violation) {
    ASSERT_EQ(append(1, 8192, 0), "");
    EXPECT_EQ(append(1, 4096, 4096),
              "a write landed at 1052672: expected it at or behind the write pointer, which had "
              "passed 1056768");
}

TEST_F(Watch, append_that_leaves_a_hole_is_a_violation) {
    ASSERT_EQ(append(1, 4096, 0), "");
    EXPECT_EQ(append(1, 4096, 8192),
              "a write landed at 1056768+4096: expected it at the write pointer, so to end at "
              "1056768 at most");
}

TEST_F(Watch, append_that_spills_into_the_next_zone_is_a_violation) {
    EXPECT_EQ(append(1, 4096, kZone),
              "append landed at 2097152+4096: expected it within the zone's capacity, 1048576 to "
              "1572864");
}

TEST_F(Watch, append_off_the_granularity_is_a_violation) {
    EXPECT_EQ(append(1, 4096, 512),
              "append landed at 1049088: expected a multiple of the write granularity 4096");
}

TEST_F(Watch, append_longer_than_the_limit_is_a_violation) {
    EXPECT_EQ(append(1, 128 * kKiB, 0),
              "an append of 131072 bytes was accepted: expected at most 65536");
}

TEST_F(Watch, write_off_the_pointer_that_is_accepted_is_a_violation) {
    EXPECT_NE(write(kZone + 4096, 4096), "");
    EXPECT_NE(write(2 * kZone + 8192, 4096), "");
}

TEST_F(Watch, write_off_the_pointer_that_is_refused_is_right) {
    EXPECT_EQ(write(kZone + 4096, 4096, kRefused), "");
    EXPECT_EQ(report(descriptor(1, ZoneState::empty)), "");
}

TEST_F(Watch, write_to_a_full_zone_that_is_accepted_is_a_violation) {
    ASSERT_EQ(act(Op::zone_finish, 1), "");
    EXPECT_NE(write(kZone, 4096), "");
}

TEST_F(Watch, transfer_across_the_border_of_a_zone_is_a_violation) {
    EXPECT_EQ(write(2 * kZone - 4096, 8192), "a write across the zone's border was accepted");
    Flight read = begin({.op = Op::read, .range = {kZone - 4096, 8192}});
    EXPECT_EQ(end(read, kDone), "a read across the zone's border was accepted");
}

TEST_F(Watch, two_appends_acknowledged_at_one_place_are_a_violation) {
    Flight first = begin_append(1, 4096);
    Flight second = begin_append(1, 4096);
    Flight third = begin_append(1, 4096);
    EXPECT_EQ(landed(first, 4096), "");
    EXPECT_EQ(landed(second, 4096),
              "a write landed at 1052672+4096, over another acknowledged at 1052672+4096");
    EXPECT_EQ(landed(third, 0), "");
}

TEST_F(Watch, appends_side_by_side_may_land_in_any_order) {
    Flight first = begin_append(1, 4096);
    Flight second = begin_append(1, 8192);
    Flight third = begin_append(1, 4096);
    EXPECT_EQ(landed(third, 8192), "");
    EXPECT_EQ(landed(first, 12288), "");
    EXPECT_EQ(landed(second, 0), "");
    EXPECT_EQ(report(descriptor(1, ZoneState::implicit_open, 16384)), "");
}

TEST_F(Watch, failed_write_may_or_may_not_have_moved_the_pointer) {
    ASSERT_EQ(write(kZone, 4096, kIoError), "");
    EXPECT_EQ(append(1, 4096, 4096), "");
    ASSERT_EQ(write(2 * kZone, 4096, kIoError), "");
    EXPECT_EQ(append(2, 4096, 0), "");
}

TEST_F(Watch, doubt_after_a_failure_ends_with_the_next_write_that_is_alone) {
    ASSERT_EQ(write(kZone, 8192, kIoError), "");
    ASSERT_EQ(append(1, 4096, 0), "");
    EXPECT_NE(append(1, 4096, 8192), "");
}

TEST_F(Watch, writes_to_conventional_zones_go_anywhere) {
    EXPECT_EQ(write(8192, 4096), "");
    EXPECT_EQ(write(0, 4096), "");
}

// --- Actions ------------------------------------------------------------------------------------

TEST_F(Watch, actions_lead_to_their_states) {
    EXPECT_EQ(act(Op::zone_open, 1), "");
    EXPECT_EQ(report(descriptor(1, ZoneState::explicit_open)), "");
    EXPECT_EQ(act(Op::zone_close, 1), "");
    EXPECT_EQ(report(descriptor(1, ZoneState::empty)), "");
    EXPECT_EQ(append(1, 4096, 0), "");
    EXPECT_EQ(act(Op::zone_close, 1), "");
    EXPECT_EQ(report(descriptor(1, ZoneState::closed, 4096)), "");
    EXPECT_EQ(act(Op::zone_finish, 1), "");
    EXPECT_EQ(report(descriptor(1, ZoneState::full, kZone)), "");
    EXPECT_EQ(act(Op::zone_reset, 1), "");
    EXPECT_EQ(report(descriptor(1, ZoneState::empty)), "");
}

TEST_F(Watch, action_without_effect_is_a_violation) {
    ASSERT_EQ(act(Op::zone_open, 1), "");
    EXPECT_EQ(report(descriptor(1, ZoneState::empty)), "reported as empty: expected explicit-open");
    ASSERT_EQ(append(2, 4096, 0), "");
    ASSERT_EQ(act(Op::zone_reset, 2), "");
    EXPECT_NE(report(descriptor(2, ZoneState::implicit_open, 4096)), "");
}

TEST_F(Watch, action_that_the_zone_must_refuse_is_a_violation) {
    EXPECT_EQ(act(Op::zone_close, 1),
              "an action that a zone refuses was accepted: the zone is empty");
    ASSERT_EQ(act(Op::zone_finish, 2), "");
    EXPECT_NE(act(Op::zone_open, 2), "");
}

TEST_F(Watch, refused_action_changes_nothing_and_a_failed_one_may_have) {
    ASSERT_EQ(append(1, 4096, 0), "");
    ASSERT_EQ(act(Op::zone_reset, 1, fail(Errc::zone_invalid, "test")), "");
    EXPECT_NE(report(descriptor(1, ZoneState::empty)), "");
    ASSERT_EQ(append(2, 4096, 0), "");
    ASSERT_EQ(act(Op::zone_reset, 2, kIoError), "");
    EXPECT_EQ(report(descriptor(2, ZoneState::empty)), "");
}

TEST_F(Watch, reset_all_empties_every_zone) {
    ASSERT_EQ(append(1, 4096, 0), "");
    ASSERT_EQ(act(Op::zone_finish, 2), "");
    ASSERT_EQ(act(Op::zone_reset_all, 0), "");
    EXPECT_EQ(report(descriptor(1, ZoneState::empty)), "");
    EXPECT_NE(report(descriptor(2, ZoneState::full, kZone)), "");
}

TEST_F(Watch, reset_beside_a_write_leaves_either_outcome) {
    Flight first = begin_append(1, 4096);
    Flight reset = begin({.op = Op::zone_reset, .range = {kZone, 0}});
    EXPECT_EQ(landed(first, 0), "");
    EXPECT_EQ(end(reset, kDone), "");
    EXPECT_EQ(append(1, 4096, 4096), "");
    Flight second = begin_append(2, 4096);
    Flight all = begin({.op = Op::zone_reset_all});
    EXPECT_EQ(end(all, kDone), "");
    EXPECT_EQ(landed(second, 0), "");
    EXPECT_EQ(report(descriptor(2, ZoneState::empty)), "");
}

// --- Reports ------------------------------------------------------------------------------------

TEST_F(Watch, pointer_that_moved_back_is_a_violation) {
    ASSERT_EQ(append(1, 8192, 0), "");
    EXPECT_EQ(report(descriptor(1, ZoneState::implicit_open, 4096)),
              "reported with its write pointer at 1052672: expected 1056768 to 1056768");
}

TEST_F(Watch, pointer_that_moved_forward_alone_is_a_violation) {
    ASSERT_EQ(append(1, 4096, 0), "");
    EXPECT_NE(report(descriptor(1, ZoneState::implicit_open, 8192)), "");
}

TEST_F(Watch, after_a_violation_what_was_seen_counts) {
    ASSERT_EQ(append(1, 8192, 0), "");
    ASSERT_NE(report(descriptor(1, ZoneState::implicit_open, 4096)), "");
    EXPECT_EQ(report(descriptor(1, ZoneState::implicit_open, 4096)), "");
    EXPECT_EQ(append(1, 4096, 4096), "");
}

TEST_F(Watch, report_beside_writes_shows_a_pointer_between_the_bounds) {
    ASSERT_EQ(append(1, 4096, 0), "");
    std::vector<ZoneDescriptor> zones = {descriptor(1, ZoneState::implicit_open, 4096)};
    Flight early = begin({.op = Op::report_zones, .range = {kZone, 0}, .zones = zones});
    ASSERT_EQ(append(1, 4096, 4096), "");
    early.request.zones_reported = 1;
    EXPECT_EQ(end(early, kDone), "");
    Flight late = begin({.op = Op::report_zones, .range = {kZone, 0}, .zones = zones});
    Flight flying = begin_append(1, 4096);
    late.request.zones_reported = 1;
    EXPECT_NE(end(late, kDone), "") << "it is older than what was acknowledged before";
    EXPECT_EQ(landed(flying, 8192), "");
}

TEST_F(Watch, implicitly_open_zone_may_have_been_closed_to_make_room) {
    ASSERT_EQ(append(1, 4096, 0), "");
    EXPECT_EQ(report(descriptor(1, ZoneState::closed, 4096)), "");
}

TEST_F(Watch, explicitly_open_zone_that_was_closed_is_a_violation) {
    ASSERT_EQ(act(Op::zone_open, 1), "");
    ASSERT_EQ(append(1, 4096, 0), "");
    EXPECT_EQ(report(descriptor(1, ZoneState::closed, 4096)),
              "reported as closed: expected explicit-open");
}

TEST_F(Watch, any_zone_may_wear_out_and_stays_so) {
    ASSERT_EQ(append(1, 4096, 0), "");
    EXPECT_EQ(report(descriptor(1, ZoneState::read_only)), "");
    EXPECT_EQ(append(1, 4096, 4096), "a write to a worn-out zone was accepted");
    EXPECT_EQ(report(descriptor(1, ZoneState::offline)), "");
    EXPECT_EQ(report(descriptor(1, ZoneState::read_only)),
              "reported as read-only: expected offline, as before");
    ASSERT_EQ(report(descriptor(2, ZoneState::offline)), "");
    EXPECT_EQ(report(descriptor(2, ZoneState::empty)),
              "reported as empty: expected offline, as before");
}

TEST_F(Watch, worn_out_zone_is_not_emptied_by_reset_all) {
    ASSERT_EQ(report(descriptor(1, ZoneState::read_only)), "");
    ASSERT_EQ(act(Op::zone_reset_all, 0), "");
    EXPECT_NE(report(descriptor(1, ZoneState::empty)), "");
}

TEST_F(Watch, read_of_an_offline_zone_is_a_violation) {
    ASSERT_EQ(report(descriptor(1, ZoneState::offline)), "");
    Flight read = begin({.op = Op::read, .range = {kZone, 4096}});
    EXPECT_EQ(end(read, kDone), "a read of an offline zone was answered");
}

TEST_F(Watch, descriptor_that_contradicts_the_geometry_is_a_violation) {
    ZoneDescriptor zone = descriptor(1, ZoneState::empty);
    zone.capacity = kZone;
    EXPECT_NE(report(zone).find("expected 1048576+1048576 with 524288"), std::string::npos);
    EXPECT_EQ(report(descriptor(1, ZoneState::not_write_pointer)),
              "a sequential zone was reported as not-write-pointer");
    EXPECT_EQ(report(descriptor(0, ZoneState::full)), "a conventional zone was reported as full");
    EXPECT_NE(report(descriptor(1, ZoneState::empty, 4096)), "");
    EXPECT_NE(report(descriptor(1, ZoneState::closed, kCapacity + 4096)), "");
}

TEST_F(Watch, more_open_or_active_zones_than_the_limits_are_a_violation) {
    for (std::uint32_t zone = 1; zone < 5; ++zone) ASSERT_EQ(append(zone, 4096, 0), "");
    std::vector<ZoneDescriptor> zones = fresh_zones();
    zones[1] = descriptor(1, ZoneState::closed, 4096);
    for (std::uint32_t i = 2; i < 5; ++i) zones[i] = descriptor(i, ZoneState::implicit_open, 4096);
    EXPECT_EQ(report_all(zones), "3 zones are open: expected at most 2");
    zones[2] = descriptor(2, ZoneState::closed, 4096);
    EXPECT_EQ(report_all(zones), "4 zones are active: expected at most 3");
}

TEST_F(Watch, zones_over_the_limits_at_first_are_right_until_they_are_fewer) {
    std::vector<ZoneDescriptor> zones = fresh_zones();
    for (std::uint32_t i = 1; i < 5; ++i) zones[i] = descriptor(i, ZoneState::closed, 4096);
    ASSERT_EQ(message(watch_.load(zones)), "");
    EXPECT_EQ(report_all(zones), "");
    ASSERT_EQ(act(Op::zone_finish, 1), "");
    std::vector<ZoneDescriptor> fewer = zones;
    fewer[1] = descriptor(1, ZoneState::full, kZone);
    EXPECT_EQ(report_all(fewer), "");
    ASSERT_EQ(append(5, 4096, 0), "");
    fewer[5] = descriptor(5, ZoneState::implicit_open, 4096);
    EXPECT_EQ(report_all(fewer), "4 zones are active: expected at most 3");
}

TEST_F(Watch, report_of_more_zones_than_there_are_is_a_violation) {
    std::vector<ZoneDescriptor> zones(9);
    Flight flight = begin({.op = Op::report_zones, .range = {0, 0}, .zones = zones});
    flight.request.zones_reported = 9;
    EXPECT_EQ(end(flight, kDone), "more zones were reported than the device has");
}

TEST(WatchLoad, zones_that_cannot_be_are_a_violation_at_first) {
    ZoneWatch watch(kGeometry);
    std::vector<ZoneDescriptor> zones = fresh_zones();
    zones[3].write_pointer = 5 * kZone;
    const std::optional<Violation> violation = watch.load(zones);
    ASSERT_TRUE(violation.has_value());
    EXPECT_EQ(to_number(violation->zone), 3U);
}

}  // namespace
}  // namespace zbdkit
