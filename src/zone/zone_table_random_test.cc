// SPDX-License-Identifier: Apache-2.0
// Many writers, failures, actions and faults at random, compared with the oracle after each step.
// A pretended medium holds a tag for each granule, so that the promises to writers are checked on
// bytes: no acknowledged write moves, none overlap, the pointer never passes a hole.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/model/zone/zone_oracle.h"
#include "tests/support/seed.h"
#include "zone/zone_table.h"

namespace zbdkit {
namespace {

using Phase = ZoneReservation::Phase;

constexpr std::uint64_t kGranule = 4096;
constexpr std::uint32_t kZones = 8;
constexpr std::uint64_t kZoneGranules = 16;
constexpr std::uint64_t kGarbage = ~std::uint64_t{0};

struct Writer {
    ZoneReservation reservation;
    std::uint64_t tag = 0;
    bool is_landed = false;
    bool is_displaced = false;
};

/// What the test expects of the writes of one zone.
struct Expected {
    std::deque<Writer*> line;  ///< not displaced, not resolved
    std::uint32_t in_flight = 0;
    bool is_recovering = false;
};

class Storm {
  public:
    Storm(const ZoneGeometry& geometry, std::uint64_t seed)
        : geometry_(geometry),
          table_(geometry),
          oracle_(geometry),
          random_(seed),
          expected_(kZones),
          seen_(kZones),
          medium_(kZones * kZoneGranules),
          acknowledged_(kZones * kZoneGranules) {
        for (std::uint32_t i = 0; i < kZones; ++i) seen_[i] = table_.record_of(ZoneIndex(i));
        table_.set_observer(
            [](void* self, ZoneIndex zone, const ZoneRecord& record) {
                ZoneRecord& seen = static_cast<Storm*>(self)->seen_[to_number(zone)];
                EXPECT_NE(seen, record) << "told of no change";
                seen = record;
            },
            this);
    }

    void step() {
        // Writes come in waves, so that lines grow long and zones fall quiet again.
        const std::uint64_t starts = ++steps_ / 40 % 2 == 0 ? 600 : 250;
        const std::uint64_t dice = below(1000);
        if (dice < starts) {
            start_write();
        } else if (dice < 850) {
            end_write();
        } else if (dice < 985) {
            act();
        } else if (dice < 998) {
            reset_all();
        } else {
            degrade();
        }
    }

    void check() const {
        for (std::uint32_t i = 0; i < kZones; ++i) check_zone(i);
        ASSERT_EQ(table_.open_count(), oracle_.open_count());
        ASSERT_EQ(table_.active_count(), oracle_.active_count());
        ASSERT_TRUE(geometry_.max_open_zones == 0 ||
                    table_.open_count() <= geometry_.max_open_zones);
        ASSERT_TRUE(geometry_.max_active_zones == 0 ||
                    table_.active_count() <= geometry_.max_active_zones);
    }

    /// Ends all writes; nothing may stay behind.
    void drain() {
        while (!flying_.empty()) {
            end_write();
            check();
        }
        for (std::uint32_t i = 0; i < kZones; ++i) ASSERT_FALSE(table_.is_busy(ZoneIndex(i)));
    }

    std::uint64_t published() const { return published_; }
    std::uint64_t displaced() const { return displaced_; }
    std::uint64_t refused() const { return refused_; }

  private:
    std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
    std::uint64_t start_of(std::uint32_t zone) const { return zone * kZoneGranules * kGranule; }
    bool is_ordered(std::uint32_t zone) const {
        return oracle_.zone(zone).type == ZoneType::sequential_required;
    }
    /// Mostly one of two zones, which therefore have many writes in flight.
    std::uint32_t any_sequential() {
        if (below(3) != 0) return kZones - 2 + static_cast<std::uint32_t>(below(2));
        return geometry_.conventional_zones +
               static_cast<std::uint32_t>(below(kZones - geometry_.conventional_zones));
    }
    std::uint64_t expected_pointer(std::uint32_t zone) const {
        const auto& line = expected_[zone].line;
        if (line.empty()) return oracle_.zone(zone).data_end;
        return line.back()->reservation.range.end() - start_of(zone);
    }

