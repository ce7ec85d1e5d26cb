// SPDX-License-Identifier: Apache-2.0
// Each rule of the zone table once, with literal numbers, and the resource rules of all small
// devices compared with the oracle.
#include "zone/zone_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <optional>
#include <vector>

#include "tests/model/zone/zone_oracle.h"

namespace zbdkit {
namespace {

using Phase = ZoneReservation::Phase;
using testing::ElementsAre;
using testing::IsEmpty;

/// Eight zones of 1 MiB with room for 768 KiB; zone 0 is conventional.
ZoneGeometry eight_zones() {
    ZoneGeometry geometry;
    geometry.model = ZoneModel::host_managed;
    geometry.device_size = 8388608;
    geometry.zone_size = 1048576;
    geometry.zone_capacity = 786432;
    geometry.conventional_zones = 1;
    geometry.max_append_bytes = 786432;
    geometry.write_granularity = 4096;
    return geometry;
}

ZoneGeometry eight_zones(std::uint32_t max_open, std::uint32_t max_active) {
    ZoneGeometry geometry = eight_zones();
    geometry.max_open_zones = max_open;
    geometry.max_active_zones = max_active;
    return geometry;
}

ZoneGeometry host_aware() {
    ZoneGeometry geometry = eight_zones();
    geometry.model = ZoneModel::host_aware;
    return geometry;
}

constexpr std::uint64_t kCapacity = 786432;
constexpr ZoneIndex kZone1{1};
constexpr ZoneIndex kZone2{2};
constexpr ZoneIndex kZone3{3};
constexpr ZoneIndex kZone4{4};
constexpr std::uint64_t kStart1 = 1048576;
constexpr std::uint64_t kStart2 = 2097152;

Errc code_of(const Result<void>& result) { return result ? Errc{} : result.error().code; }
template <class T>
Errc code_of(const Result<T>& result) {
    return result ? Errc{} : result.error().code;
}
constexpr Errc kNoError{};

/// A table with writers. Reservations outlive the table, so a test may leave writes in flight.
class Disk {
    std::deque<ZoneReservation> reservations_;

  public:
    explicit Disk(const ZoneGeometry& geometry) : table(geometry) {}

    ZoneReservation& append(ZoneIndex zone, std::uint64_t length) {
        return reserved(zone, std::nullopt, length);
    }
    ZoneReservation& write(ZoneIndex zone, std::uint64_t at, std::uint64_t length) {
        return reserved(zone, at, length);
    }
    /// Reserves and lands at once.
    void fill(ZoneIndex zone, std::uint64_t length) {
        EXPECT_EQ(land(append(zone, length)).size(), 1U);
    }
    Errc try_append(ZoneIndex zone, std::uint64_t length) {
        return code_of(table.reserve(reservations_.emplace_back(), zone, std::nullopt, length));
    }
    Errc try_write(ZoneIndex zone, std::uint64_t at, std::uint64_t length) {
        return code_of(table.reserve(reservations_.emplace_back(), zone, at, length));
    }
    Errc act(ZoneAction action, ZoneIndex zone) {
        const auto next = table.check(action, zone);
        if (!next) return next.error().code;
        if (*next) table.record(zone, **next);
        return kNoError;
    }
    /// What the end of a write resolved: the write itself, if it did that, and then others.
    static std::vector<ZoneReservation*> take(ZoneReservation& own, ZoneTable::Ended ended) {
        std::vector<ZoneReservation*> resolved;
        if (own.phase != ZoneReservation::Phase::landed) resolved.push_back(&own);
        while (!ended.resolved.empty()) {
            resolved.push_back(&ended.resolved.front());
            ended.resolved.pop_front();
        }
        return resolved;
    }
    std::vector<ZoneReservation*> land(ZoneReservation& reservation) {
        ZoneTable::Ended ended = table.landed(reservation);
        recovered = ended.recovered;
        return take(reservation, std::move(ended));
    }
    /// @return what it resolved of others
    std::vector<ZoneReservation*> fail_write(ZoneReservation& reservation) {
        ZoneTable::Ended ended = table.failed(reservation);
        recovered = ended.recovered;
        std::vector<ZoneReservation*> resolved = take(reservation, std::move(ended));
        EXPECT_EQ(resolved.front(), &reservation);
        resolved.erase(resolved.begin());
        return resolved;
    }
    std::uint64_t pointer(ZoneIndex zone) const { return table.describe(zone).write_pointer; }

    ZoneTable table;
    bool recovered = false;  ///< of the last ended write

