// SPDX-License-Identifier: Apache-2.0
// Servers that die with requests in flight, over a real zoned image, and what the next one does
// when the kernel hands it these requests again. Each piece of data must be there once, where the
// kernel was told that it is.
#include "export/ublk/recovery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>

#include "tests/support/export/ublk_disk.h"
#include "tests/support/node/captured_log.h"
#include "tests/support/seed.h"

namespace zbdkit::ublk {
namespace {

using test::CapturedLog;
using test::kZone;
using test::UblkDisk;
using testing::ElementsAre;
using testing::HasSubstr;
using Seen = test::BorrowedNode::Seen;

constexpr TagId kTag{0, 0};
constexpr TagId kSecond{0, 1};
constexpr TagId kThird{1, 5};
constexpr auto kWrite = IoOperation::write;
constexpr auto kAppend = IoOperation::zone_append;

class UblkRecovery : public UblkDisk {
  protected:
    void SetUp() override {
        UblkDisk::SetUp();
        // What there was before all this.
        EXPECT_EQ(ask(kWrite, {kZone, 8192}, kTag, 0x11).result, 8192);
    }
    /// The request of a dead server is in flight, and this much has happened.
    Remains noted_and_not_placed(IoOperation operation, ByteRange range) {
        hold_data();
        send(operation, range, kTag, 0xa1);
        inflight_->note(kTag).slot.place = 0;
        return remains();
    }
    Remains placed_and_nothing_written(IoOperation operation, ByteRange range) {
        hold_data();
        send(operation, range, kTag, 0xa1);
        return remains();
    }
    /// The pointer has passed the data, and the note does not say so yet.
    Remains landed_and_not_noted(IoOperation operation, ByteRange range) {
        hold_data();
        send(operation, range, kTag, 0xa1);
        release(0);
        inflight_->note(kTag).slot.length = range.length;
        return remains();
    }
    Remains landed(IoOperation operation, ByteRange range) {
        hold_data();
        send(operation, range, kTag, 0xa1);
        release(0);
        return remains();
    }
    Remains answered(IoOperation operation, ByteRange range) {
        take_answer(send(operation, range, kTag, 0xa1));
        return remains();
    }
    /// What zone 1 has, a letter for each 4 KiB: '1' from before, 'a' and on for 0xa1 and on.
    std::string content() {
        std::string found;
        for (std::uint64_t at = 0; at < pointer(1); at += 4096) {
            const unsigned value = byte_at(kZone + at);
            found += value == 0x11 ? '1' : static_cast<char>('a' + value - 0xa1);
        }
        return found;
    }
    static constexpr ByteRange kWritten{kZone + 8192, 8192};
    static constexpr ByteRange kAppended{kZone, 8192};
};

// --- one request, dead at each of its moments ----------------------------------------------------

TEST_F(UblkRecovery, write_without_a_place_is_done) {
    die(noted_and_not_placed(kWrite, kWritten));
    EXPECT_EQ(content(), "11");

    EXPECT_EQ(ask(kWrite, kWritten, kTag, 0xa1).result, 8192);

    EXPECT_EQ(content(), "11aa");
    EXPECT_EQ(left_count(), 0U);
}

TEST_F(UblkRecovery, write_that_did_not_land_is_done) {
    die(placed_and_nothing_written(kWrite, kWritten));

    EXPECT_EQ(ask(kWrite, kWritten, kTag, 0xa1).result, 8192);

    EXPECT_EQ(content(), "11aa");
}

TEST_F(UblkRecovery, write_that_landed_is_not_done_again) {
    die(landed_and_not_noted(kWrite, kWritten));
    EXPECT_EQ(content(), "11aa");

    EXPECT_EQ(ask(kWrite, kWritten, kTag, 0xa1).result, 8192);

    EXPECT_EQ(content(), "11aa");
    EXPECT_EQ(root_->seen.back().op, Op::report_zones);
    EXPECT_EQ(device_->came_back(), 1U);
}

TEST_F(UblkRecovery, write_that_says_it_landed_is_not_done_again) {
    die(landed(kWrite, kWritten));

    EXPECT_EQ(ask(kWrite, kWritten, kTag, 0xa1).result, 8192);

    EXPECT_EQ(content(), "11aa");
    EXPECT_EQ(device_->came_back(), 1U);
}

TEST_F(UblkRecovery, write_that_was_answered_left_nothing) {
    die(answered(kWrite, kWritten));

    EXPECT_EQ(left_count(), 0U);
    EXPECT_EQ(ask(kWrite, {kZone + 16384, 4096}, kTag, 0xa2).result, 4096);
    EXPECT_EQ(content(), "11aab");
    EXPECT_EQ(device_->came_back(), 0U);
}

TEST_F(UblkRecovery, append_without_a_place_is_done) {
    die(noted_and_not_placed(kAppend, kAppended));

    EXPECT_EQ(ask(kAppend, kAppended, kTag, 0xa1).append_sector, 2064U);

    EXPECT_EQ(content(), "11aa");
    EXPECT_EQ(left_count(), 0U);
}

TEST_F(UblkRecovery, append_that_did_not_land_is_done) {
    die(placed_and_nothing_written(kAppend, kAppended));

    EXPECT_EQ(ask(kAppend, kAppended, kTag, 0xa1).append_sector, 2064U);

    EXPECT_EQ(content(), "11aa");
}

TEST_F(UblkRecovery, append_that_landed_is_answered_with_its_place) {
    die(landed_and_not_noted(kAppend, kAppended));

    const Answer answer = ask(kAppend, kAppended, kTag, 0xa1);

    EXPECT_EQ(answer.result, 8192);
    EXPECT_EQ(answer.append_sector, 2064U);
    EXPECT_EQ(content(), "11aa");
    EXPECT_EQ(device_->came_back(), 1U);
}

TEST_F(UblkRecovery, append_that_says_it_landed_is_answered_with_its_place) {
    die(landed(kAppend, kAppended));

    EXPECT_EQ(ask(kAppend, kAppended, kTag, 0xa1).append_sector, 2064U);

    EXPECT_EQ(content(), "11aa");
}

TEST_F(UblkRecovery, append_that_was_answered_left_nothing) {
    die(answered(kAppend, kAppended));

    EXPECT_EQ(left_count(), 0U);
    EXPECT_EQ(ask(kAppend, kAppended, kTag, 0xa1).append_sector, 2080U);
    EXPECT_EQ(content(), "11aaaa");
}

TEST_F(UblkRecovery, append_may_get_another_place_than_the_first) {
    die(placed_and_nothing_written(kAppend, kAppended));
    EXPECT_EQ(ask(kAppend, {kZone, 4096}, kSecond, 0xa2).append_sector, 2064U);

    EXPECT_EQ(ask(kAppend, kAppended, kTag, 0xa1).append_sector, 2072U);

    EXPECT_EQ(content(), "11baa");
}

TEST_F(UblkRecovery, what_landed_is_durable_when_it_is_answered) {
    options_.write_cache = false;
    die(landed(kWrite, kWritten));
    root_->seen.clear();

    EXPECT_EQ(ask(kWrite, kWritten, kTag, 0xa1).result, 8192);

    EXPECT_THAT(root_->seen, ElementsAre(Seen{Op::flush, {0, 0}, false}));
}

TEST_F(UblkRecovery, last_request_that_comes_back_is_told_of) {
    hold_data();
    send(kWrite, kWritten, kTag, 0xa1);
    send(IoOperation::zone_append, {2 * kZone, 4096}, kSecond, 0xa2);
    die();
    const CapturedLog log;
    EXPECT_EQ(ask(kWrite, kWritten, kTag, 0xa1).result, 8192);
    EXPECT_EQ(log.text(), "");

    EXPECT_EQ(ask(kAppend, {2 * kZone, 4096}, kSecond, 0xa2).result, 4096);

    EXPECT_THAT(log.text(), HasSubstr("all 2 requests that were in flight have come back\n"));
}

// --- which request it is -------------------------------------------------------------------------

TEST_F(UblkRecovery, request_is_known_under_another_tag) {
    die(landed(kAppend, kAppended));

    EXPECT_EQ(ask(kAppend, kAppended, kThird, 0xa1).append_sector, 2064U);

    EXPECT_EQ(content(), "11aa");
    EXPECT_EQ(left_count(), 0U);
}

/// Two appends of one zone and length are in flight, and `landed` of them are there.
class UblkTwoAppends : public UblkRecovery {
  protected:
    void die_with_two(std::uint8_t second_value, std::size_t landed_count) {
        hold_data();
        send(kAppend, kAppended, kTag, 0xa1);
        send(kAppend, kAppended, kSecond, second_value);
        for (std::size_t i = 0; i < landed_count; ++i) release(0);
        die();
    }
};

TEST_F(UblkTwoAppends, that_come_back_under_each_others_tags_keep_their_places) {
    die_with_two(0xa2, 2);

    EXPECT_EQ(ask(kAppend, kAppended, kTag, 0xa2).append_sector, 2080U);
    EXPECT_EQ(ask(kAppend, kAppended, kSecond, 0xa1).append_sector, 2064U);

    EXPECT_EQ(content(), "11aabb");
    EXPECT_EQ(left_count(), 0U);
}

TEST_F(UblkTwoAppends, of_which_one_landed_are_told_apart_by_their_data) {
    die_with_two(0xa2, 1);

    EXPECT_EQ(ask(kAppend, kAppended, kTag, 0xa2).append_sector, 2080U);
    EXPECT_EQ(ask(kAppend, kAppended, kSecond, 0xa1).append_sector, 2064U);

    EXPECT_EQ(content(), "11aabb");
    EXPECT_EQ(left_count(), 0U);
}

TEST_F(UblkTwoAppends, with_the_same_data_have_a_place_each) {
    die_with_two(0xa1, 2);

    EXPECT_EQ(ask(kAppend, kAppended, kSecond, 0xa1).append_sector, 2080U);
    EXPECT_EQ(ask(kAppend, kAppended, kTag, 0xa1).append_sector, 2064U);

    EXPECT_EQ(content(), "11aaaa");
}

TEST_F(UblkTwoAppends, with_the_same_data_of_which_one_landed_have_a_place_each) {
    die_with_two(0xa1, 1);

    EXPECT_EQ(ask(kAppend, kAppended, kSecond, 0xa1).append_sector, 2064U);
    EXPECT_EQ(ask(kAppend, kAppended, kTag, 0xa1).append_sector, 2080U);

    EXPECT_EQ(content(), "11aaaa");
    EXPECT_EQ(left_count(), 0U);
}

TEST_F(UblkTwoAppends, that_come_back_side_by_side_do_not_take_the_same_note) {
    die_with_two(0xa1, 2);

    Asked& first = asked_.emplace_back(descriptor(kAppend, kAppended), kTag, AlignedBuffer(65536));
    Asked& second =
        asked_.emplace_back(descriptor(kAppend, kAppended), kSecond, AlignedBuffer(65536));
    port_.pages_of(kTag).assign(8192, std::byte{0xa1});
    port_.pages_of(kSecond).assign(8192, std::byte{0xa1});
    scope_.spawn(drive(*device_, first));
    scope_.spawn(drive(*device_, second));
    settle();

    EXPECT_EQ(take_answer(first).append_sector, 2064U);
    EXPECT_EQ(take_answer(second).append_sector, 2080U);
    EXPECT_EQ(content(), "11aaaa");
}

/// A new append that cannot be told from one that is to come back gets its place, and that one is
/// written anew: the data is the same, and is there as often as it was asked for.
TEST_F(UblkRecovery, new_append_with_the_data_of_one_that_landed_changes_places_with_it) {
    die(landed(kAppend, kAppended));

    EXPECT_EQ(ask(kAppend, kAppended, kThird, 0xa1).append_sector, 2064U);
    EXPECT_EQ(ask(kAppend, kAppended, kTag, 0xa1).append_sector, 2080U);

    EXPECT_EQ(content(), "11aaaa");
    EXPECT_EQ(left_count(), 0U);
}

TEST_F(UblkRecovery, new_append_with_other_data_is_written) {
    die(landed(kAppend, kAppended));

    EXPECT_EQ(ask(kAppend, kAppended, kThird, 0xa2).append_sector, 2080U);
    EXPECT_EQ(left_count(), 1U);
    EXPECT_EQ(ask(kAppend, kAppended, kTag, 0xa1).append_sector, 2064U);

    EXPECT_EQ(content(), "11aabb");
    EXPECT_EQ(left_count(), 0U);
}

TEST_F(UblkRecovery, new_append_of_another_length_or_zone_is_not_compared) {
    die(landed(kAppend, kAppended));
    root_->seen.clear();

    EXPECT_EQ(ask(kAppend, {kZone, 4096}, kSecond, 0xa1).append_sector, 2080U);
    EXPECT_EQ(ask(kAppend, {2 * kZone, 8192}, kThird, 0xa1).append_sector, 4096U);

    EXPECT_THAT(root_->seen, ElementsAre(Seen{Op::append, {kZone, 4096}, false},
                                         Seen{Op::append, {2 * kZone, 8192}, false}));
    EXPECT_EQ(left_count(), 1U);
}

TEST_F(UblkRecovery, write_whose_data_cannot_be_fetched_fails_and_leaves_no_note) {
    die(landed(kWrite, kWritten));
    port_.fails = true;

    EXPECT_EQ(ask(kWrite, kWritten, kTag, 0xa1).result, -EIO);

    EXPECT_EQ(left_count(), 0U);
}

TEST_F(UblkRecovery, append_whose_data_cannot_be_fetched_fails_and_leaves_no_note) {
    die(landed(kAppend, kAppended));
    port_.fails = true;

    EXPECT_EQ(ask(kAppend, kAppended, kSecond, 0xa1).result, -EIO);

    EXPECT_EQ(left_count(), 0U);
}

TEST_F(UblkRecovery, append_whose_data_cannot_be_compared_fails_and_leaves_no_note) {
    die(landed(kAppend, kAppended));
    root_->error = Error{Errc::io, 0, "bad sector"};

    EXPECT_EQ(ask(kAppend, kAppended, kThird, 0xa1).result, -EIO);

    EXPECT_EQ(content(), "11aa");
    EXPECT_EQ(left_count(), 0U);
}

// --- writes that grow, and parts -----------------------------------------------------------------

TEST_F(UblkRecovery, write_that_grew_is_done_from_where_it_landed) {
    die(landed(kWrite, kWritten));
    root_->seen.clear();

    EXPECT_EQ(ask(kWrite, {kZone + 8192, 12288}, kTag, 0xa1).result, 12288);

    EXPECT_THAT(root_->seen, ElementsAre(Seen{Op::write, {kZone + 16384, 4096}, false}));
    EXPECT_EQ(content(), "11aaa");
}

TEST_F(UblkRecovery, write_that_grew_and_did_not_land_is_done_as_a_whole) {
    die(placed_and_nothing_written(kWrite, kWritten));
    root_->seen.clear();

    EXPECT_EQ(ask(kWrite, {kZone + 8192, 12288}, kTag, 0xa1).result, 12288);

    EXPECT_THAT(root_->seen, ElementsAre(Seen{Op::write, {kZone + 8192, 12288}, false}));
    EXPECT_EQ(content(), "11aaa");
}

TEST_F(UblkRecovery, write_that_grew_and_landed_under_a_second_server_is_not_done_again) {
    die(landed(kWrite, kWritten));
    send(kWrite, {kZone + 8192, 12288}, kTag, 0xa1);
    EXPECT_EQ(content(), "11aaa");
    die();

    EXPECT_EQ(ask(kWrite, {kZone + 8192, 12288}, kTag, 0xa1).result, 12288);

    EXPECT_EQ(content(), "11aaa");
    EXPECT_EQ(left_count(), 0U);
}

TEST_F(UblkRecovery, write_of_which_a_part_landed_is_gone_on_with) {
    send(kWrite, {kZone + 8192, 4096}, kTag, 0xa1);
    inflight_->note(kTag).length = 8192;
    inflight_->note(kTag).slot.length = 8192;
    die();
    root_->seen.clear();

    EXPECT_EQ(ask(kWrite, kWritten, kTag, 0xa1).result, 8192);

    EXPECT_THAT(root_->seen, ElementsAre(Seen{Op::write, {kZone + 12288, 4096}, false}));
    EXPECT_EQ(content(), "11aa");
}

TEST_F(UblkRecovery, append_of_which_a_part_landed_is_written_anew) {
    send(kAppend, {kZone, 4096}, kTag, 0xa1);
    inflight_->note(kTag).length = 8192;
    inflight_->note(kTag).slot.length = 8192;
    die();

    EXPECT_EQ(ask(kAppend, kAppended, kTag, 0xa1).append_sector, 2072U);

    EXPECT_EQ(content(), "11aaa");
    EXPECT_EQ(left_count(), 0U);
}

/// The place of the part is no longer the request's: others may stand where its end would be.
TEST_F(UblkRecovery, append_of_which_a_part_landed_is_known_to_a_third_server_too) {
    send(kAppend, {kZone, 4096}, kTag, 0xa1);
    inflight_->note(kTag).length = 8192;
    inflight_->note(kTag).slot.length = 8192;
    die();
    EXPECT_EQ(ask(kAppend, {kZone, 4096}, kSecond, 0xa2).append_sector, 2072U);
    die();

    EXPECT_EQ(ask(kAppend, kAppended, kTag, 0xa1).append_sector, 2080U);

    EXPECT_EQ(content(), "11abaa");
    EXPECT_EQ(left_count(), 0U);
}

// --- closes --------------------------------------------------------------------------------------

TEST_F(UblkRecovery, close_of_an_open_empty_zone_that_happened_is_answered_as_done) {
    EXPECT_EQ(ask(IoOperation::zone_open, {2 * kZone, 0}).result, 0);
    const Asked& closed = send(IoOperation::zone_close, {2 * kZone, 0}, kTag);
    EXPECT_EQ(closed.answer.value().result, 0);
    die();
    EXPECT_EQ(zone(2).state, ZoneState::empty);

    EXPECT_EQ(ask(IoOperation::zone_close, {2 * kZone, 0}, kTag).result, 0);

    EXPECT_EQ(zone(2).state, ZoneState::empty);
    EXPECT_EQ(left_count(), 0U);
}

TEST_F(UblkRecovery, close_that_did_not_happen_is_done) {
    EXPECT_EQ(ask(IoOperation::zone_open, {2 * kZone, 0}).result, 0);
    inflight_->begin(kTag, IoOperation::zone_close, {2 * kZone, 0});
    die();
    EXPECT_EQ(zone(2).state, ZoneState::explicit_open);

    EXPECT_EQ(ask(IoOperation::zone_close, {2 * kZone, 0}, kSecond).result, 0);

    EXPECT_EQ(zone(2).state, ZoneState::empty);
    EXPECT_EQ(left_count(), 0U);
}

TEST_F(UblkRecovery, new_close_of_an_empty_zone_is_refused) {
    die();

    EXPECT_EQ(ask(IoOperation::zone_close, {2 * kZone, 0}, kTag).result, -EIO);
}

// --- several deaths ------------------------------------------------------------------------------

TEST_F(UblkRecovery, requests_that_wait_over_a_second_death_are_known) {
    hold_data();
    send(kWrite, kWritten, kTag, 0xa1);
    send(kAppend, {2 * kZone, 4096}, kSecond, 0xa2);
    send(kAppend, {2 * kZone, 4096}, kThird, 0xa3);
    release(1);  // the first append
    die();
    EXPECT_EQ(ask(kAppend, {2 * kZone, 4096}, kThird, 0xa3).append_sector, 4104U);
    die();
    EXPECT_EQ(left_count(), 2U);

    EXPECT_EQ(ask(kAppend, {2 * kZone, 4096}, kTag, 0xa2).append_sector, 4096U);
    EXPECT_EQ(ask(kWrite, kWritten, kSecond, 0xa1).result, 8192);

    EXPECT_EQ(left_count(), 0U);
    EXPECT_EQ(content(), "11aa");
    EXPECT_EQ(byte_at(2 * kZone), 0xa2);
    EXPECT_EQ(byte_at(2 * kZone + 4096), 0xa3);
    EXPECT_EQ(pointer(2), 8192U);
}

TEST_F(UblkRecovery, place_of_an_append_that_did_not_land_is_forgotten_before_others_take_it) {
    die(placed_and_nothing_written(kAppend, kAppended));
    EXPECT_EQ(ask(kAppend, {kZone, 4096}, kSecond, 0xa1).append_sector, 2064U);
    EXPECT_EQ(ask(kAppend, {kZone, 4096}, kSecond, 0xa1).append_sector, 2072U);
    die();

    EXPECT_EQ(ask(kAppend, kAppended, kTag, 0xa1).append_sector, 2080U);

    EXPECT_EQ(content(), "11aaaa");
}

TEST_F(UblkRecovery, zones_that_cannot_be_reported_stop_the_server) {
    const Remains left = landed(kWrite, kWritten);
    die(left);
    stop();
    file_.replace(left.notes);
    inflight_.emplace(Inflight::take_over(file_.path(), kShape).value());
    start();
    root_->error = Error{Errc::io, 0, "bad table"};

    EXPECT_FALSE(reactor_.run_to_end(device_->recover()).has_value());
}

// --- at random -----------------------------------------------------------------------------------

/// A kernel that keeps what was not answered, and a record of what was.
class UblkRandomDeaths : public UblkDisk {
  protected:
    struct Wanted {
        IoOperation operation;
        ByteRange range;
        std::uint8_t value;
        TagId id{};
        Asked* asked = nullptr;  ///< none while it waits to be sent
    };
    struct Acknowledged {
        ByteRange place;
        std::uint8_t value;
    };

