// SPDX-License-Identifier: Apache-2.0
// The rules of one zone, each combination compared with the oracle, and the geometry check.
#include "zone/zone_rules.h"

#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "tests/model/zone/zone_oracle.h"

namespace zbdkit {
namespace {

using model::Refusal;
using model::ZoneOracle;

// One zone of 64 KiB with room for 48 KiB, written in units of 4 KiB.
constexpr std::uint64_t kLength = 65536;
constexpr std::uint64_t kCapacity = 49152;

constexpr std::array kTypes = {ZoneType::conventional, ZoneType::sequential_required,
                               ZoneType::sequential_preferred};
constexpr std::array kStates = {ZoneState::not_write_pointer,
                                ZoneState::empty,
                                ZoneState::implicit_open,
                                ZoneState::explicit_open,
                                ZoneState::closed,
                                ZoneState::read_only,
                                ZoneState::full,
                                ZoneState::offline};
constexpr std::array kActions = {ZoneAction::open, ZoneAction::close, ZoneAction::finish,
                                 ZoneAction::reset};

ZoneGeometry one_zone(ZoneType type) {
    ZoneGeometry geometry;
    geometry.model =
        type == ZoneType::sequential_preferred ? ZoneModel::host_aware : ZoneModel::host_managed;
    geometry.device_size = kLength;
    geometry.zone_size = kLength;
    geometry.zone_capacity = kCapacity;
    geometry.conventional_zones = type == ZoneType::conventional ? 1 : 0;
    geometry.write_granularity = 4096;
    geometry.max_append_bytes = 16384;
    return geometry;
}

struct Situation {
    ZoneType type;
    ZoneRecord zone;
};

/// Every (type, state, data end) that a zone can be in.
std::vector<Situation> situations() {
    std::vector<Situation> all;
    for (const ZoneType type : kTypes) {
        for (const ZoneState state : kStates) {
            const bool is_conventional = type == ZoneType::conventional;
            if (is_conventional != (state == ZoneState::not_write_pointer)) continue;
            for (const std::uint64_t end : {0U, 4096U, 40960U, 49152U}) {
                const bool holds_none = is_conventional || state == ZoneState::empty;
                if (holds_none && end != 0) continue;
                const bool needs_some =
                    state == ZoneState::implicit_open || state == ZoneState::closed;
                if (needs_some && end == 0) continue;
                if (takes_active(state) && end == kCapacity) continue;
                all.push_back({type, {state, end}});
            }
        }
    }
    return all;
}

std::string name_of(const Situation& at) {
    return std::string(zone_type_name(at.type)) + " " + zone_state_name(at.zone.state) +
           " with data to " + std::to_string(at.zone.data_end);
}

TEST(ZoneRules, every_action_in_every_state_agrees_with_the_oracle) {
    int compared = 0;
    for (const Situation& at : situations()) {
        for (const ZoneAction action : kActions) {
            SCOPED_TRACE(name_of(at) + ", action " + std::to_string(static_cast<int>(action)));
            const ZoneGeometry geometry = one_zone(at.type);
            ZoneOracle oracle(geometry);
            oracle.set(0, at.zone.state, at.zone.data_end);
            const Refusal expected = oracle.act(action, 0);

            const Result<ZoneRecord> next = after_action(action, at.type, at.zone);

            ++compared;
            ASSERT_EQ(next.has_value(), !expected.has_value());
            if (!next) {
                EXPECT_EQ(next.error().code, *expected);
                continue;
            }
            EXPECT_EQ(next->state, oracle.zone(0).state);
            EXPECT_EQ(next->data_end, oracle.zone(0).data_end);
        }
    }
    EXPECT_EQ(compared, 164);
}

/// Places a write by the rules and makes the zone what it becomes.
Result<ZoneRecord> write_by_rules(const ZoneGeometry& geometry, const Situation& at,
                                  const ZoneWrite& write) {
    const ZoneWriteTarget target{.type = at.type,
                                 .state = at.zone.state,
                                 .pointer = at.zone.data_end,
                                 .length = kLength,
                                 .capacity = geometry.capacity_of(ZoneIndex(0)),
                                 .max_append = geometry.max_append_bytes,
                                 .granularity = geometry.write_granularity};
    const Result<std::uint64_t> place = place_write(target, write);
    if (!place) return std::unexpected(place.error());
    if (at.type == ZoneType::conventional) return at.zone;
    ZoneRecord opened = at.zone;
    if (opened.state == ZoneState::empty || opened.state == ZoneState::closed) {
        opened.state = ZoneState::implicit_open;
    }
    return after_write(opened, *place + write.length, target.capacity);
}

TEST(ZoneRules, every_write_in_every_state_agrees_with_the_oracle) {
    const std::array<std::optional<std::uint64_t>, 15> places = {
        std::nullopt, 0,     512,   4096,  4608,  8192,  36864, 40960,
        45056,        49152, 53248, 61440, 65024, 65536, 69632};
    const std::array<std::uint64_t, 11> lengths = {512,   2048,  4096,  8192,  12288, 16384,
                                                   20480, 49152, 53248, 65536, 69632};
    for (const Situation& at : situations()) {
        for (const std::uint64_t max_append : {0U, 16384U, 131072U}) {
            ZoneGeometry geometry = one_zone(at.type);
            geometry.max_append_bytes = max_append;
            for (const auto& place : places) {
                for (const std::uint64_t length : lengths) {
                    SCOPED_TRACE(name_of(at) + ", max append " + std::to_string(max_append) +
                                 ", at " + (place ? std::to_string(*place) : "append") +
                                 ", length " + std::to_string(length));
                    ZoneOracle oracle(geometry);
                    oracle.set(0, at.zone.state, at.zone.data_end);
                    const Refusal expected = oracle.write(0, place, length);

                    const Result<ZoneRecord> next =
                        write_by_rules(geometry, at, {.at = place, .length = length});

                    ASSERT_EQ(next.has_value(), !expected.has_value());
                    if (!next) {
                        ASSERT_EQ(next.error().code, *expected);
                        continue;
                    }
                    ASSERT_EQ(next->state, oracle.zone(0).state);
                    ASSERT_EQ(next->data_end, oracle.zone(0).data_end);
                }
            }
        }
    }
}

TEST(ZoneRules, resources_lacking_both_gives_active_limit) {
    ZoneGeometry limits = one_zone(ZoneType::sequential_required);
    limits.max_open_zones = 2;
    limits.max_active_zones = 2;
    const Result<void> taken = check_resources(limits, {.open = 2, .active = 2}, ZoneState::empty,
                                               ZoneState::implicit_open);
    EXPECT_EQ(taken.error().code, Errc::zone_active_limit);
}

TEST(ZoneRules, resources_of_closed_zone_need_no_active) {
    ZoneGeometry limits = one_zone(ZoneType::sequential_required);
    limits.max_open_zones = 2;
    limits.max_active_zones = 3;
    EXPECT_TRUE(check_resources(limits, {.open = 1, .active = 3}, ZoneState::closed,
                                ZoneState::implicit_open));
    const Result<void> full_up = check_resources(limits, {.open = 2, .active = 3},
                                                 ZoneState::closed, ZoneState::explicit_open);
    EXPECT_EQ(full_up.error().code, Errc::zone_open_limit);
}

TEST(ZoneRules, granularity_zero_is_any_byte) {
    ZoneGeometry geometry = one_zone(ZoneType::sequential_required);
    geometry.write_granularity = 0;
    const Situation at{ZoneType::sequential_required, {ZoneState::explicit_open, 4097}};
    const Result<ZoneRecord> next = write_by_rules(geometry, at, {.at = 4097, .length = 3});
    ASSERT_TRUE(next);
    EXPECT_EQ(next->data_end, 4100U);
}

TEST(ZoneRules, write_at_the_largest_offset_does_not_wrap) {
    const Situation at{ZoneType::sequential_preferred, {ZoneState::explicit_open, 0}};
    const ZoneGeometry geometry = one_zone(at.type);
    const Result<ZoneRecord> next =
        write_by_rules(geometry, at, {.at = UINT64_MAX, .length = UINT64_MAX});
    EXPECT_EQ(next.error().code, Errc::zone_invalid);
    const Result<ZoneRecord> longest =
        write_by_rules(geometry, at, {.at = 4096, .length = UINT64_MAX});
    EXPECT_EQ(longest.error().code, Errc::zone_invalid);
}

TEST(ZoneGeometryCheck, usual_geometry_passes) {
    EXPECT_TRUE(check_geometry(one_zone(ZoneType::sequential_required)));
    EXPECT_TRUE(check_geometry(one_zone(ZoneType::conventional)));
    EXPECT_TRUE(check_geometry(ZoneGeometry{}));
}

TEST(ZoneGeometryCheck, each_contradiction_is_named) {
    struct Case {
        void (*spoil)(ZoneGeometry& geometry);
        std::string_view message;
    };
    const std::array cases = {
        Case{[](ZoneGeometry& g) { g.zone_size = 0; }, "zone size is 0"},
        Case{[](ZoneGeometry& g) { g.device_size = 0; }, "device size is 0"},
        Case{[](ZoneGeometry& g) { g.device_size = UINT64_MAX; },
             "device size is over 8 EiB less one byte"},
        Case{[](ZoneGeometry& g) {
                 g.device_size = std::uint64_t{1} << 62;
                 g.zone_size = 4096;
             },
             "1125899906842624 zones of 4 KiB: expected fewer than 2^32"},
        Case{[](ZoneGeometry& g) { g.zone_capacity = 0; },
             "zone capacity 0 bytes: expected more than 0 and at most the zone size 64 KiB"},
        Case{[](ZoneGeometry& g) { g.zone_capacity = 131072; },
             "zone capacity 128 KiB: expected more than 0 and at most the zone size 64 KiB"},
        Case{[](ZoneGeometry& g) { g.conventional_zones = 2; },
             "2 conventional zones: the device has 1 zones"},
        Case{[](ZoneGeometry& g) {
                 g.max_open_zones = 3;
                 g.max_active_zones = 2;
             },
             "max open zones 3: expected at most max active zones 2"},
        Case{[](ZoneGeometry& g) { g.write_granularity = 3000; },
             "write granularity 3000: expected a power of two that divides device size, zone size "
             "and zone capacity"},
        Case{[](ZoneGeometry& g) { g.zone_capacity = 5000; },
             "write granularity 4096: expected a power of two that divides device size, zone size "
             "and zone capacity"},
        Case{[](ZoneGeometry& g) { g.max_append_bytes = 5000; },
             "max append bytes 5000: expected a multiple of the write granularity 4096"},
    };
    for (const Case& spoiled : cases) {
        ZoneGeometry geometry = one_zone(ZoneType::sequential_required);
        spoiled.spoil(geometry);
        const Outcome<void> checked = check_geometry(geometry);
        ASSERT_FALSE(checked) << spoiled.message;
        EXPECT_EQ(checked.error().message, spoiled.message);
    }
}

TEST(ZoneNames, all_are_words_of_the_specification) {
    EXPECT_STREQ(zone_type_name(ZoneType::sequential_required), "sequential-write-required");
    EXPECT_STREQ(zone_type_name(ZoneType::sequential_preferred), "sequential-write-preferred");
    EXPECT_STREQ(zone_type_name(ZoneType::conventional), "conventional");
    EXPECT_STREQ(zone_state_name(ZoneState::not_write_pointer), "not-write-pointer");
    EXPECT_STREQ(zone_state_name(ZoneState::implicit_open), "implicit-open");
    EXPECT_STREQ(zone_state_name(ZoneState::read_only), "read-only");
    EXPECT_STREQ(zone_model_name(ZoneModel::host_managed), "host-managed");
    EXPECT_STREQ(zone_model_name(ZoneModel::host_aware), "host-aware");
    EXPECT_STREQ(zone_model_name(ZoneModel::none), "none");
}

}  // namespace
}  // namespace zbdkit
