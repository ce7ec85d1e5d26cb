// SPDX-License-Identifier: Apache-2.0
#include "virtio/blk_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>

#include "tests/support/virtio/blk_chain.h"
#include "tests/support/virtio/fake_zoned_node.h"

namespace zbdkit {
namespace {

using test::BlkChain;
using test::Bytes;
using test::FakeZonedNode;
using test::run_now;
using testing::Each;

/// A graph of one fake node.
struct Disk {
    explicit Disk(const NodeInfo& info)
        : held(std::make_unique<FakeZonedNode>(info)), node(*held), backend(std::move(held)) {}

    std::unique_ptr<FakeZonedNode> held;
    FakeZonedNode& node;
    BlockBackend backend;
};

/// `zone_count` zones of 64 KiB.
NodeInfo many_zones(std::uint32_t zone_count) {
    NodeInfo info = FakeZonedNode::small_host_managed();
    info.size = std::uint64_t{zone_count} * 65536;
    info.zones.device_size = info.size;
    return info;
}

TEST(ToWire, every_byte_is_in_its_place) {
    const ZoneDescriptor zone = {.start = 0x2'0000'0000,
                                 .length = 0x1000'0000,
                                 .capacity = 0x0c00'0000,
                                 .write_pointer = 0x2'0000'1000,
                                 .type = ZoneType::sequential_required,
                                 .state = ZoneState::implicit_open};
    const BlkZoneDescriptor wire = to_wire(zone);
    std::array<unsigned char, 64> shown{};
    std::memcpy(shown.data(), &wire, sizeof wire);
    const std::array<unsigned char, 64> expected = {
        0x00, 0x00, 0x06, 0,    0, 0, 0, 0,  // z_cap
        0x00, 0x00, 0x00, 0x01, 0, 0, 0, 0,  // z_start
        0x08, 0x00, 0x00, 0x01, 0, 0, 0, 0,  // z_wp
        2,    2,                             // z_type, z_state
    };
    EXPECT_EQ(shown, expected);
}

std::uint64_t shown_write_pointer(ZoneState state) {
    const ZoneDescriptor zone = {.start = 0x10000,
                                 .length = 0x10000,
                                 .capacity = 0xc000,
                                 .write_pointer = 0x11000,
                                 .type = ZoneType::sequential_required,
                                 .state = state};
    return to_wire(zone).write_pointer;
}

TEST(ToWire, write_pointer_where_there_is_one_is_that) {
    EXPECT_EQ(shown_write_pointer(ZoneState::implicit_open), 136U);
    EXPECT_EQ(shown_write_pointer(ZoneState::explicit_open), 136U);
    EXPECT_EQ(shown_write_pointer(ZoneState::closed), 136U);
}

TEST(ToWire, write_pointer_of_an_empty_zone_is_its_start) {
    EXPECT_EQ(shown_write_pointer(ZoneState::empty), 128U);
}

TEST(ToWire, write_pointer_where_undefined_is_fixed) {
    EXPECT_EQ(shown_write_pointer(ZoneState::not_write_pointer), 128U);
    EXPECT_EQ(shown_write_pointer(ZoneState::full), 256U);
    EXPECT_EQ(shown_write_pointer(ZoneState::read_only), 256U);
    EXPECT_EQ(shown_write_pointer(ZoneState::offline), 256U);
}

TEST(ZoneReport, whole_device_in_one_buffer) {
    Disk disk(FakeZonedNode::small_host_managed());
    const BlkChain guest({}, 64 + 16 * 64);
    EXPECT_TRUE(run_now(write_zone_report(disk.backend, 0, guest.chain.writable)).has_value());
    EXPECT_EQ(guest.u64_at(0), 16U);
    EXPECT_EQ(guest.u64_at(64), 128U);         // capacity of the conventional zone
    EXPECT_EQ(guest.byte_at(64 + 24), 1U);     // conventional
    EXPECT_EQ(guest.byte_at(64 + 25), 0U);     // not write pointer
    EXPECT_EQ(guest.u64_at(128), 96U);         // capacity of zone 1
    EXPECT_EQ(guest.u64_at(128 + 8), 128U);    // its start
    EXPECT_EQ(guest.byte_at(128 + 24), 2U);    // sequential required
    EXPECT_EQ(guest.byte_at(128 + 25), 1U);    // empty
    EXPECT_EQ(guest.u64_at(1024 + 8), 1920U);  // start of zone 15
}

TEST(ZoneReport, reserved_bytes_are_zero) {
    Disk disk(FakeZonedNode::small_host_managed());
    const BlkChain guest({}, 128);
    EXPECT_TRUE(run_now(write_zone_report(disk.backend, 0, guest.chain.writable)).has_value());
    const Bytes written = guest.written();
    EXPECT_THAT(Bytes(written.begin() + 8, written.begin() + 64), Each(std::byte{0}));
    EXPECT_THAT(Bytes(written.begin() + 64 + 26, written.end()), Each(std::byte{0}));
}

TEST(ZoneReport, starts_with_the_zone_that_holds_the_offset) {
    Disk disk(FakeZonedNode::small_host_managed());
    const BlkChain guest({}, 64 + 64);
    EXPECT_TRUE(
        run_now(write_zone_report(disk.backend, 200'000, guest.chain.writable)).has_value());
    EXPECT_EQ(guest.u64_at(0), 1U);
    EXPECT_EQ(guest.u64_at(64 + 8), 384U);
}

TEST(ZoneReport, counts_only_descriptors_that_fit_whole) {
    Disk disk(FakeZonedNode::small_host_managed());
    const BlkChain guest({}, 64 + 64 + 63);
    EXPECT_TRUE(run_now(write_zone_report(disk.backend, 0, guest.chain.writable)).has_value());
    EXPECT_EQ(guest.u64_at(0), 1U);
    const Bytes written = guest.written();
    EXPECT_THAT(Bytes(written.begin() + 128, written.end()), Each(BlkChain::kUntouched));
}

TEST(ZoneReport, header_alone_reports_no_zones) {
    Disk disk(FakeZonedNode::small_host_managed());
    const BlkChain guest({}, 64);
    EXPECT_TRUE(run_now(write_zone_report(disk.backend, 0, guest.chain.writable)).has_value());
    EXPECT_EQ(guest.u64_at(0), 0U);
    EXPECT_TRUE(disk.node.seen.empty());
}

TEST(ZoneReport, odd_segments_give_the_same_bytes_as_one) {
    Disk disk(FakeZonedNode::small_host_managed());
    const BlkChain whole({}, 64 + 16 * 64 + 10);
    const BlkChain odd({}, 64 + 16 * 64 + 10, {},
                       {1, 7, 3, 60, 64, 1, 1, 127, 13, 0, 200, 65, 5, 300});
    EXPECT_TRUE(run_now(write_zone_report(disk.backend, 0, whole.chain.writable)).has_value());
    EXPECT_TRUE(run_now(write_zone_report(disk.backend, 0, odd.chain.writable)).has_value());
    EXPECT_EQ(odd.written(), whole.written());
}

TEST(ZoneReport, many_zones_take_one_request_for_64) {
    Disk disk(many_zones(10'000));
    const BlkChain guest({}, 64 + 20'000 * 64, {}, std::vector<std::size_t>(300, 4096));
    EXPECT_TRUE(run_now(write_zone_report(disk.backend, 0, guest.chain.writable)).has_value());
    EXPECT_EQ(guest.u64_at(0), 10'000U);
    EXPECT_EQ(disk.node.seen.size(), 157U);
    EXPECT_EQ(guest.u64_at(64 + 9'999 * 64 + 8), 1'279'872U);
}

TEST(ZoneReport, giant_buffer_gets_65536_zones_at_most) {
    Disk disk(many_zones(70'000));
    const BlkChain guest({}, 64 + 70'000 * 64);
    EXPECT_TRUE(run_now(write_zone_report(disk.backend, 0, guest.chain.writable)).has_value());
    EXPECT_EQ(guest.u64_at(0), 65'536U);
}

TEST(ZoneReport, short_answers_of_the_node_are_continued) {
    Disk disk(FakeZonedNode::small_host_managed());
    disk.node.most_reported = 5;
    const BlkChain guest({}, 64 + 16 * 64);
    EXPECT_TRUE(run_now(write_zone_report(disk.backend, 0, guest.chain.writable)).has_value());
    EXPECT_EQ(guest.u64_at(0), 16U);
    EXPECT_EQ(disk.node.seen.size(), 4U);
}

TEST(ZoneReport, node_without_more_zones_ends_the_report) {
    Disk disk(FakeZonedNode::small_host_managed());
    disk.node.most_reported = 0;
    const BlkChain guest({}, 64 + 16 * 64);
    EXPECT_TRUE(run_now(write_zone_report(disk.backend, 0, guest.chain.writable)).has_value());
    EXPECT_EQ(guest.u64_at(0), 0U);
}

TEST(ZoneReport, short_last_zone_is_reported) {
    NodeInfo info = FakeZonedNode::small_host_managed();
    info.size = 1'000'448;
    info.zones.device_size = 1'000'448;
    Disk disk(info);
    const BlkChain guest({}, 64 + 20 * 64);
    EXPECT_TRUE(run_now(write_zone_report(disk.backend, 0, guest.chain.writable)).has_value());
    EXPECT_EQ(guest.u64_at(0), 16U);
    EXPECT_EQ(guest.u64_at(64 + 15 * 64), 34U);  // capacity: what is left
}

TEST(ZoneReport, error_of_the_node_is_passed_up) {
    Disk disk(FakeZonedNode::small_host_managed());
    disk.node.error = Error{Errc::io, 5, "medium"};
    const BlkChain guest({}, 64 + 16 * 64);
    const auto result = run_now(write_zone_report(disk.backend, 0, guest.chain.writable));
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, Errc::io);
    EXPECT_EQ(guest.u64_at(0), 0U);
}

}  // namespace
}  // namespace zbdkit