  private:
    ZoneReservation& reserved(ZoneIndex zone, std::optional<std::uint64_t> at,
                              std::uint64_t length) {
        ZoneReservation& reservation = reservations_.emplace_back();
        EXPECT_TRUE(table.reserve(reservation, zone, at, length));
        return reservation;
    }
};

// --- What a new table shows ----------------------------------------------------------------------

TEST(ZoneTable, new_table_shows_empty_zones) {
    const ZoneTable table(eight_zones());
    const ZoneDescriptor conventional{.start = 0,
                                      .length = 1048576,
                                      .capacity = 1048576,
                                      .write_pointer = 1048576,
                                      .type = ZoneType::conventional,
                                      .state = ZoneState::not_write_pointer};
    const ZoneDescriptor sequential{.start = 7340032,
                                    .length = 1048576,
                                    .capacity = 786432,
                                    .write_pointer = 7340032,
                                    .type = ZoneType::sequential_required,
                                    .state = ZoneState::empty};
    EXPECT_EQ(table.describe(ZoneIndex(0)), conventional);
    EXPECT_EQ(table.describe(ZoneIndex(7)), sequential);
    EXPECT_EQ(table.geometry(), eight_zones());
    EXPECT_EQ(table.open_count(), 0U);
    EXPECT_EQ(table.active_count(), 0U);
}

TEST(ZoneTable, short_last_zone_has_its_own_length_and_capacity) {
    ZoneGeometry geometry = eight_zones();
    geometry.device_size = 7602176;  // seven zones and 256 KiB
    Disk disk(geometry);
    const ZoneIndex last{7};
    EXPECT_EQ(disk.table.describe(last).length, 262144U);
    EXPECT_EQ(disk.table.describe(last).capacity, 262144U);
    disk.fill(last, 258048);
    EXPECT_EQ(disk.try_append(last, 8192), Errc::zone_invalid);
    disk.fill(last, 4096);
    EXPECT_EQ(disk.table.state(last), ZoneState::full);
    EXPECT_EQ(disk.pointer(last), 7602176U);
    EXPECT_EQ(disk.act(ZoneAction::reset, last), kNoError);
    disk.fill(last, 4096);
    EXPECT_EQ(disk.pointer(last), 7344128U);
}

TEST(ZoneTable, zones_of_five_gib_keep_all_bits) {
    ZoneGeometry geometry;
    geometry.model = ZoneModel::host_managed;
    geometry.zone_size = 5368709120;
    geometry.zone_capacity = 5368709120;
    geometry.device_size = 16106127360;
    geometry.write_granularity = 4096;
    geometry.max_append_bytes = 5368709120;
    Disk disk(geometry);
    disk.fill(kZone2, 4831838208);
    ZoneReservation& next = disk.append(kZone2, 4096);
    EXPECT_EQ(next.range, (ByteRange{15569256448, 4096}));
    disk.land(next);
    EXPECT_EQ(disk.pointer(kZone2), 15569260544U);
    EXPECT_EQ(disk.try_append(kZone2, 536870912), Errc::zone_invalid);
    disk.fill(kZone2, 536866816);
    EXPECT_EQ(disk.table.state(kZone2), ZoneState::full);
    EXPECT_EQ(disk.pointer(kZone2), 16106127360U);
}

// --- Writes ------------------------------------------------------------------------------------

TEST(ZoneTable, append_lands_and_moves_the_pointer) {
    Disk disk(eight_zones());
    ZoneReservation& append = disk.append(kZone1, 8192);
    EXPECT_EQ(append.range, (ByteRange{kStart1, 8192}));
    EXPECT_EQ(append.zone, kZone1);
    EXPECT_EQ(append.phase, Phase::writing);
    EXPECT_THAT(disk.land(append), ElementsAre(&append));
    EXPECT_EQ(append.phase, Phase::published);
    EXPECT_FALSE(disk.recovered);
    EXPECT_EQ(disk.pointer(kZone1), 1056768U);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::implicit_open);
    EXPECT_EQ(disk.table.record_of(kZone1), (ZoneRecord{ZoneState::implicit_open, 8192}));
}

TEST(ZoneTable, first_write_in_flight_holds_resources_but_shows_empty) {
    Disk disk(eight_zones());
    ZoneReservation& append = disk.append(kZone1, 4096);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::empty);
    EXPECT_EQ(disk.pointer(kZone1), kStart1);
    EXPECT_EQ(disk.table.open_count(), 1U);
    EXPECT_EQ(disk.table.active_count(), 1U);
    EXPECT_TRUE(disk.table.is_busy(kZone1));
    disk.land(append);
    EXPECT_FALSE(disk.table.is_busy(kZone1));
}

TEST(ZoneTable, writes_in_a_row_start_at_the_reserved_pointer) {
    Disk disk(eight_zones());
    ZoneReservation& first = disk.write(kZone1, kStart1, 4096);
    ZoneReservation& second = disk.write(kZone1, 1052672, 8192);
    ZoneReservation& third = disk.append(kZone1, 4096);
    EXPECT_EQ(third.range.offset, 1060864U);
    EXPECT_EQ(disk.table.reserved_pointer(kZone1), 1064960U);
    EXPECT_EQ(disk.pointer(kZone1), kStart1);
    disk.land(first);
    disk.land(second);
    disk.land(third);
    EXPECT_EQ(disk.table.reserved_pointer(kZone1), 1064960U);
    EXPECT_EQ(disk.pointer(kZone1), 1064960U);
}

TEST(ZoneTable, later_write_landing_first_waits_for_the_earlier) {
    Disk disk(eight_zones());
    ZoneReservation& first = disk.append(kZone1, 4096);
    ZoneReservation& second = disk.append(kZone1, 4096);
    ZoneReservation& third = disk.append(kZone1, 4096);
    EXPECT_THAT(disk.land(second), IsEmpty());
    EXPECT_EQ(second.phase, Phase::landed);
    EXPECT_EQ(disk.pointer(kZone1), kStart1);
    EXPECT_EQ(disk.table.readable_end(kZone1), kStart1);
    EXPECT_THAT(disk.land(first), ElementsAre(&first, &second));
    EXPECT_EQ(disk.pointer(kZone1), 1056768U);
    EXPECT_THAT(disk.land(third), ElementsAre(&third));
}

TEST(ZoneTable, write_not_at_the_pointer_is_unaligned) {
    Disk disk(eight_zones());
    disk.fill(kZone1, 8192);
    EXPECT_EQ(disk.try_write(kZone1, kStart1, 4096), Errc::zone_unaligned_wp);
    EXPECT_EQ(disk.try_write(kZone1, 1060864, 4096), Errc::zone_unaligned_wp);
    EXPECT_EQ(disk.try_write(kZone1, 1056768, 4096), kNoError);
}

TEST(ZoneTable, length_off_granularity_is_unaligned) {
    Disk disk(eight_zones());
    EXPECT_EQ(disk.try_write(kZone1, kStart1, 512), Errc::zone_unaligned_wp);
    EXPECT_EQ(disk.try_append(kZone1, 6144), Errc::zone_unaligned_wp);
    EXPECT_EQ(disk.table.active_count(), 0U);
}

TEST(ZoneTable, write_across_the_zone_border_is_invalid) {
    ZoneGeometry geometry = eight_zones();
    geometry.zone_capacity = 1048576;
    Disk disk(geometry);
    disk.fill(kZone1, 786432);
    EXPECT_EQ(disk.try_write(kZone1, 1835008, 266240), Errc::zone_invalid);
    EXPECT_EQ(disk.try_write(kZone1, 1835008, 262144), kNoError);
}

TEST(ZoneTable, write_beyond_the_capacity_is_invalid) {
    Disk disk(eight_zones());
    disk.fill(kZone1, 782336);
    EXPECT_EQ(disk.try_append(kZone1, 8192), Errc::zone_invalid);
    EXPECT_EQ(disk.try_write(kZone1, 1830912, 8192), Errc::zone_invalid);
    EXPECT_EQ(disk.try_append(kZone1, 4096), kNoError);
}

TEST(ZoneTable, write_to_the_capacity_makes_full_and_frees_resources) {
    Disk disk(eight_zones());
    disk.fill(kZone1, 782336);
    ZoneReservation& last = disk.append(kZone1, 4096);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::implicit_open);
    EXPECT_EQ(disk.table.open_count(), 1U);
    disk.land(last);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::full);
    EXPECT_EQ(disk.table.open_count(), 0U);
    EXPECT_EQ(disk.table.active_count(), 0U);
    EXPECT_EQ(disk.pointer(kZone1), kStart2);
    EXPECT_EQ(disk.table.readable_end(kZone1), 1835008U);
}