    void start_write() {
        const std::uint32_t zone = any_sequential();
        ASSERT_EQ(table_.is_recovering(ZoneIndex(zone)), expected_[zone].is_recovering);
        if (expected_[zone].is_recovering) return;
        const std::uint64_t pointer = expected_pointer(zone);
        if (is_ordered(zone)) {
            ASSERT_EQ(table_.reserved_pointer(ZoneIndex(zone)), start_of(zone) + pointer);
        }
        const std::uint64_t length = below(20) == 0 ? 512 : (1 + below(2) * below(4)) * kGranule;
        std::optional<std::uint64_t> at;
        if (below(2) == 0) at = below(4) == 0 ? below(kZoneGranules) * kGranule : pointer;

        model::Refusal refusal = oracle_.check_write(zone, at, length, pointer);
        if (!refusal) refusal = oracle_.admit(zone);
        auto writer = std::make_unique<Writer>();
        const Result<void> reserved =
            table_.reserve(writer->reservation, ZoneIndex(zone),
                           at ? std::optional(start_of(zone) + *at) : std::nullopt, length);

        ASSERT_EQ(reserved.has_value(), !refusal.has_value());
        if (!reserved) {
            ASSERT_EQ(reserved.error().code, *refusal);
            ASSERT_EQ(writer->reservation.phase, Phase::idle);
            ++refused_;
            return;
        }
        const ByteRange place{start_of(zone) + at.value_or(pointer), length};
        ASSERT_EQ(writer->reservation.range, place);
        writer->tag = ++last_tag_;
        expected_[zone].line.push_back(writer.get());
        ++expected_[zone].in_flight;
        flying_.push_back(std::move(writer));
    }

    void end_write() {
        if (flying_.empty()) return;
        const std::size_t chosen = below(flying_.size());
        Writer* writer = flying_[chosen].get();
        parked_.push_back(std::move(flying_[chosen]));
        flying_.erase(flying_.begin() + static_cast<std::ptrdiff_t>(chosen));
        if (below(8) == 0) {
            fail(*writer);
        } else {
            land(*writer);
        }
        // Resolved writers are gone for good; a stale pointer to one is for ASan to find.
        std::erase_if(parked_, [](const auto& parked) {
            const Phase phase = parked->reservation.phase;
            return phase != Phase::writing && phase != Phase::landed;
        });
    }

    void write_medium(const Writer& writer, std::uint64_t tag, std::uint64_t granules) {
        const std::uint64_t first = writer.reservation.range.offset / kGranule;
        for (std::uint64_t i = 0; i < granules; ++i) medium_[first + i] = tag;
    }

    void land(Writer& writer) {
        const std::uint32_t zone = to_number(writer.reservation.zone);
        Expected& expected = expected_[zone];
        write_medium(writer, writer.tag, writer.reservation.range.length / kGranule);
        std::vector<Writer*> resolved;
        writer.is_landed = true;
        if (writer.is_displaced) {
            resolved.push_back(&writer);
        } else if (!is_ordered(zone)) {
            std::erase(expected.line, &writer);
            resolved.push_back(&writer);
            acknowledge(zone, writer);
        }
        while (is_ordered(zone) && !expected.line.empty() && expected.line.front()->is_landed) {
            resolved.push_back(expected.line.front());
            acknowledge(zone, *expected.line.front());
            expected.line.pop_front();
        }
        compare_end(table_.landed(writer.reservation), writer, zone, resolved);
    }

    void fail(Writer& writer) {
        const std::uint32_t zone = to_number(writer.reservation.zone);
        Expected& expected = expected_[zone];
        // Part of it may have reached the medium.
        write_medium(writer, kGarbage, below(1 + writer.reservation.range.length / kGranule));
        std::vector<Writer*> resolved;
        const bool was_displaced = writer.is_displaced;
        if (!was_displaced && !is_ordered(zone)) std::erase(expected.line, &writer);
        if (!was_displaced && is_ordered(zone)) {
            while (expected.line.back() != &writer) {
                Writer* later = expected.line.back();
                later->is_displaced = true;
                if (later->is_landed) resolved.insert(resolved.begin(), later);
                expected.line.pop_back();
            }
            expected.line.pop_back();
            expected.is_recovering = true;
        }
        if (expected.line.empty()) oracle_.abandon(zone);
        compare_end(table_.failed(writer.reservation), writer, zone, resolved);
        ASSERT_EQ(writer.reservation.phase, was_displaced ? Phase::displaced : Phase::failed);
    }

