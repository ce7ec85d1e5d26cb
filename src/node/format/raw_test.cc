// SPDX-License-Identifier: Apache-2.0
// Windows of plain and of zoned storage. That raw over a zoned disk behaves as that disk does is in
// tests/conformance.
#include "node/format/raw.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "io/blocking_pool.h"
#include "node/format/zoned.h"
#include "node/format/zoned_create.h"
#include "node/protocol/memory.h"
#include "tests/support/io/uring_reactor.h"
#include "tests/support/node/held_node.h"

namespace zbdkit {
namespace {

constexpr std::uint64_t kZone = kMiB;

class RawFormat : public testing::Test {
  protected:
    void TearDown() override {
        if (disk_) EXPECT_TRUE(reactor_.run_to_end(disk_->close()).has_value());
    }

    /// Opens, and returns the message if that fails.
    std::string open(const DriverInfo& driver, std::string_view options,
                     std::unique_ptr<BlockNode> child) {
        OpenContext context{reactor_, pool_};
        const OptionValues values = options.empty()
                                        ? OptionValues(std::string("driver 'raw'"))
                                        : OptionValues::parse(options, "", "driver 'raw'").value();
        ChildNodes children;
        children.push_back(std::move(child));
        Outcome<std::unique_ptr<BlockNode>> node =
            reactor_.run_to_end(driver.open(context, values, children));
        if (!node) {
            EXPECT_NE(children.front(), nullptr) << "a failed open keeps its child";
            EXPECT_TRUE(reactor_.run_to_end(children.front()->close()).has_value());
            return node.error().message;
        }
        disk_ = std::move(*node);
        return "";
    }

    /// Raw over 1 MiB of memory, whose byte i has the value i / 4096.
    std::string open_plain(std::string_view options) {
        memory_ = AlignedBuffer(kMiB);
        for (std::size_t i = 0; i < kMiB; ++i) {
            memory_.bytes()[i] = static_cast<std::byte>(i / 4096);
        }
        return open(kRawDriver, options, make_memory_node(memory_.bytes()));
    }

    /// Raw over a new zoned disk of `size`, whose first two zones are conventional.
    std::string open_zoned(std::string_view options, std::uint64_t size = 8 * kZone) {
        const zoned::NewImage image =
            zoned::plan_image(size, OptionValues::parse("zone.size=1M,zone.conventional_zones=2,"
                                                        "zone.max_open_zones=4",
                                                        "", "test")
                                        .value())
                .value();
        memory_ = AlignedBuffer(zoned::layout_of(image.geometry).image_size);
        std::unique_ptr<BlockNode> memory = make_memory_node(memory_.bytes());
        EXPECT_TRUE(reactor_.run_to_end(zoned::format_image(*memory, image)).has_value());
        EXPECT_EQ(open(kZonedDriver, "", std::move(memory)), "");
        auto below = std::make_unique<test::HeldNode>(std::move(disk_));
        below_ = below.get();
        return open(kRawDriver, options, std::move(below));
    }

    std::optional<Errc> submit(Request& request) {
        const Result<void> result = reactor_.run_to_end(disk_->submit(request));
        if (result) return std::nullopt;
        return result.error().code;
    }
    std::optional<Errc> act(Op op, std::uint64_t offset) {
        Request request = zone_request(op, offset);
        return submit(request);
    }
    std::optional<Errc> write(std::uint64_t offset, std::uint8_t value) {
        AlignedBuffer buffer(4096);
        std::ranges::fill(buffer.bytes(), std::byte{value});
        const iovec segment = segment_of(buffer.bytes());
        Request request = write_request({offset, 4096}, IoSegments(&segment, 1));
        return submit(request);
    }
    std::optional<std::uint8_t> first_byte(std::uint64_t offset) {
        AlignedBuffer buffer(4096);
        const iovec segment = segment_of(buffer.bytes());
        Request request = read_request({offset, 4096}, IoSegments(&segment, 1));
        if (submit(request)) return std::nullopt;
        return std::to_integer<std::uint8_t>(buffer.bytes()[0]);
    }
    /// The zones as the node below has them.
    std::vector<ZoneDescriptor> zones_below() {
        std::vector<ZoneDescriptor> zones(64);
        Request request = report_request(0, zones);
        EXPECT_TRUE(reactor_.run_to_end(below_->submit(request)).has_value());
        zones.resize(request.zones_reported);
        return zones;
    }
    std::vector<ZoneDescriptor> report(std::uint64_t offset, std::size_t most) {
        std::vector<ZoneDescriptor> zones(most);
        Request request = report_request(offset, zones);
        EXPECT_EQ(submit(request), std::nullopt);
        zones.resize(request.zones_reported);
        return zones;
    }