TEST(ZoneTable, one_write_of_the_whole_capacity_makes_an_empty_zone_full) {
    Disk disk(eight_zones(1, 1));
    disk.fill(kZone1, kCapacity);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::full);
    disk.fill(kZone2, kCapacity);
    EXPECT_EQ(disk.table.state(kZone2), ZoneState::full);
}

TEST(ZoneTable, append_to_full_zone_is_invalid_and_does_not_spill) {
    Disk disk(eight_zones());
    disk.fill(kZone1, kCapacity);
    EXPECT_EQ(disk.try_append(kZone1, 4096), Errc::zone_invalid);
    EXPECT_EQ(disk.try_write(kZone1, 1835008, 4096), Errc::zone_invalid);
    EXPECT_EQ(disk.table.state(kZone2), ZoneState::empty);
    EXPECT_EQ(disk.pointer(kZone2), kStart2);
}

TEST(ZoneTable, write_to_a_zone_whose_last_byte_is_reserved_is_invalid) {
    Disk disk(eight_zones());
    ZoneReservation& all = disk.append(kZone1, kCapacity);
    EXPECT_EQ(disk.try_append(kZone1, 4096), Errc::zone_invalid);
    EXPECT_EQ(disk.try_write(kZone1, kStart1, 4096), Errc::zone_invalid);
    disk.land(all);
}

TEST(ZoneTable, append_longer_than_max_append_is_invalid) {
    ZoneGeometry geometry = eight_zones();
    geometry.max_append_bytes = 65536;
    Disk disk(geometry);
    EXPECT_EQ(disk.try_append(kZone1, 69632), Errc::zone_invalid);
    EXPECT_EQ(disk.try_append(kZone1, 65536), kNoError);
}

TEST(ZoneTable, append_without_max_append_is_not_supported) {
    ZoneGeometry geometry = eight_zones();
    geometry.max_append_bytes = 0;
    Disk disk(geometry);
    EXPECT_EQ(disk.try_append(kZone1, 4096), Errc::not_supported);
}

TEST(ZoneTable, append_to_conventional_zone_is_invalid) {
    Disk disk(eight_zones());
    EXPECT_EQ(disk.try_append(ZoneIndex(0), 4096), Errc::zone_invalid);
}

TEST(ZoneTable, write_to_worn_out_zones_is_invalid) {
    Disk disk(eight_zones());
    disk.table.degrade(kZone1, ZoneState::read_only);
    disk.table.degrade(kZone2, ZoneState::offline);
    EXPECT_EQ(disk.try_write(kZone1, kStart1, 4096), Errc::zone_invalid);
    EXPECT_EQ(disk.try_append(kZone1, 4096), Errc::zone_invalid);
    EXPECT_EQ(disk.try_write(kZone2, kStart2, 4096), Errc::zone_invalid);
}

TEST(ZoneTable, write_in_explicitly_open_zone_keeps_it_explicitly_open) {
    Disk disk(eight_zones());
    EXPECT_EQ(disk.act(ZoneAction::open, kZone1), kNoError);
    disk.fill(kZone1, 4096);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::explicit_open);
}

TEST(ZoneTable, write_in_closed_zone_opens_it) {
    Disk disk(eight_zones());
    disk.fill(kZone1, 4096);
    EXPECT_EQ(disk.act(ZoneAction::close, kZone1), kNoError);
    EXPECT_EQ(disk.table.open_count(), 0U);
    ZoneReservation& append = disk.append(kZone1, 4096);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::implicit_open);
    disk.land(append);
}

// --- Resources ---------------------------------------------------------------------------------

TEST(ZoneTable, write_at_the_open_limit_closes_the_least_recently_written_zone) {
    Disk disk(eight_zones(2, 0));
    disk.fill(kZone1, 4096);
    disk.fill(kZone2, 4096);
    disk.fill(kZone1, 4096);
    disk.fill(kZone3, 4096);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::implicit_open);
    EXPECT_EQ(disk.table.state(kZone2), ZoneState::closed);
    EXPECT_EQ(disk.table.state(kZone3), ZoneState::implicit_open);
    EXPECT_EQ(disk.table.open_count(), 2U);
    EXPECT_EQ(disk.table.active_count(), 3U);
}

TEST(ZoneTable, open_at_the_open_limit_closes_an_implicitly_open_zone) {
    Disk disk(eight_zones(1, 0));
    disk.fill(kZone1, 4096);
    EXPECT_EQ(disk.act(ZoneAction::open, kZone2), kNoError);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::closed);
    EXPECT_EQ(disk.table.state(kZone2), ZoneState::explicit_open);
}

TEST(ZoneTable, explicitly_open_zones_are_never_closed_implicitly) {
    Disk disk(eight_zones(1, 0));
    EXPECT_EQ(disk.act(ZoneAction::open, kZone1), kNoError);
    EXPECT_EQ(disk.try_append(kZone2, 4096), Errc::zone_open_limit);
    EXPECT_EQ(disk.act(ZoneAction::open, kZone2), Errc::zone_open_limit);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::explicit_open);
    EXPECT_EQ(disk.table.state(kZone2), ZoneState::empty);
}

TEST(ZoneTable, active_limit_is_not_helped_by_closing) {
    Disk disk(eight_zones(0, 2));
    disk.fill(kZone1, 4096);
    disk.fill(kZone2, 4096);
    EXPECT_EQ(disk.try_append(kZone3, 4096), Errc::zone_active_limit);
    EXPECT_EQ(disk.act(ZoneAction::open, kZone3), Errc::zone_active_limit);
    EXPECT_EQ(disk.act(ZoneAction::finish, kZone1), kNoError);
    EXPECT_EQ(disk.try_append(kZone3, 4096), kNoError);
}

TEST(ZoneTable, active_limit_comes_before_open_limit) {
    Disk disk(eight_zones(1, 1));
    EXPECT_EQ(disk.act(ZoneAction::open, kZone1), kNoError);
    EXPECT_EQ(disk.try_append(kZone2, 4096), Errc::zone_active_limit);
    EXPECT_EQ(disk.act(ZoneAction::open, kZone2), Errc::zone_active_limit);
}

TEST(ZoneTable, closed_zone_needs_only_an_open_resource) {
    Disk disk(eight_zones(1, 1));
    disk.fill(kZone1, 4096);
    EXPECT_EQ(disk.act(ZoneAction::close, kZone1), kNoError);
    disk.fill(kZone1, 4096);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::implicit_open);
}

