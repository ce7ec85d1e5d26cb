// SPDX-License-Identifier: Apache-2.0
// The zoned format with the storage below it in the test's hand: several writes in flight, failures
// in between. What survives a crash is in zoned_crash_test.cc, what a disk does in general in
// tests/conformance.
#include "node/format/zoned.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "node/protocol/null.h"
#include "tests/support/io/uring_reactor.h"
#include "tests/support/node/zoned_format.h"
#include "tests/support/seed.h"

namespace zbdkit {
namespace {

using test::kZone;
using test::Pending;
using test::ZonedFormat;

TEST_F(ZonedFormat, several_writes_of_one_zone_are_in_flight_together) {
    hold_data();
    start(Op::write, kZone, 4096, 1);
    start(Op::write, kZone + 4096, 4096, 2);
    start(Op::append, kZone, 4096, 3);
    settle();
    EXPECT_EQ(below_->held_count(), 3U);
    while (below_->held_count() > 0) below_->release(0);
    settle();
    EXPECT_EQ(pointer(1), 12288U);
}

TEST_F(ZonedFormat, write_that_lands_early_completes_after_those_before_it) {
    hold_data();
    Pending& first = start(Op::append, kZone, 4096, 1);
    Pending& second = start(Op::append, kZone, 4096, 2);
    settle();
    below_->release(1);
    settle();
    EXPECT_FALSE(second.done);
    EXPECT_EQ(pointer(1), 0U);
    below_->release(0);
    settle();
    EXPECT_TRUE(first.done);
    EXPECT_TRUE(second.done);
    EXPECT_EQ(first.request.append_offset, kZone);
    EXPECT_EQ(second.request.append_offset, kZone + 4096);
    EXPECT_EQ(pointer(1), 8192U);
}

TEST_F(ZonedFormat, failed_write_displaces_later_ones_appends_are_placed_again) {
    hold_data();
    Pending& failed = start(Op::append, kZone, 4096, 1);
    Pending& append = start(Op::append, kZone, 4096, 2);
    Pending& write = start(Op::write, kZone + 8192, 4096, 3);
    settle();
    below_->release(0, Errc::io);
    settle();
    EXPECT_EQ(failed.error, Errc::io);
    EXPECT_FALSE(append.done);
    // The displaced writes are still on their way to the medium: nothing may be placed yet.
    Pending& late = start(Op::append, kZone, 4096, 4);
    settle();
    EXPECT_EQ(below_->held_count(), 2U);
    below_->release(0);
    below_->release(0);
    settle();
    EXPECT_EQ(write.error, Errc::zone_unaligned_wp);
    while (below_->held_count() > 0) {
        below_->release(0);
        settle();
    }
    EXPECT_EQ(append.error, std::nullopt);
    EXPECT_EQ(late.error, std::nullopt);
    EXPECT_EQ(pointer(1), 8192U);
    EXPECT_EQ(byte_at(append.request.append_offset), 2);
    EXPECT_EQ(byte_at(late.request.append_offset), 4);
}

TEST_F(ZonedFormat, place_is_recorded_before_the_write_and_marked_when_the_pointer_passed_it) {
    hold_data();
    WriteSlot slots[2];
    for (WriteSlot& slot : slots) {
        Pending& append = prepare(Op::append, kZone, 4096, 1);
        append.request.record = WriteRecord(slot);
        scope_.spawn(drive(*disk_, append));
    }
    settle();
    EXPECT_EQ(slots[0].place, kZone + 1);
    EXPECT_EQ(slots[1].place, kZone + 4096 + 1);
    below_->release(1);
    settle();
    EXPECT_EQ(slots[1].length, 4096U);
    below_->release(0);
    settle();
    EXPECT_EQ(slots[0].length, 0U);
    EXPECT_EQ(slots[1].length, 0U);
    EXPECT_EQ(slots[1].place, kZone + 4096 + 1);
}

TEST_F(ZonedFormat, failure_withdraws_the_place_of_all_that_it_displaces) {
    hold_data();
    WriteSlot slots[3];
    for (WriteSlot& slot : slots) {
        Pending& append = prepare(Op::append, kZone, 4096, 1);
        append.request.record = WriteRecord(slot);
        scope_.spawn(drive(*disk_, append));
    }
    settle();
    below_->release(2);
    settle();
    below_->release(0, Errc::io);
    settle();
    EXPECT_EQ(slots[0].place, 0U);
    EXPECT_EQ(slots[2].place, 0U);
    while (below_->held_count() > 0) {
        below_->release(0);
        settle();
    }
    EXPECT_EQ(slots[0].place, 0U);
    EXPECT_EQ(std::min(slots[1].place, slots[2].place), kZone + 1);
    EXPECT_EQ(std::max(slots[1].place, slots[2].place), kZone + 4096 + 1);
}

TEST_F(ZonedFormat, writes_of_conventional_zones_have_no_record) {
    WriteSlot slot;
    Pending& write = prepare(Op::write, 0, 4096, 1);
    write.request.record = WriteRecord(slot);
    scope_.spawn(drive(*disk_, write));
    settle();
    EXPECT_TRUE(write.done);
    EXPECT_EQ(slot.place, 0U);
}

TEST_F(ZonedFormat, failed_first_write_leaves_the_zone_empty) {
    hold_data();
    Pending& write = start(Op::write, kZone, 4096, 1);
    settle();
    below_->release(0, Errc::no_space);
    settle();
    EXPECT_EQ(write.error, Errc::no_space);
    EXPECT_EQ(zone(1).state, ZoneState::empty);
}

TEST_F(ZonedFormat, reset_waits_for_writes_in_flight_and_holds_later_ones) {
    hold_data();
    Pending& write = start(Op::append, kZone, 4096, 1);
    Pending& reset = start(zone_request(Op::zone_reset, kZone));
    Pending& later = start(Op::append, kZone, 4096, 2);
    settle();
    EXPECT_FALSE(reset.done);
    EXPECT_EQ(below_->held_count(), 1U);
    below_->release(0);
    settle();
    EXPECT_TRUE(write.done);
    EXPECT_TRUE(reset.done);
    ASSERT_EQ(below_->held_count(), 1U);
    below_->release(0);
    settle();
    EXPECT_EQ(later.request.append_offset, kZone);
    EXPECT_EQ(byte_at(kZone), 2);
}

/// Many writers on few zones, failures, resets and reorderings: an acknowledged append is where it
/// was said to be, and nothing below a pointer is anything but what was acknowledged there.
TEST_F(ZonedFormat, random_interleaving_never_moves_an_acknowledged_append) {
    SCOPED_TRACE(test::seed_trace());
    std::mt19937_64 random(test::seed());
    hold_data();
    struct Known {
        std::map<std::uint64_t, std::uint8_t> bytes;  // block offset -> value
    };
    std::array<Known, 8> known;
    struct Step {
        Pending* pending;
        std::uint8_t value;
        bool judged = false;
    };
    std::vector<Step> steps;
    std::uint8_t value = 0;
    const auto judge = [&] {
        for (Step& step : steps) {
            if (step.judged || !step.pending->done) continue;
            step.judged = true;
            if (step.pending->error) continue;
            const Request& request = step.pending->request;
            const std::uint64_t zone_number = request.range.offset / kZone;
            if (request.op == Op::zone_reset) {
                known.at(zone_number).bytes.clear();
                continue;
            }
            for (std::uint64_t at = 0; at < request.range.length; at += 4096) {
                EXPECT_TRUE(known.at(zone_number)
                                .bytes.emplace(request.append_offset + at, step.value)
                                .second)
                    << "two appends were acknowledged at one place";
            }
        }
    };
    for (int round = 0; round < 2000; ++round) {
        const std::uint64_t at = (1 + random() % 3) * kZone;
        const auto choice = random() % 100;
        if (choice < 45) {
            value = static_cast<std::uint8_t>(value % 250 + 1);
            Pending& pending = start(Op::append, at, 4096 * (1 + random() % 4), value);
            steps.push_back({&pending, value});
        } else if (choice < 48) {
            Pending& pending = start(zone_request(Op::zone_reset, at));
            steps.push_back({&pending, 0});
        } else if (below_->held_count() > 0) {
            const std::size_t which = random() % below_->held_count();
            below_->release(which, random() % 20 == 0 ? std::optional(Errc::io) : std::nullopt);
        }
        settle();
        judge();
    }
    while (below_->held_count() > 0) {
        below_->release(0);
        settle();
        judge();
    }
    below_->hold_nothing();
    for (std::uint32_t index = 1; index <= 3; ++index) {
        EXPECT_EQ(pointer(index), known.at(index).bytes.size() * 4096);
        for (const auto& [offset, expected] : known.at(index).bytes) {
            ASSERT_EQ(byte_at(offset), expected) << "at " << offset;
        }
    }
    EXPECT_TRUE(std::ranges::all_of(steps, &Step::judged)) << "a request never completed";
}

// --- create= ------------------------------------------------------------------------------------

class NewZonedDisk : public testing::Test {
  protected:
    void TearDown() override {
        if (disk_) EXPECT_TRUE(reactor_.run_to_end(disk_->close()).has_value());
    }
    /// Opens over memory, unless told another child. @return "" or the message
    std::string open(std::string_view options, std::unique_ptr<BlockNode> child = nullptr) {
        if (!child) child = make_memory_node(memory_.bytes());
        OpenContext context{reactor_, pool_};
        ChildNodes children;
        children.push_back(std::move(child));
        Outcome<std::unique_ptr<BlockNode>> node = reactor_.run_to_end(kZonedDriver.open(
            context, OptionValues::parse(options, "", "driver 'zoned'").value(), children));
        if (!node) return node.error().message;
        disk_ = std::move(*node);
        return "";
    }