    AlignedBuffer memory_;
    test::UringReactor reactor_;
    BlockingPool pool_{1};
    test::HeldNode* below_ = nullptr;
    std::unique_ptr<BlockNode> disk_;
};

TEST_F(RawFormat, without_a_window_all_of_the_child_is_there) {
    ASSERT_EQ(open_plain(""), "");
    EXPECT_EQ(disk_->info().size, 1048576U);
    EXPECT_EQ(first_byte(8192), 2);
    EXPECT_EQ(disk_->describe(), "memory of 1 MiB");
}

TEST_F(RawFormat, window_of_plain_storage_shifts_every_address) {
    ASSERT_EQ(open_plain("offset=12k,size=64k"), "");
    EXPECT_EQ(disk_->info().size, 65536U);
    EXPECT_EQ(disk_->describe(), "64 KiB of memory of 1 MiB at 12 KiB");
    EXPECT_EQ(first_byte(0), 3);
    EXPECT_EQ(write(4096, 0xaa), std::nullopt);
    EXPECT_EQ(memory_.bytes()[16384], std::byte{0xaa});
    Request zeroes = range_request(Op::write_zeroes, {8192, 4096});
    EXPECT_EQ(submit(zeroes), std::nullopt);
    EXPECT_EQ(memory_.bytes()[20480], std::byte{0});
    EXPECT_EQ(memory_.bytes()[24576], std::byte{6});
}

TEST_F(RawFormat, window_without_a_size_reaches_to_the_end) {
    ASSERT_EQ(open_plain("offset=1020k"), "");
    EXPECT_EQ(disk_->info().size, 4096U);
    EXPECT_EQ(first_byte(0), 255);
}

TEST_F(RawFormat, requests_beyond_the_window_are_refused) {
    ASSERT_EQ(open_plain("offset=12k,size=64k"), "");
    EXPECT_EQ(write(65536, 1), Errc::out_of_range);
    EXPECT_EQ(write(65536 - 2048, 1), Errc::out_of_range);
}

TEST_F(RawFormat, mapping_is_that_of_the_window) {
    ASSERT_EQ(open_plain("offset=12k,size=64k"), "");
    const Result<NodeMapping> mapping = disk_->map({4096, 4096});
    ASSERT_TRUE(mapping.has_value());
    EXPECT_EQ(mapping->bytes()[0], std::byte{4});
    const Result<NodeMapping> beyond = disk_->map({65536, 4096});
    ASSERT_FALSE(beyond.has_value());
    EXPECT_EQ(beyond.error().code, Errc::out_of_range);
}

TEST_F(RawFormat, memory_of_the_child_is_known_as_the_window_has_it) {
    ASSERT_EQ(open_plain("offset=12k,size=64k"), "");
    EXPECT_EQ(disk_->info().resident.data(), memory_.bytes().data() + 12288);
    EXPECT_EQ(disk_->info().resident.size(), 65536U);
}

TEST_F(RawFormat, place_of_an_append_is_told_as_the_window_counts) {
    ASSERT_EQ(open_zoned("offset=1M"), "");
    EXPECT_EQ(disk_->append_place(kZone), kZone);
    ASSERT_EQ(write(kZone, 0x5a), std::nullopt);
    EXPECT_EQ(disk_->append_place(kZone), kZone + 4096);
}

TEST_F(RawFormat, memory_of_a_zoned_disk_is_known_as_its_zones_have_it) {
    ASSERT_EQ(open_zoned("offset=1M"), "");
    ASSERT_EQ(write(kZone, 0x5a), std::nullopt);
    const ConstBytes resident = disk_->info().resident;
    ASSERT_EQ(resident.size(), 7 * kZone);
    EXPECT_EQ(resident[kZone], std::byte{0x5a});
}

TEST_F(RawFormat, read_only_disk_refuses_writes_and_zone_actions) {
    ASSERT_EQ(open_zoned("read-only=on"), "");
    EXPECT_EQ(write(0, 1), Errc::read_only);
    EXPECT_EQ(act(Op::zone_reset_all, 0), Errc::read_only);
    EXPECT_EQ(first_byte(0), 0);
}

TEST_F(RawFormat, windows_that_do_not_fit_are_refused) {
    EXPECT_EQ(open_plain("offset=2M"),
              "driver 'raw': option 'offset': 2097152 lies beyond the end of 'memory of 1 MiB', "
              "which has 1048576");
    EXPECT_EQ(open_plain("offset=512k,size=768k"),
              "driver 'raw': option 'size': 786432 from offset 524288 on reach beyond the end of "
              "'memory of 1 MiB', which has 1048576");
    EXPECT_EQ(open_plain("size=7E"),
              "driver 'raw': option 'size': 8070450532247928832 from offset 0 on reach beyond the "
              "end of 'memory of 1 MiB', which has 1048576");
}

TEST_F(RawFormat, negative_and_overflowing_windows_are_refused) {
    EXPECT_NE(open_plain("offset=-4096").find("option 'offset': '-4096' is not a size"),
              std::string::npos);
    EXPECT_NE(open_plain("size=8E").find("option 'size': '8E' is too large"), std::string::npos);
}

TEST_F(RawFormat, window_off_the_blocks_of_its_child_is_refused) {
    ASSERT_EQ(open_zoned(""), "");
    std::unique_ptr<BlockNode> child = std::move(disk_);
    EXPECT_EQ(open(kRawDriver, "offset=1000", std::move(child)),
              "driver 'raw': option 'offset': 1000 is no multiple of the block size, 4096");
    ASSERT_EQ(open_zoned(""), "");
    child = std::move(disk_);
    EXPECT_EQ(open(kRawDriver, "size=1000", std::move(child)),
              "driver 'raw': option 'size': 1000 is no multiple of the block size, 4096");
}

TEST_F(RawFormat, window_that_cuts_a_zone_is_refused) {
    EXPECT_EQ(open_zoned("offset=4k"),
              "driver 'raw': option 'offset': 4096 is not the start of a zone: zones have 1 MiB");
    EXPECT_EQ(
        open_zoned("offset=1M,size=1540k"),
        "driver 'raw': option 'size': 1576960 from offset 1048576 on end within a zone: zones "
        "have 1 MiB");
    EXPECT_EQ(open_zoned("offset=8M"),
              "driver 'raw': option 'size': the window holds no zone: expected at least one");
}

TEST_F(RawFormat, window_of_zones_is_a_zoned_disk_of_its_own) {
    ASSERT_EQ(open_zoned("offset=1M,size=4M"), "");
    const ZoneGeometry& zones = disk_->info().zones;
    EXPECT_EQ(zones.model, ZoneModel::host_managed);
    EXPECT_EQ(zones.device_size, 4 * kZone);
    EXPECT_EQ(zones.zone_count(), 4U);
    EXPECT_EQ(zones.conventional_zones, 1U);
    EXPECT_EQ(zones.max_open_zones, 4U);
    EXPECT_EQ(zones.max_append_bytes, below_->info().zones.max_append_bytes);
    EXPECT_EQ(disk_->info().ops, below_->info().ops);
}

TEST_F(RawFormat, window_of_conventional_zones_has_no_more_of_them_than_zones) {
    ASSERT_EQ(open_zoned("size=1M"), "");
    EXPECT_EQ(disk_->info().zones.conventional_zones, 1U);
    EXPECT_EQ(disk_->info().zones.zone_count(), 1U);
}

TEST_F(RawFormat, window_behind_the_conventional_zones_has_none) {
    ASSERT_EQ(open_zoned("offset=3M"), "");
    EXPECT_EQ(disk_->info().zones.conventional_zones, 0U);
    EXPECT_EQ(disk_->info().zones.zone_count(), 5U);
}

TEST_F(RawFormat, window_keeps_a_short_last_zone) {
    ASSERT_EQ(open_zoned("offset=2M", 4 * kZone + 64 * kKiB), "");
    EXPECT_EQ(disk_->info().zones.zone_count(), 3U);
    const std::vector<ZoneDescriptor> last = report(2 * kZone, 1);
    ASSERT_EQ(last.size(), 1U);
    EXPECT_EQ(last[0].start, 2 * kZone);
    EXPECT_EQ(last[0].length, 65536U);
    EXPECT_EQ(last[0].capacity, 65536U);
}

TEST_F(RawFormat, append_says_where_the_data_is_in_the_window) {
    ASSERT_EQ(open_zoned("offset=3M,size=2M"), "");
    AlignedBuffer buffer(4096);
    const iovec segment = segment_of(buffer.bytes());
    Request first = append_request(kZone, IoSegments(&segment, 1));
    ASSERT_EQ(submit(first), std::nullopt);
    EXPECT_EQ(first.append_offset, kZone);
    Request second = append_request(kZone, IoSegments(&segment, 1));
    ASSERT_EQ(submit(second), std::nullopt);
    EXPECT_EQ(second.append_offset, kZone + 4096);
    EXPECT_EQ(zones_below()[4].write_pointer, 4 * kZone + 8192);
}

TEST_F(RawFormat, places_are_recorded_as_the_window_counts) {
    ASSERT_EQ(open_zoned("offset=3M,size=2M"), "");
    AlignedBuffer buffer(4096);
    const iovec segment = segment_of(buffer.bytes());
    WriteSlot slot;
    Request append = append_request(kZone, IoSegments(&segment, 1));
    append.record = WriteRecord(slot);
    ASSERT_EQ(submit(append), std::nullopt);
    EXPECT_EQ(slot.place, kZone + 1);
    Request write = write_request({kZone + 4096, 4096}, IoSegments(&segment, 1));
    write.record = WriteRecord(slot);
    ASSERT_EQ(submit(write), std::nullopt);
    EXPECT_EQ(slot.place, kZone + 4096 + 1);
}

TEST_F(RawFormat, report_has_the_zones_of_the_window_only) {
    ASSERT_EQ(open_zoned("offset=1M,size=3M"), "");
    ASSERT_EQ(write(2 * kZone, 0x11), std::nullopt);
    const std::vector<ZoneDescriptor> zones = report(0, 64);
    ASSERT_EQ(zones.size(), 3U);
    EXPECT_EQ(zones[0].type, ZoneType::conventional);
    EXPECT_EQ(zones[0].start, 0U);
    EXPECT_EQ(zones[2].start, 2 * kZone);
    EXPECT_EQ(zones[2].write_pointer, 2 * kZone + 4096);
    EXPECT_EQ(zones[2].state, ZoneState::implicit_open);
    EXPECT_EQ(report(kZone + 4096, 1).at(0).start, kZone);
    EXPECT_TRUE(report(0, 0).empty());
}

TEST_F(RawFormat, actions_go_to_the_zones_of_the_window) {
    ASSERT_EQ(open_zoned("offset=3M,size=4M"), "");
    EXPECT_EQ(act(Op::zone_open, 0), std::nullopt);
    EXPECT_EQ(act(Op::zone_finish, kZone), std::nullopt);
    ASSERT_EQ(write(2 * kZone, 1), std::nullopt);
    EXPECT_EQ(act(Op::zone_close, 2 * kZone), std::nullopt);
    ASSERT_EQ(write(3 * kZone, 1), std::nullopt);
    EXPECT_EQ(act(Op::zone_reset, 3 * kZone), std::nullopt);
    const std::vector<ZoneDescriptor> zones = zones_below();
    EXPECT_EQ(zones[3].state, ZoneState::explicit_open);
    EXPECT_EQ(zones[4].state, ZoneState::full);
    EXPECT_EQ(zones[5].state, ZoneState::closed);
    EXPECT_EQ(zones[6].state, ZoneState::empty);
    EXPECT_EQ(act(Op::zone_open, 4 * kZone), Errc::out_of_range);
}

TEST_F(RawFormat, reset_all_empties_the_zones_of_the_window_and_no_others) {
    ASSERT_EQ(open_zoned(""), "");
    for (std::uint64_t zone = 2; zone < 8; ++zone) {
        ASSERT_EQ(act(Op::zone_finish, zone * kZone), std::nullopt);
    }
    std::unique_ptr<BlockNode> whole = std::move(disk_);
    ASSERT_EQ(open(kRawDriver, "offset=3M,size=4M", std::move(whole)), "");
    below_->forget();
    EXPECT_EQ(act(Op::zone_reset_all, 0), std::nullopt);
    const std::vector<ZoneDescriptor> zones = zones_below();
    EXPECT_EQ(zones[2].state, ZoneState::full);
    EXPECT_EQ(zones[3].state, ZoneState::empty);
    EXPECT_EQ(zones[6].state, ZoneState::empty);
    EXPECT_EQ(zones[7].state, ZoneState::full);
}

TEST_F(RawFormat, reset_all_leaves_empty_and_conventional_zones_alone) {
    ASSERT_EQ(open_zoned("size=4M"), "");
    ASSERT_EQ(write(2 * kZone, 1), std::nullopt);
    below_->forget();
    EXPECT_EQ(act(Op::zone_reset_all, 0), std::nullopt);
    std::vector<test::HeldNode::Seen> resets = below_->seen();
    std::erase_if(resets,
                  [](const test::HeldNode::Seen& seen) { return seen.op != Op::zone_reset; });
    EXPECT_EQ(resets, (std::vector<test::HeldNode::Seen>{{Op::zone_reset, {2 * kZone, 0}}}));
}

TEST_F(RawFormat, reset_all_passes_over_a_zone_that_wears_out_meanwhile) {
    ASSERT_EQ(open_zoned("size=4M"), "");
    ASSERT_EQ(write(2 * kZone, 1), std::nullopt);
    below_->fail_all(Op::zone_reset, Errc::zone_invalid);
    EXPECT_EQ(act(Op::zone_reset_all, 0), std::nullopt);
    below_->fail_all(Op::zone_reset, Errc::io);
    EXPECT_EQ(act(Op::zone_reset_all, 0), Errc::io);
}

TEST_F(RawFormat, reset_all_of_a_whole_device_is_one_request) {
    ASSERT_EQ(open_zoned(""), "");
    below_->forget();
    EXPECT_EQ(act(Op::zone_reset_all, 0), std::nullopt);
    EXPECT_EQ(below_->seen(), (std::vector<test::HeldNode::Seen>{{Op::zone_reset_all, {0, 0}}}));
}

}  // namespace
}  // namespace zbdkit