TEST(ZoneTable, victim_with_writes_in_flight_ends_them_as_a_closed_zone) {
    Disk disk(eight_zones(1, 0));
    disk.fill(kZone1, 4096);
    ZoneReservation& first = disk.append(kZone1, 4096);
    ZoneReservation& other = disk.append(kZone2, 4096);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::closed);
    EXPECT_THAT(disk.land(first), ElementsAre(&first));
    EXPECT_EQ(disk.table.record_of(kZone1), (ZoneRecord{ZoneState::closed, 8192}));
    disk.land(other);
    EXPECT_EQ(disk.table.open_count(), 1U);
}

TEST(ZoneTable, victim_filled_by_its_write_in_flight_becomes_full) {
    Disk disk(eight_zones(1, 0));
    ZoneReservation& all = disk.append(kZone1, kCapacity);
    ZoneReservation& other = disk.append(kZone2, 4096);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::empty);
    EXPECT_EQ(disk.table.active_count(), 2U);
    disk.land(all);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::full);
    EXPECT_EQ(disk.table.active_count(), 1U);
    disk.land(other);
}

TEST(ZoneTable, victim_reopens_while_its_write_is_in_flight) {
    Disk disk(eight_zones(1, 0));
    ZoneReservation& first = disk.append(kZone1, 4096);
    ZoneReservation& other = disk.append(kZone2, 4096);
    ZoneReservation& second = disk.append(kZone1, 4096);
    EXPECT_EQ(second.range.offset, 1052672U);
    EXPECT_EQ(disk.table.open_count(), 1U);
    disk.land(other);
    EXPECT_EQ(disk.table.state(kZone2), ZoneState::closed);
    disk.land(first);
    disk.land(second);
    EXPECT_EQ(disk.table.record_of(kZone1), (ZoneRecord{ZoneState::implicit_open, 8192}));
}

// --- Failed writes -------------------------------------------------------------------------------

TEST(ZoneTable, only_write_failing_leaves_the_zone_empty) {
    Disk disk(eight_zones());
    ZoneReservation& append = disk.append(kZone1, 4096);
    EXPECT_THAT(disk.fail_write(append), IsEmpty());
    EXPECT_EQ(append.phase, Phase::failed);
    EXPECT_TRUE(disk.recovered);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::empty);
    EXPECT_EQ(disk.table.open_count(), 0U);
    EXPECT_EQ(disk.table.active_count(), 0U);
    EXPECT_FALSE(disk.table.is_recovering(kZone1));
    EXPECT_EQ(disk.append(kZone1, 4096).range.offset, kStart1);
}

TEST(ZoneTable, failed_write_in_a_zone_with_data_leaves_it_open) {
    Disk disk(eight_zones());
    disk.fill(kZone1, 4096);
    disk.fail_write(disk.append(kZone1, 4096));
    EXPECT_EQ(disk.table.record_of(kZone1), (ZoneRecord{ZoneState::implicit_open, 4096}));
    EXPECT_EQ(disk.append(kZone1, 4096).range.offset, 1052672U);
}

TEST(ZoneTable, first_write_failing_leaves_an_explicitly_open_zone_open) {
    Disk disk(eight_zones());
    EXPECT_EQ(disk.act(ZoneAction::open, kZone1), kNoError);
    disk.fail_write(disk.append(kZone1, 4096));
    EXPECT_EQ(disk.table.record_of(kZone1), (ZoneRecord{ZoneState::explicit_open, 0}));
    EXPECT_EQ(disk.table.open_count(), 1U);
}

TEST(ZoneTable, first_write_failing_in_a_victim_frees_its_active_resource) {
    Disk disk(eight_zones(1, 2));
    ZoneReservation& first = disk.append(kZone1, 4096);
    ZoneReservation& other = disk.append(kZone2, 4096);
    EXPECT_EQ(disk.table.active_count(), 2U);
    disk.fail_write(first);
    EXPECT_EQ(disk.table.active_count(), 1U);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::empty);
    disk.land(other);
}

TEST(ZoneTable, failure_displaces_landed_writes_at_once) {
    Disk disk(eight_zones());
    ZoneReservation& first = disk.append(kZone1, 4096);
    ZoneReservation& second = disk.append(kZone1, 4096);
    ZoneReservation& third = disk.append(kZone1, 4096);
    disk.land(second);
    disk.land(third);
    EXPECT_THAT(disk.fail_write(first), ElementsAre(&second, &third));
    EXPECT_EQ(first.phase, Phase::failed);
    EXPECT_EQ(second.phase, Phase::displaced);
    EXPECT_EQ(third.phase, Phase::displaced);
    EXPECT_TRUE(disk.recovered);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::empty);
}

TEST(ZoneTable, failure_displaces_writes_in_flight_when_they_end) {
    Disk disk(eight_zones());
    disk.fill(kZone1, 8192);
    ZoneReservation& first = disk.append(kZone1, 4096);
    ZoneReservation& second = disk.append(kZone1, 4096);
    ZoneReservation& third = disk.append(kZone1, 4096);
    EXPECT_THAT(disk.fail_write(first), IsEmpty());
    EXPECT_FALSE(disk.recovered);
    EXPECT_TRUE(disk.table.is_recovering(kZone1));
    EXPECT_TRUE(second.displaced_in_flight);
    EXPECT_EQ(second.phase, Phase::writing);
    EXPECT_THAT(disk.land(second), ElementsAre(&second));
    EXPECT_EQ(second.phase, Phase::displaced);
    EXPECT_FALSE(disk.recovered);
    EXPECT_THAT(disk.fail_write(third), IsEmpty());
    EXPECT_EQ(third.phase, Phase::displaced);
    EXPECT_TRUE(disk.recovered);
    EXPECT_FALSE(disk.table.is_recovering(kZone1));
    EXPECT_EQ(disk.pointer(kZone1), 1056768U);
    EXPECT_EQ(disk.append(kZone1, 4096).range.offset, 1056768U);
}

TEST(ZoneTable, writes_before_the_failed_one_are_published) {
    Disk disk(eight_zones());
    ZoneReservation& first = disk.append(kZone1, 4096);
    ZoneReservation& second = disk.append(kZone1, 4096);
    EXPECT_THAT(disk.fail_write(second), IsEmpty());
    EXPECT_TRUE(disk.table.is_recovering(kZone1));
    EXPECT_EQ(disk.table.reserved_pointer(kZone1), 1052672U);
    EXPECT_THAT(disk.land(first), ElementsAre(&first));
    EXPECT_EQ(first.phase, Phase::published);
    EXPECT_TRUE(disk.recovered);
    EXPECT_EQ(disk.pointer(kZone1), 1052672U);
}