    /// The write takes effect now, as far as the outside can tell.
    void acknowledge(std::uint32_t zone, const Writer& writer) {
        const ByteRange range = writer.reservation.range;
        oracle_.apply(zone, range.end() - start_of(zone));
        for (std::uint64_t at = range.offset; at < range.end(); at += kGranule) {
            std::uint64_t& tag = acknowledged_[at / kGranule];
            if (is_ordered(zone)) ASSERT_EQ(tag, 0U) << "two published writes overlap";
            tag = writer.tag;
        }
        ++published_;
    }

    /// @param resolved  by the end of the write `own`, which may be one of them
    void compare_end(ZoneTable::Ended ended, const Writer& own, std::uint32_t zone,
                     const std::vector<Writer*>& resolved) {
        Expected& expected = expected_[zone];
        for (Writer* writer : resolved) {
            if (writer != &own) {
                ASSERT_FALSE(ended.resolved.empty());
                ASSERT_EQ(&ended.resolved.front(), &writer->reservation);
                ended.resolved.pop_front();
            }
            ASSERT_EQ(writer->reservation.phase,
                      writer->is_displaced ? Phase::displaced : Phase::published);
            if (writer->is_displaced) ++displaced_;
        }
        ASSERT_TRUE(ended.resolved.empty());
        --expected.in_flight;
        const bool recovers = expected.in_flight == 0 && expected.is_recovering;
        ASSERT_EQ(ended.recovered, recovers);
        if (recovers) expected.is_recovering = false;
        ASSERT_EQ(table_.is_busy(ZoneIndex(zone)), expected.in_flight > 0);
        ASSERT_EQ(table_.is_recovering(ZoneIndex(zone)), expected.is_recovering);
    }

    void forget(std::uint32_t zone) {
        const auto first = static_cast<std::ptrdiff_t>(zone * kZoneGranules);
        const auto last = first + static_cast<std::ptrdiff_t>(kZoneGranules);
        std::fill(acknowledged_.begin() + first, acknowledged_.begin() + last, 0);
        std::fill(medium_.begin() + first, medium_.begin() + last, 0);
    }

    void act() {
        const auto zone =
            below(2) == 0 ? any_sequential() : static_cast<std::uint32_t>(below(kZones));
        if (expected_[zone].in_flight > 0) return;
        const auto action = below(2) == 0 ? ZoneAction::reset : static_cast<ZoneAction>(below(4));
        const auto next = table_.check(action, ZoneIndex(zone));
        const model::Refusal refusal = oracle_.act(action, zone);
        ASSERT_EQ(next.has_value(), !refusal.has_value());
        if (!next) {
            ASSERT_EQ(next.error().code, *refusal);
            return;
        }
        if (*next) table_.record(ZoneIndex(zone), **next);
        if (action == ZoneAction::reset) forget(zone);
    }

    void reset_all() {
        for (const Expected& expected : expected_) {
            if (expected.in_flight > 0) return;
        }
        const std::vector<ZoneIndex> zones = table_.zones_to_reset();
        const std::vector<std::size_t> changed = oracle_.reset_all();
        ASSERT_EQ(zones.size(), changed.size());
        for (std::size_t i = 0; i < zones.size(); ++i) {
            ASSERT_EQ(to_number(zones[i]), changed[i]);
            const auto next = table_.check(ZoneAction::reset, zones[i]);
            ASSERT_TRUE(next.has_value() && next->has_value());
            table_.record(zones[i], **next);
            forget(to_number(zones[i]));
        }
    }

    void degrade() {
        if (below(4) != 0) return;
        const std::uint32_t zone = any_sequential();
        const ZoneState state = below(2) == 0 ? ZoneState::read_only : ZoneState::offline;
        oracle_.degrade(zone, state);
        table_.degrade(ZoneIndex(zone), state);
    }