    AlignedBuffer memory_{8 * kMiB};
    test::UringReactor reactor_;
    BlockingPool pool_{1};
    std::unique_ptr<BlockNode> disk_;
};

TEST_F(NewZonedDisk, in_memory_is_as_the_options_say) {
    ASSERT_EQ(open("create=4M,zone.size=1M,zone.conventional_zones=1,zone.max_open_zones=2"), "");
    EXPECT_EQ(disk_->info().size, 4 * kMiB);
    EXPECT_EQ(disk_->info().zones.zone_size, kMiB);
    EXPECT_EQ(disk_->info().zones.conventional_zones, 1U);
    EXPECT_EQ(disk_->info().zones.max_open_zones, 2U);
}

TEST_F(NewZonedDisk, needs_room_for_its_metadata) {
    EXPECT_EQ(
        open("create=8M,zone.size=1M"),
        "'memory of 8 MiB' is too small for a zoned disk of 8 MiB, which takes 9437184 bytes");
}

TEST_F(NewZonedDisk, is_not_made_of_what_could_hold_data) {
    OpenContext context{reactor_, pool_};
    ChildNodes none;
    const OptionValues size = OptionValues::parse("size=8M", "", "driver 'null'").value();
    std::unique_ptr<BlockNode> storage =
        reactor_.run_to_end(kNullDriver.open(context, size, none)).value();
    const std::string name = storage->describe();
    EXPECT_EQ(
        open("create=4M,zone.size=1M", std::move(storage)),
        "driver 'zoned': option 'create' is for storage of driver=memory; zbdkit create makes "
        "an image of '" +
            name + "'");
}

TEST_F(NewZonedDisk, options_of_one_without_create_are_refused) {
    EXPECT_EQ(open("zone.size=1M"),
              "driver 'zoned': option 'zone.size' is for a new disk: expected create=SIZE with it; "
              "an image keeps what zbdkit create gave it");
}

TEST_F(NewZonedDisk, options_that_make_no_disk_are_refused) {
    EXPECT_EQ(open("create=4M,read-only=on"),
              "driver 'zoned': create and read-only exclude each other");
    EXPECT_NE(open("create=4M,zone.size=lots").find("'zone.size'"), std::string::npos);
    EXPECT_EQ(
        open("create=0"),
        "the size must be a multiple of zone.write_granularity, more than 0 and at most 4 EiB");
}

}  // namespace
}  // namespace zbdkit