TEST(ZoneTable, earlier_write_failing_later_lowers_the_rollback_point) {
    Disk disk(eight_zones());
    ZoneReservation& first = disk.append(kZone1, 4096);
    ZoneReservation& second = disk.append(kZone1, 4096);
    ZoneReservation& third = disk.append(kZone1, 4096);
    ZoneReservation& fourth = disk.append(kZone1, 4096);
    disk.land(second);
    EXPECT_THAT(disk.fail_write(third), IsEmpty());
    EXPECT_EQ(disk.table.reserved_pointer(kZone1), 1056768U);
    EXPECT_THAT(disk.fail_write(first), ElementsAre(&second));
    EXPECT_EQ(disk.table.reserved_pointer(kZone1), kStart1);
    EXPECT_FALSE(disk.recovered);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::empty);
    EXPECT_THAT(disk.land(fourth), ElementsAre(&fourth));
    EXPECT_TRUE(disk.recovered);
}

TEST(ZoneTable, failure_in_one_zone_does_not_touch_another) {
    Disk disk(eight_zones());
    ZoneReservation& here = disk.append(kZone1, 4096);
    ZoneReservation& there = disk.append(kZone2, 4096);
    disk.fail_write(here);
    EXPECT_FALSE(disk.table.is_recovering(kZone2));
    EXPECT_THAT(disk.land(there), ElementsAre(&there));
    EXPECT_EQ(there.phase, Phase::published);
}

TEST(ZoneTable, failed_write_to_the_capacity_leaves_room_again) {
    Disk disk(eight_zones());
    disk.fail_write(disk.append(kZone1, kCapacity));
    EXPECT_EQ(disk.try_append(kZone1, kCapacity), kNoError);
}

// --- Actions -----------------------------------------------------------------------------------

TEST(ZoneTable, actions_on_conventional_zone_are_invalid) {
    Disk disk(eight_zones());
    EXPECT_EQ(disk.act(ZoneAction::open, ZoneIndex(0)), Errc::zone_invalid);
    EXPECT_EQ(disk.act(ZoneAction::close, ZoneIndex(0)), Errc::zone_invalid);
    EXPECT_EQ(disk.act(ZoneAction::finish, ZoneIndex(0)), Errc::zone_invalid);
    EXPECT_EQ(disk.act(ZoneAction::reset, ZoneIndex(0)), Errc::zone_invalid);
}

TEST(ZoneTable, actions_that_change_nothing_need_no_io) {
    Disk disk(eight_zones());
    EXPECT_EQ(disk.table.check(ZoneAction::reset, kZone1).value(), std::nullopt);
    EXPECT_EQ(disk.act(ZoneAction::open, kZone1), kNoError);
    EXPECT_EQ(disk.table.check(ZoneAction::open, kZone1).value(), std::nullopt);
    disk.fill(kZone1, 4096);
    EXPECT_EQ(disk.act(ZoneAction::close, kZone1), kNoError);
    EXPECT_EQ(disk.table.check(ZoneAction::close, kZone1).value(), std::nullopt);
    EXPECT_EQ(disk.act(ZoneAction::finish, kZone1), kNoError);
    EXPECT_EQ(disk.table.check(ZoneAction::finish, kZone1).value(), std::nullopt);
}

TEST(ZoneTable, check_alone_changes_nothing) {
    Disk disk(eight_zones());
    const auto next = disk.table.check(ZoneAction::open, kZone1);
    EXPECT_EQ(next.value(), (ZoneRecord{ZoneState::explicit_open, 0}));
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::empty);
    EXPECT_EQ(disk.table.open_count(), 0U);
}

TEST(ZoneTable, open_of_full_zone_is_invalid) {
    Disk disk(eight_zones());
    disk.fill(kZone1, kCapacity);
    EXPECT_EQ(disk.act(ZoneAction::open, kZone1), Errc::zone_invalid);
}

TEST(ZoneTable, close_of_open_zone_at_its_start_makes_it_empty) {
    Disk disk(eight_zones());
    EXPECT_EQ(disk.act(ZoneAction::open, kZone1), kNoError);
    EXPECT_EQ(disk.act(ZoneAction::close, kZone1), kNoError);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::empty);
    EXPECT_EQ(disk.table.active_count(), 0U);
}

TEST(ZoneTable, close_of_open_zone_with_data_keeps_it_active) {
    Disk disk(eight_zones());
    disk.fill(kZone1, 4096);
    EXPECT_EQ(disk.act(ZoneAction::close, kZone1), kNoError);
    EXPECT_EQ(disk.table.record_of(kZone1), (ZoneRecord{ZoneState::closed, 4096}));
    EXPECT_EQ(disk.table.open_count(), 0U);
    EXPECT_EQ(disk.table.active_count(), 1U);
    EXPECT_EQ(disk.pointer(kZone1), 1052672U);
}

TEST(ZoneTable, close_of_empty_or_full_zone_is_invalid) {
    Disk disk(eight_zones());
    EXPECT_EQ(disk.act(ZoneAction::close, kZone1), Errc::zone_invalid);
    disk.fill(kZone1, kCapacity);
    EXPECT_EQ(disk.act(ZoneAction::close, kZone1), Errc::zone_invalid);
}

TEST(ZoneTable, finish_needs_no_resources) {
    Disk disk(eight_zones(1, 1));
    EXPECT_EQ(disk.act(ZoneAction::open, kZone1), kNoError);
    EXPECT_EQ(disk.act(ZoneAction::finish, kZone2), kNoError);
    EXPECT_EQ(disk.table.state(kZone2), ZoneState::full);
}

TEST(ZoneTable, finished_zone_remembers_where_its_data_ends) {
    Disk disk(eight_zones());
    disk.fill(kZone1, 8192);
    EXPECT_EQ(disk.act(ZoneAction::finish, kZone1), kNoError);
    EXPECT_EQ(disk.table.record_of(kZone1), (ZoneRecord{ZoneState::full, 8192}));
    EXPECT_EQ(disk.table.readable_end(kZone1), 1056768U);
    EXPECT_EQ(disk.pointer(kZone1), kStart2);
    EXPECT_EQ(disk.table.active_count(), 0U);
    EXPECT_EQ(disk.try_append(kZone1, 4096), Errc::zone_invalid);
}

TEST(ZoneTable, reset_makes_any_working_zone_empty) {
    Disk disk(eight_zones());
    disk.fill(kZone1, 4096);
    disk.fill(kZone2, kCapacity);
    EXPECT_EQ(disk.act(ZoneAction::reset, kZone1), kNoError);
    EXPECT_EQ(disk.act(ZoneAction::reset, kZone2), kNoError);
    EXPECT_EQ(disk.table.record_of(kZone1), (ZoneRecord{ZoneState::empty, 0}));
    EXPECT_EQ(disk.table.record_of(kZone2), (ZoneRecord{ZoneState::empty, 0}));
    EXPECT_EQ(disk.table.active_count(), 0U);
    EXPECT_EQ(disk.append(kZone2, 4096).range.offset, kStart2);
}