    void check_zone(std::uint32_t zone) const {
        const ZoneIndex index{zone};
        ASSERT_EQ(table_.describe(index), oracle_.describe(zone)) << "zone " << zone;
        ASSERT_EQ(table_.record_of(index), seen_[zone]) << "observer missed zone " << zone;
        if (zone < geometry_.conventional_zones) return;
        const std::uint64_t committed = table_.readable_end(index) - start_of(zone);
        ASSERT_EQ(committed, oracle_.zone(zone).data_end);
        if (!is_ordered(zone)) return;
        const std::uint64_t reserved = table_.reserved_pointer(index) - start_of(zone);
        ASSERT_LE(committed, reserved);
        ASSERT_LE(reserved, oracle_.zone(zone).capacity);
        for (std::uint64_t i = 0; i < kZoneGranules; ++i) {
            const std::size_t at = zone * kZoneGranules + i;
            const bool is_data = i < committed / kGranule;
            ASSERT_EQ(acknowledged_[at] != 0, is_data) << "a hole in zone " << zone;
            if (is_data) ASSERT_EQ(medium_[at], acknowledged_[at]) << "zone " << zone;
        }
    }

    ZoneGeometry geometry_;
    std::vector<std::unique_ptr<Writer>> flying_;  ///< before the table: they outlive it
    std::vector<std::unique_ptr<Writer>> parked_;  ///< ended, some wait to be published
    ZoneTable table_;
    model::ZoneOracle oracle_;
    std::mt19937_64 random_;
    std::vector<Expected> expected_;
    std::vector<ZoneRecord> seen_;
    std::vector<std::uint64_t> medium_;
    std::vector<std::uint64_t> acknowledged_;
    std::uint64_t steps_ = 0;
    std::uint64_t last_tag_ = 0;
    std::uint64_t published_ = 0;
    std::uint64_t displaced_ = 0;
    std::uint64_t refused_ = 0;
};

ZoneGeometry random_geometry(ZoneModel zone_model, std::mt19937_64& random) {
    ZoneGeometry geometry;
    geometry.model = zone_model;
    geometry.zone_size = kZoneGranules * kGranule;
    geometry.zone_capacity = (4 + random() % (kZoneGranules - 3)) * kGranule;
    geometry.device_size =
        (kZones - 1) * geometry.zone_size + (4 + random() % (kZoneGranules - 3)) * kGranule;
    geometry.conventional_zones = static_cast<std::uint32_t>(random() % 3);
    geometry.max_active_zones = static_cast<std::uint32_t>(random() % 6);
    geometry.max_open_zones = static_cast<std::uint32_t>(random() % 4);
    geometry.max_append_bytes = random() % 5 * 2 * kGranule;
    geometry.write_granularity = kGranule;
    return geometry;
}

void storms(ZoneModel zone_model) {
    SCOPED_TRACE(test::seed_trace());
    std::mt19937_64 random(test::seed());
    std::uint64_t published = 0;
    std::uint64_t displaced = 0;
    std::uint64_t refused = 0;
    for (int device = 0; device < 500; ++device) {
        SCOPED_TRACE(testing::Message() << "device " << device);
        const ZoneGeometry geometry = random_geometry(zone_model, random);
        Storm storm(geometry, random());
        for (int step = 0; step < 600; ++step) {
            storm.step();
            storm.check();
            if (testing::Test::HasFailure()) return;
        }
        storm.drain();
        published += storm.published();
        displaced += storm.displaced();
        refused += storm.refused();
    }
    // A storm that does nothing proves nothing.
    testing::Test::RecordProperty("published", std::to_string(published));
    testing::Test::RecordProperty("displaced", std::to_string(displaced));
    EXPECT_GT(published, 1000U);
    EXPECT_GT(refused, 1000U);
    if (zone_model == ZoneModel::host_managed) {
        EXPECT_GT(displaced, 100U);
    } else {
        EXPECT_EQ(displaced, 0U);
    }
}

TEST(ZoneTableStorm, host_managed_agrees_with_the_oracle_at_every_step) {
    storms(ZoneModel::host_managed);
}

TEST(ZoneTableStorm, host_aware_agrees_with_the_oracle_at_every_step) {
    storms(ZoneModel::host_aware);
}

}  // namespace
}  // namespace zbdkit