    void SetUp() override {
        ZonedFormat::SetUp();
        make(8 * 512 * kKiB, "zone.size=512K");
        start_first();
    }

    std::uint64_t draw(std::uint64_t below) { return random_() % below; }
    [[nodiscard]] bool is_free(TagId id) const {
        return std::ranges::none_of(
            wanted_, [&](const Wanted& one) { return one.asked != nullptr && one.id == id; });
    }
    std::optional<TagId> free_tag() {
        const std::uint64_t first = draw(16);
        for (std::uint64_t i = 0; i < 16; ++i) {
            const std::uint64_t number = (first + i) % 16;
            const TagId id{static_cast<std::uint16_t>(number / 8),
                           static_cast<std::uint16_t>(number % 8)};
            if (is_free(id)) return id;
        }
        return std::nullopt;
    }

    /// Zones 0 to 3 are written in order, one write at a time; 4 to 7 are appended to.
    void want_something() {
        const std::uint64_t zone = draw(8);
        const std::uint64_t length = 4096 * (1 + draw(2));
        if (wanted_.size() >= 16 || asked_for_[zone] + length > kZoneSize) return;
        const bool is_write = zone < 4;
        const auto same_zone = [&](const Wanted& one) {
            return one.range.offset / kZoneSize == zone;
        };
        if (is_write && std::ranges::any_of(wanted_, same_zone)) return;
        const std::uint64_t offset = zone * kZoneSize + (is_write ? asked_for_[zone] : 0);
        // Few values: appends of equal data are in flight together.
        wanted_.push_back({is_write ? kWrite : kAppend,
                           {offset, length},
                           static_cast<std::uint8_t>(1 + draw(3))});
        asked_for_[zone] += length;
    }
    /// A write that waits to be sent is joined with what follows it.
    void join_something() {
        for (Wanted& one : wanted_) {
            const std::uint64_t zone = one.range.offset / kZoneSize;
            if (one.asked != nullptr || one.operation != kWrite) continue;
            if (asked_for_[zone] + 4096 > kZoneSize || one.range.length >= 32768) continue;
            one.range.length += 4096;
            asked_for_[zone] += 4096;
            return;
        }
    }
    void send_something() {
        std::vector<Wanted*> waiting;
        for (Wanted& one : wanted_) {
            if (one.asked == nullptr) waiting.push_back(&one);
        }
        const std::optional<TagId> id = free_tag();
        if (waiting.empty() || !id) return;
        Wanted& one = *waiting[draw(waiting.size())];
        one.id = *id;
        one.asked = &send(one.operation, one.range, *id, one.value);
    }
    void release_something() {
        if (below_->held_count() != 0) release(draw(below_->held_count()));
    }
    void take_some_answer() {
        const auto is_answered = [](const Wanted& one) {
            return one.asked != nullptr && one.asked->answer.has_value();
        };
        const auto one = std::ranges::find_if(wanted_, is_answered);
        if (one == wanted_.end()) return;
        const Answer answer = take_answer(*one->asked);
        ASSERT_EQ(answer.result, static_cast<std::int32_t>(one->range.length));
        const std::uint64_t place =
            one->operation == kAppend ? answer.append_sector * kSectorSize : one->range.offset;
        acknowledged_.push_back({{place, one->range.length}, one->value});
        wanted_.erase(one);
    }
    /// The pointer has passed some data, and the note does not say so yet.
    void forget_some_landings() {
        for (const Wanted& one : wanted_) {
            if (one.asked == nullptr || word(one.id) == 0 || draw(2) == 0) continue;
            WriteSlot& own = inflight_->note(one.id).slot;
            if (own.place != 0 && own.length == 0) own.length = inflight_->note(one.id).length;
        }
    }
    void die_somehow() {
        forget_some_landings();
        die();
        for (Wanted& one : wanted_) one.asked = nullptr;
        std::ranges::shuffle(wanted_, random_);
        if (draw(2) == 0) hold_data();
        ++deaths_;
    }
    void step() {
        switch (draw(16)) {
            case 0: die_somehow(); break;
            case 1: hold_data(); break;
            case 2:
            case 3: join_something(); break;
            case 4:
            case 5:
            case 6: take_some_answer(); break;
            case 7:
            case 8: release_something(); break;
            case 9:
            case 10:
            case 11: want_something(); break;
            default: send_something(); break;
        }
    }
    void finish() {
        below_->hold_nothing();
        while (!wanted_.empty() && !HasFatalFailure()) {
            send_something();
            release_something();
            take_some_answer();
        }
    }
    /// Every byte of the zones is some acknowledged request's, and no byte is that of two.
    void check_zones() {
        std::map<std::uint64_t, Acknowledged> by_place;
        std::map<std::uint64_t, std::uint64_t> written;
        for (const Acknowledged& one : acknowledged_) {
            EXPECT_TRUE(by_place.emplace(one.place.offset, one).second) << one.place.offset;
            written[one.place.offset / kZoneSize] += one.place.length;
        }
        std::uint64_t end = 0;
        for (const auto& [offset, one] : by_place) {
            EXPECT_GE(offset, end);
            end = one.place.end();
            EXPECT_EQ(byte_at(offset), one.value) << offset;
            EXPECT_EQ(byte_at(end - 1), one.value) << offset;
        }
        for (std::uint64_t zone = 0; zone < 8; ++zone) {
            const ZoneDescriptor found = zone_at(zone * kZoneSize);
            EXPECT_EQ(found.write_pointer - found.start, written[zone]) << zone;
        }
    }

    static constexpr std::uint64_t kZoneSize = 512 * kKiB;
    std::mt19937_64 random_{test::seed()};
    std::vector<Wanted> wanted_;
    std::vector<Acknowledged> acknowledged_;
    std::array<std::uint64_t, 8> asked_for_{};
    unsigned deaths_ = 0;
};

TEST_F(UblkRandomDeaths, leave_each_piece_of_data_once_where_the_kernel_was_told) {
    SCOPED_TRACE(test::seed_trace());
    for (int i = 0; i < 3000 && !HasFatalFailure(); ++i) step();

    finish();

    check_zones();
    EXPECT_GT(deaths_, 50U);
    EXPECT_GT(acknowledged_.size(), 100U);
    EXPECT_EQ(left_count(), 0U);
}

}  // namespace
}  // namespace zbdkit::ublk