TEST(ZoneTable, actions_on_worn_out_zones_are_invalid_and_change_nothing) {
    Disk disk(eight_zones());
    disk.fill(kZone1, 4096);
    disk.table.degrade(kZone1, ZoneState::read_only);
    disk.table.degrade(kZone2, ZoneState::offline);
    for (const ZoneAction action :
         {ZoneAction::open, ZoneAction::close, ZoneAction::finish, ZoneAction::reset}) {
        EXPECT_EQ(disk.act(action, kZone1), Errc::zone_invalid);
        EXPECT_EQ(disk.act(action, kZone2), Errc::zone_invalid);
    }
    EXPECT_EQ(disk.table.record_of(kZone1), (ZoneRecord{ZoneState::read_only, 4096}));
    EXPECT_EQ(disk.table.state(kZone2), ZoneState::offline);
}

TEST(ZoneTable, reset_all_takes_open_closed_and_full_zones) {
    Disk disk(eight_zones());
    disk.fill(kZone1, 4096);  // implicitly open
    EXPECT_EQ(disk.act(ZoneAction::open, kZone2), kNoError);
    disk.fill(kZone3, 4096);
    EXPECT_EQ(disk.act(ZoneAction::close, kZone3), kNoError);
    disk.fill(kZone4, kCapacity);
    disk.table.degrade(ZoneIndex(5), ZoneState::read_only);
    disk.table.degrade(ZoneIndex(6), ZoneState::offline);
    EXPECT_THAT(disk.table.zones_to_reset(), ElementsAre(kZone1, kZone2, kZone3, kZone4));
}

// --- Reads ---------------------------------------------------------------------------------------

TEST(ZoneTable, read_across_the_border_of_a_sequential_zone_is_invalid) {
    const ZoneTable table(eight_zones());
    EXPECT_EQ(code_of(table.check_read({2093056, 8192})), Errc::zone_invalid);
    EXPECT_EQ(code_of(table.check_read({1044480, 8192})), Errc::zone_invalid);
    EXPECT_EQ(code_of(table.check_read({1048576, 1048576})), kNoError);
}

TEST(ZoneTable, read_across_conventional_zones_is_allowed) {
    ZoneGeometry geometry = eight_zones();
    geometry.conventional_zones = 3;
    const ZoneTable table(geometry);
    EXPECT_EQ(code_of(table.check_read({0, 3145728})), kNoError);
    EXPECT_EQ(code_of(table.check_read({0, 3145729})), Errc::zone_invalid);
}

TEST(ZoneTable, read_of_offline_zone_is_invalid_and_of_read_only_zone_is_not) {
    Disk disk(eight_zones());
    disk.table.degrade(kZone1, ZoneState::offline);
    disk.table.degrade(kZone2, ZoneState::read_only);
    EXPECT_EQ(code_of(disk.table.check_read({kStart1, 4096})), Errc::zone_invalid);
    EXPECT_EQ(code_of(disk.table.check_read({kStart2, 4096})), kNoError);
}

TEST(ZoneTable, host_aware_read_across_zones_is_allowed_unless_one_is_offline) {
    Disk disk(host_aware());
    EXPECT_EQ(code_of(disk.table.check_read({1048576, 3145728})), kNoError);
    disk.table.degrade(kZone2, ZoneState::offline);
    EXPECT_EQ(code_of(disk.table.check_read({1048576, 3145728})), Errc::zone_invalid);
}

TEST(ZoneTable, readable_end_is_the_end_of_the_data) {
    Disk disk(eight_zones());
    disk.fill(kZone1, 8192);
    disk.fill(kZone2, 4096);
    disk.table.degrade(kZone2, ZoneState::read_only);
    EXPECT_EQ(disk.table.readable_end(ZoneIndex(0)), 1048576U);
    EXPECT_EQ(disk.table.readable_end(kZone1), 1056768U);
    EXPECT_EQ(disk.table.readable_end(kZone2), 2101248U);
    EXPECT_EQ(disk.table.readable_end(kZone3), 3145728U);
}

// --- Host-aware devices ------------------------------------------------------------------------

TEST(ZoneTable, host_aware_write_anywhere_is_published_when_it_lands) {
    Disk disk(host_aware());
    ZoneReservation& first = disk.write(kZone1, kStart1, 4096);
    ZoneReservation& far = disk.write(kZone1, 1114112, 4096);
    EXPECT_THAT(disk.land(far), ElementsAre(&far));
    EXPECT_EQ(far.phase, Phase::published);
    EXPECT_EQ(disk.pointer(kZone1), 1118208U);
    EXPECT_THAT(disk.land(first), ElementsAre(&first));
    EXPECT_EQ(disk.pointer(kZone1), 1118208U);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::implicit_open);
}

TEST(ZoneTable, host_aware_failed_write_displaces_nobody) {
    Disk disk(host_aware());
    ZoneReservation& first = disk.write(kZone1, kStart1, 4096);
    ZoneReservation& second = disk.write(kZone1, 1052672, 4096);
    EXPECT_THAT(disk.fail_write(first), IsEmpty());
    EXPECT_FALSE(disk.table.is_recovering(kZone1));
    EXPECT_THAT(disk.land(second), ElementsAre(&second));
    EXPECT_EQ(second.phase, Phase::published);
    EXPECT_FALSE(disk.recovered);
    EXPECT_EQ(disk.pointer(kZone1), 1056768U);
}

TEST(ZoneTable, host_aware_only_write_failing_leaves_the_zone_empty) {
    Disk disk(host_aware());
    disk.fail_write(disk.write(kZone1, 1114112, 4096));
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::empty);
    EXPECT_EQ(disk.table.open_count(), 0U);
}

TEST(ZoneTable, host_aware_full_zone_accepts_overwrites) {
    Disk disk(host_aware());
    disk.land(disk.write(kZone1, 1830912, 4096));
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::full);
    ZoneReservation& overwrite = disk.write(kZone1, kStart1, 8192);
    EXPECT_EQ(disk.table.open_count(), 0U);
    disk.land(overwrite);
    EXPECT_EQ(disk.table.record_of(kZone1), (ZoneRecord{ZoneState::full, 786432}));
}

TEST(ZoneTable, host_aware_append_is_invalid) {
    Disk disk(host_aware());
    EXPECT_EQ(disk.try_append(kZone1, 4096), Errc::zone_invalid);
}

TEST(ZoneTable, host_aware_write_beyond_the_capacity_is_invalid) {
    Disk disk(host_aware());
    EXPECT_EQ(disk.try_write(kZone1, 1830912, 8192), Errc::zone_invalid);
}

// --- Wear ----------------------------------------------------------------------------------------

TEST(ZoneTable, worn_out_zone_frees_its_resources_and_keeps_its_data) {
    Disk disk(eight_zones());
    disk.fill(kZone1, 4096);
    disk.table.degrade(kZone1, ZoneState::read_only);
    EXPECT_EQ(disk.table.active_count(), 0U);
    EXPECT_EQ(disk.table.record_of(kZone1), (ZoneRecord{ZoneState::read_only, 4096}));
}

TEST(ZoneTable, offline_zone_stays_offline) {
    Disk disk(eight_zones());
    disk.table.degrade(kZone1, ZoneState::read_only);
    disk.table.degrade(kZone1, ZoneState::offline);
    disk.table.degrade(kZone1, ZoneState::read_only);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::offline);
}

TEST(ZoneTable, write_in_flight_of_a_zone_that_wears_out_ends_as_it_would) {
    Disk disk(eight_zones());
    ZoneReservation& all = disk.append(kZone1, kCapacity);
    disk.table.degrade(kZone1, ZoneState::read_only);
    EXPECT_THAT(disk.land(all), ElementsAre(&all));
    EXPECT_EQ(disk.table.record_of(kZone1), (ZoneRecord{ZoneState::read_only, 786432}));
}

// --- Store: observer and load ----------------------------------------------------------------

using Changes = std::vector<std::pair<ZoneIndex, ZoneRecord>>;

void note_change(void* context, ZoneIndex zone, const ZoneRecord& record) {
    static_cast<Changes*>(context)->emplace_back(zone, record);
}

TEST(ZoneTable, observer_hears_each_visible_change_once) {
    Disk disk(eight_zones(1, 0));
    Changes changes;
    disk.table.set_observer(&note_change, &changes);
    ZoneReservation& first = disk.append(kZone1, 4096);
    EXPECT_THAT(changes, IsEmpty());
    ZoneReservation& second = disk.append(kZone1, 4096);
    disk.land(second);
    EXPECT_THAT(changes, IsEmpty());
    disk.land(first);
    ZoneReservation& other = disk.append(kZone2, 4096);
    disk.land(other);
    EXPECT_EQ(disk.act(ZoneAction::finish, kZone2), kNoError);
    EXPECT_THAT(changes, ElementsAre(std::pair(kZone1, ZoneRecord{ZoneState::implicit_open, 8192}),
                                     std::pair(kZone1, ZoneRecord{ZoneState::closed, 8192}),
                                     std::pair(kZone2, ZoneRecord{ZoneState::implicit_open, 4096}),
                                     std::pair(kZone2, ZoneRecord{ZoneState::full, 4096})));
}

TEST(ZoneTable, observer_hears_nothing_of_a_write_that_failed) {
    Disk disk(eight_zones());
    Changes changes;
    disk.table.set_observer(&note_change, &changes);
    disk.fail_write(disk.append(kZone1, 4096));
    EXPECT_THAT(changes, IsEmpty());
}

TEST(ZoneTable, loaded_zones_hold_their_resources) {
    Disk disk(eight_zones(2, 3));
    Changes changes;
    disk.table.set_observer(&note_change, &changes);
    EXPECT_TRUE(disk.table.load(ZoneIndex(0), {ZoneState::not_write_pointer, 0}));
    EXPECT_TRUE(disk.table.load(kZone1, {ZoneState::implicit_open, 4096}));
    EXPECT_TRUE(disk.table.load(kZone2, {ZoneState::explicit_open, 0}));
    EXPECT_TRUE(disk.table.load(kZone3, {ZoneState::closed, 4096}));
    EXPECT_TRUE(disk.table.load(kZone4, {ZoneState::full, 8192}));
    EXPECT_EQ(disk.table.open_count(), 2U);
    EXPECT_EQ(disk.table.active_count(), 3U);
    EXPECT_THAT(changes, IsEmpty());
    disk.fill(kZone3, 4096);
    EXPECT_EQ(disk.table.state(kZone1), ZoneState::closed);
    EXPECT_EQ(disk.table.readable_end(kZone4), 4202496U);
}

TEST(ZoneTable, closed_or_implicitly_open_zone_loaded_without_data_is_empty) {
    ZoneTable table(eight_zones());
    EXPECT_TRUE(table.load(kZone1, {ZoneState::closed, 0}));
    EXPECT_TRUE(table.load(kZone2, {ZoneState::implicit_open, 0}));
    EXPECT_EQ(table.state(kZone1), ZoneState::empty);
    EXPECT_EQ(table.state(kZone2), ZoneState::empty);
    EXPECT_EQ(table.active_count(), 0U);
}

TEST(ZoneTable, loading_nonsense_is_corrupt_and_changes_nothing) {
    ZoneTable table(eight_zones());
    const std::array nonsense = {
        ZoneRecord{ZoneState::empty, 4096},           ZoneRecord{ZoneState::full, 786433},
        ZoneRecord{ZoneState::not_write_pointer, 0},  ZoneRecord{ZoneState::implicit_open, 786432},
        ZoneRecord{ZoneState::explicit_open, 786432}, ZoneRecord{ZoneState::closed, 786432},
        ZoneRecord{static_cast<ZoneState>(7), 0},
    };
    for (const ZoneRecord& record : nonsense) {
        EXPECT_EQ(code_of(table.load(kZone1, record)), Errc::corrupt);
        EXPECT_EQ(table.record_of(kZone1), (ZoneRecord{ZoneState::empty, 0}));
    }
    EXPECT_EQ(code_of(table.load(ZoneIndex(0), {ZoneState::empty, 0})), Errc::corrupt);
    EXPECT_EQ(code_of(table.load(ZoneIndex(0), {ZoneState::not_write_pointer, 4096})),
              Errc::corrupt);
}

TEST(ZoneTable, loading_more_zones_than_the_limits_allow_is_corrupt) {
    ZoneTable table(eight_zones(1, 2));
    EXPECT_TRUE(table.load(kZone1, {ZoneState::implicit_open, 4096}));
    EXPECT_EQ(code_of(table.load(kZone2, {ZoneState::implicit_open, 4096})), Errc::corrupt);
    EXPECT_TRUE(table.load(kZone2, {ZoneState::closed, 4096}));
    EXPECT_EQ(code_of(table.load(kZone3, {ZoneState::closed, 4096})), Errc::corrupt);
}

TEST(ZoneTable, zones_loaded_over_the_limits_leave_no_room_until_they_are_fewer) {
    Disk disk(eight_zones(1, 1));
    const auto allowed = ZoneTable::OverLimits::allowed;
    EXPECT_TRUE(disk.table.load(kZone1, {ZoneState::closed, 4096}, allowed));
    EXPECT_TRUE(disk.table.load(kZone2, {ZoneState::closed, 4096}, allowed));
    EXPECT_EQ(disk.table.active_count(), 2U);
    disk.fill(kZone1, 4096);
    EXPECT_EQ(disk.act(ZoneAction::finish, kZone1), kNoError);
    EXPECT_EQ(disk.try_append(kZone3, 4096), Errc::zone_active_limit);
    EXPECT_EQ(disk.act(ZoneAction::reset, kZone2), kNoError);
    EXPECT_EQ(disk.try_append(kZone3, 4096), kNoError);
}

TEST(ZoneTable, close_excess_closes_implicitly_open_zones_and_no_other) {
    ZoneTable table(eight_zones(1, 0));
    const auto allowed = ZoneTable::OverLimits::allowed;
    EXPECT_TRUE(table.load(kZone1, {ZoneState::explicit_open, 4096}, allowed));
    EXPECT_TRUE(table.load(kZone2, {ZoneState::implicit_open, 4096}, allowed));
    EXPECT_TRUE(table.load(kZone3, {ZoneState::explicit_open, 4096}, allowed));
    table.close_excess();
    EXPECT_EQ(table.state(kZone1), ZoneState::explicit_open);
    EXPECT_EQ(table.state(kZone2), ZoneState::closed);
    EXPECT_EQ(table.state(kZone3), ZoneState::explicit_open);
}

TEST(ZoneTable, million_zones_are_written_at_random_places) {
    ZoneGeometry geometry = eight_zones(14, 14);
    geometry.device_size = 1048576000000;
    geometry.conventional_zones = 0;
    Disk disk(geometry);
    for (std::uint32_t i = 0; i < 14; ++i) disk.fill(ZoneIndex(i * 71428), 4096);
    EXPECT_EQ(disk.table.open_count(), 14U);
    EXPECT_EQ(disk.try_append(ZoneIndex(999999), 4096), Errc::zone_active_limit);
    EXPECT_EQ(disk.table.zones_to_reset().size(), 14U);
}

TEST(ZoneTable, reads_of_all_ranges_agree_with_the_oracle) {
    for (const ZoneGeometry& geometry : {eight_zones(), host_aware()}) {
        Disk disk(geometry);
        model::ZoneOracle oracle(geometry);
        disk.table.degrade(kZone3, ZoneState::offline);
        oracle.degrade(3, ZoneState::offline);
        for (std::uint64_t offset = 0; offset < 8388608; offset += 524288) {
            for (std::uint64_t length = 524288; offset + length <= 8388608; length += 524288) {
                ASSERT_EQ(code_of(disk.table.check_read({offset, length})),
                          oracle.read({offset, length}).value_or(kNoError))
                    << "offset " << offset << ", length " << length;
            }
        }
    }
}

// --- All small devices -----------------------------------------------------------------------

struct Neighbours {
    std::uint32_t implicit = 0;
    std::uint32_t explicitly = 0;
    std::uint32_t closed = 0;
};

/// Brings a table and an oracle into the same state; false if the limits forbid it.
bool load_both(ZoneTable& table, model::ZoneOracle& oracle, ZoneIndex zone, ZoneState state,
               std::uint64_t data_end) {
    oracle.set(to_number(zone), state, data_end);
    return table.load(zone, {state, data_end}).has_value();
}

bool load_neighbours(ZoneTable& table, model::ZoneOracle& oracle, const Neighbours& others) {
    std::uint32_t next = 2;
    bool fits = true;
    const auto place = [&](std::uint32_t count, ZoneState state) {
        for (std::uint32_t i = 0; i < count; ++i) {
            fits = load_both(table, oracle, ZoneIndex(next++), state, 4096) && fits;
        }
    };
    place(others.implicit, ZoneState::implicit_open);
    place(others.explicitly, ZoneState::explicit_open);
    place(others.closed, ZoneState::closed);
    return fits;
}

void expect_same(const ZoneTable& table, const model::ZoneOracle& oracle) {
    for (std::uint32_t i = 0; i < oracle.size(); ++i) {
        ASSERT_EQ(table.describe(ZoneIndex(i)), oracle.describe(i)) << "zone " << i;
    }
    ASSERT_EQ(table.open_count(), oracle.open_count());
    ASSERT_EQ(table.active_count(), oracle.active_count());
}

/// Tries every action and a write on zone 1 of a device in the given state.
void compare_device(const ZoneGeometry& geometry, const Neighbours& others, ZoneState state,
                    int* compared) {
    const std::uint64_t data_end = state == ZoneState::empty ? 0 : 4096;
    for (int step = 0; step < 5; ++step) {
        Disk disk(geometry);
        model::ZoneOracle oracle(geometry);
        if (!load_neighbours(disk.table, oracle, others)) return;
        if (!load_both(disk.table, oracle, kZone1, state, data_end)) return;
        model::Refusal expected;
        Errc got = kNoError;
        if (step < 4) {
            const auto action = static_cast<ZoneAction>(step);
            expected = oracle.act(action, 1);
            got = disk.act(action, kZone1);
        } else {
            expected = oracle.write(1, data_end, 4096);
            got = disk.try_write(kZone1, kStart1 + data_end, 4096);
            if (got == kNoError) continue;  // it is still in flight; the random test goes on
        }
        ++*compared;
        ASSERT_EQ(got, expected.value_or(kNoError)) << "step " << step;
        expect_same(disk.table, oracle);
    }
}

TEST(ZoneTable, resources_of_all_small_devices_agree_with_the_oracle) {
    int compared = 0;
    for (std::uint32_t limits = 0; limits < 16; ++limits) {
        for (std::uint32_t mix = 0; mix < 27; ++mix) {
            for (const ZoneState state :
                 {ZoneState::empty, ZoneState::implicit_open, ZoneState::explicit_open,
                  ZoneState::closed, ZoneState::full}) {
                const Neighbours others{mix % 3, mix / 3 % 3, mix / 9};
                SCOPED_TRACE(testing::Message() << "limits " << limits << ", neighbours " << mix
                                                << ", state " << zone_state_name(state));
                compare_device(eight_zones(limits % 4, limits / 4), others, state, &compared);
            }
        }
    }
    EXPECT_GT(compared, 1000);
}

}  // namespace
}  // namespace zbdkit
