// SPDX-License-Identifier: Apache-2.0
#include "virtio/blk_parse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "tests/support/virtio/blk_chain.h"

namespace zbdkit {
namespace {

using test::BlkChain;
using test::operator+;
using test::Bytes;
using test::bytes;
using test::header_bytes;
using test::range_bytes;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint64_t kZonedBit = 0x2'0000;
constexpr std::uint64_t kDiscardBit = 0x2000;
constexpr std::uint64_t kWriteZeroesBit = 0x4000;

/// 1 MiB, 16 zones of 64 KiB = 128 sectors, the first conventional, appends up to 16 KiB.
BlkDisk host_managed_disk() {
    return {.size = 1048576,
            .block_size = 512,
            .zones = {.model = ZoneModel::host_managed,
                      .device_size = 1048576,
                      .zone_size = 65536,
                      .zone_capacity = 65536,
                      .conventional_zones = 1,
                      .max_append_bytes = 16384,
                      .write_granularity = 512}};
}
BlkDisk plain_disk() { return {.size = 1048576}; }

BlkRules zoned() { return make_blk_rules(host_managed_disk(), kZonedBit); }
BlkRules zoned_4k() {
    BlkDisk disk = host_managed_disk();
    disk.block_size = 4096;
    return make_blk_rules(disk, kZonedBit);
}
BlkRules host_managed_without_zoned() { return make_blk_rules(host_managed_disk(), 0); }
BlkRules plain() { return make_blk_rules(plain_disk(), 0); }
BlkRules with_ranges() { return make_blk_rules(plain_disk(), kDiscardBit | kWriteZeroesBit); }
BlkRules read_only(BlkDisk disk, std::uint64_t features) {
    disk.read_only = true;
    return make_blk_rules(disk, features);
}

auto parse(const BlkChain& guest, const BlkRules& rules) {
    return parse_blk_request(guest.chain.readable, guest.chain.writable, rules);
}
auto parse(const Bytes& readable, std::size_t writable_size, const BlkRules& rules) {
    const BlkChain guest(readable, writable_size);
    return parse(guest, rules);
}

/// The status that refuses a request, as a number, with the reason; "accepted" otherwise.
std::string answer(const Bytes& readable, std::size_t writable_size, const BlkRules& rules) {
    const auto parsed = parse(readable, writable_size, rules);
    if (parsed) return "accepted";
    return std::to_string(static_cast<unsigned>(parsed.error().status)) + " " +
           parsed.error().reason;
}

// --- before it is parsed ---------------------------------------------------------------------

TEST(BlkPlaceTest, is_where_the_header_says_in_bytes) {
    const BlkChain read(header_bytes(0, 3), 513);
    EXPECT_EQ(blk_place(read.chain.readable), (BlkPlace{1536, false}));
    const BlkChain write(header_bytes(1, 2047) + bytes(512, 1), 1);
    EXPECT_EQ(blk_place(write.chain.readable), (BlkPlace{1048064, false}));
    const BlkChain append(header_bytes(15, 2048) + bytes(512, 1), 16);
    EXPECT_EQ(blk_place(append.chain.readable), (BlkPlace{1048576, true}));
}

TEST(BlkPlaceTest, of_a_request_without_data_is_not_known) {
    const BlkChain flush(header_bytes(4, 0), 1);
    EXPECT_EQ(blk_place(flush.chain.readable), std::nullopt);
}

TEST(BlkPlaceTest, of_a_sector_that_wraps_as_bytes_is_not_known) {
    const BlkChain guest(header_bytes(0, ~std::uint64_t{0}), 513);
    EXPECT_EQ(blk_place(guest.chain.readable), std::nullopt);
}

TEST(BlkPlaceTest, without_a_header_in_one_piece_is_not_known) {
    const BlkChain split(header_bytes(0, 7), 513, {1, 15});
    EXPECT_EQ(blk_place(split.chain.readable), std::nullopt);
    const BlkChain nothing({}, 1);
    EXPECT_EQ(blk_place(nothing.chain.readable), std::nullopt);
}

// --- framing ---------------------------------------------------------------------------------

TEST(ParseBlkRequest, in_finds_range_data_and_status) {
    const auto parsed = parse(header_bytes(0, 3), 1025, plain());
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->type, BlkRequestType::in);
    EXPECT_EQ(parsed->range, (ByteRange{1536, 1024}));
    EXPECT_EQ(parsed->data, (ByteRange{0, 1024}));
    EXPECT_EQ(parsed->status_at, 1024U);
}

TEST(ParseBlkRequest, out_finds_range_data_and_status) {
    const auto parsed = parse(header_bytes(1, 2047) + bytes(512, 1), 1, plain());
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->type, BlkRequestType::out);
    EXPECT_EQ(parsed->range, (ByteRange{1048064, 512}));
    EXPECT_EQ(parsed->data, (ByteRange{16, 512}));
    EXPECT_EQ(parsed->status_at, 0U);
}

TEST(ParseBlkRequest, header_split_over_descriptors_is_whole) {
    const BlkChain guest(header_bytes(1, 7) + bytes(512, 1), 1, {1, 3, 7, 2});
    const auto parsed = parse(guest, plain());
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->range, (ByteRange{3584, 512}));
}

TEST(ParseBlkRequest, header_merged_with_data_is_found) {
    const BlkChain guest(header_bytes(1, 7) + bytes(1024, 1), 1, {528, 512});
    const auto parsed = parse(guest, plain());
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->data, (ByteRange{16, 1024}));
}

TEST(ParseBlkRequest, status_merged_with_data_is_found) {
    const BlkChain guest(header_bytes(0, 7), 1025, {}, {100, 925});
    const auto parsed = parse(guest, plain());
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->data, (ByteRange{0, 1024}));
    EXPECT_EQ(parsed->status_at, 1024U);
}

TEST(ParseBlkRequest, more_segments_than_seg_max_are_tolerated) {
    const BlkChain guest(header_bytes(1, 0) + bytes(512, 1), 1, std::vector<std::size_t>(500, 1));
    EXPECT_TRUE(parse(guest, plain()).has_value());
}

TEST(ParseBlkRequest, legacy_barrier_flag_is_ignored) {
    const auto parsed = parse(header_bytes(0x80000001, 0) + bytes(512, 1), 1, plain());
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->type, BlkRequestType::out);
}

TEST(ParseBlkRequest, io_priority_is_ignored) {
    Bytes header = header_bytes(0, 0);
    header[4] = std::byte{0x77};
    EXPECT_TRUE(parse(header, 513, plain()).has_value());
}

TEST(ParseBlkRequest, no_writable_byte_has_no_room_for_a_status) {
    const auto parsed = parse(header_bytes(4, 0), 0, plain());
    ASSERT_FALSE(parsed.has_value());
    EXPECT_FALSE(parsed.error().has_status);
    EXPECT_STREQ(parsed.error().reason, "no room for a status");
}

TEST(ParseBlkRequest, short_header_is_an_io_error) {
    const auto parsed = parse(bytes(15, 0), 8, plain());
    ASSERT_FALSE(parsed.has_value());
    EXPECT_TRUE(parsed.error().has_status);
    EXPECT_EQ(parsed.error().status_at, 7U);
    EXPECT_EQ(parsed.error().status, BlkStatus::io_error);
    EXPECT_STREQ(parsed.error().reason, "no room for a header");
}

TEST(ParseBlkRequest, no_readable_bytes_is_an_io_error) {
    EXPECT_EQ(answer({}, 1, plain()), "1 no room for a header");
}

TEST(ParseBlkRequest, four_gib_are_an_io_error) {
    std::array<std::byte, 16> header{};
    const std::array readable = {iovec{header.data(), 16}};
    // Nothing is read or written there.
    const std::array writable = {iovec{header.data(), 0xffff'ffff}, iovec{header.data(), 1}};
    const auto parsed = parse_blk_request(readable, writable, plain());
    ASSERT_FALSE(parsed.has_value());
    EXPECT_STREQ(parsed.error().reason, "4 GiB of data or more");
    EXPECT_EQ(parsed.error().status, BlkStatus::io_error);
}

TEST(ParseBlkRequest, refusal_carries_type_and_sector_for_the_log) {
    const auto parsed = parse(header_bytes(99, 1234), 1, plain());
    ASSERT_FALSE(parsed.has_value());
    EXPECT_EQ(parsed.error().type, 99U);
    EXPECT_EQ(parsed.error().sector, 1234U);
}

// --- features --------------------------------------------------------------------------------

TEST(ParseBlkRequest, unknown_types_are_unsupported) {
    EXPECT_EQ(answer(header_bytes(2, 0), 1, plain()), "2 unknown request type");
    EXPECT_EQ(answer(header_bytes(5, 0), 1, plain()), "2 unknown request type");
    EXPECT_EQ(answer(header_bytes(17, 0), 1, zoned()), "2 unknown request type");
    EXPECT_EQ(answer(header_bytes(0x7fffffff, 0), 1, zoned()), "2 unknown request type");
}

TEST(ParseBlkRequest, features_that_are_not_offered_are_unsupported) {
    EXPECT_EQ(answer(header_bytes(10, 0), 25, plain()),
              "2 request of a feature that is not offered");
    EXPECT_EQ(answer(header_bytes(14, 0), 17, plain()),
              "2 request of a feature that is not offered");
}

TEST(ParseBlkRequest, zone_requests_without_zoned_are_unsupported) {
    constexpr const char* kReason = "2 zone request, but ZONED was not negotiated";
    EXPECT_EQ(answer(header_bytes(15, 128) + bytes(512, 0), 9, plain()), kReason);
    EXPECT_EQ(answer(header_bytes(16, 0), 4097, plain()), kReason);
    EXPECT_EQ(answer(header_bytes(18, 128), 1, plain()), kReason);
    EXPECT_EQ(answer(header_bytes(20, 128), 1, plain()), kReason);
    EXPECT_EQ(answer(header_bytes(22, 128), 1, plain()), kReason);
    EXPECT_EQ(answer(header_bytes(24, 128), 1, plain()), kReason);
    EXPECT_EQ(answer(header_bytes(26, 0), 1, plain()), kReason);
}

TEST(ParseBlkRequest, host_managed_without_zoned_refuses_everything) {
    const BlkRules rules = host_managed_without_zoned();
    constexpr const char* kReason =
        "1 the disk is host-managed and the driver did not accept ZONED";
    EXPECT_EQ(answer(header_bytes(0, 0), 513, rules), kReason);
    EXPECT_EQ(answer(header_bytes(1, 0) + bytes(512, 0), 1, rules), kReason);
    EXPECT_EQ(answer(header_bytes(4, 0), 1, rules), kReason);
    EXPECT_EQ(answer(header_bytes(8, 0), 21, rules), kReason);
    EXPECT_EQ(answer(header_bytes(16, 0), 4097, rules),
              "2 zone request, but ZONED was not negotiated");
    EXPECT_EQ(answer(header_bytes(26, 0), 1, rules),
              "2 zone request, but ZONED was not negotiated");
}

TEST(ParseBlkRequest, ranges_that_were_not_negotiated_are_unsupported) {
    EXPECT_EQ(answer(header_bytes(11, 0) + range_bytes(0, 1, 0), 1, plain()),
              "2 DISCARD was not negotiated");
    EXPECT_EQ(answer(header_bytes(13, 0) + range_bytes(0, 1, 0), 1, plain()),
              "2 WRITE_ZEROES was not negotiated");
}

TEST(ParseBlkRequest, append_on_a_disk_without_append_is_unsupported) {
    BlkDisk disk = host_managed_disk();
    disk.zones.max_append_bytes = 0;
    EXPECT_EQ(answer(header_bytes(15, 128) + bytes(512, 0), 9, make_blk_rules(disk, kZonedBit)),
              "2 the disk has no zone append");
}

TEST(ParseBlkRequest, zoned_bit_on_a_plain_disk_means_nothing) {
    EXPECT_EQ(answer(header_bytes(26, 0), 1, make_blk_rules(plain_disk(), kZonedBit)),
              "2 zone request, but ZONED was not negotiated");
}

// --- read-only -------------------------------------------------------------------------------

TEST(ParseBlkRequest, read_only_refuses_writes_and_zone_management) {
    const BlkRules rules = read_only(host_managed_disk(), kZonedBit);
    constexpr const char* kReason = "1 the disk is read-only";
    EXPECT_EQ(answer(header_bytes(1, 0) + bytes(512, 0), 1, rules), kReason);
    EXPECT_EQ(answer(header_bytes(15, 128) + bytes(512, 0), 9, rules), kReason);
    EXPECT_EQ(answer(header_bytes(18, 128), 1, rules), kReason);
    EXPECT_EQ(answer(header_bytes(20, 128), 1, rules), kReason);
    EXPECT_EQ(answer(header_bytes(22, 128), 1, rules), kReason);
    EXPECT_EQ(answer(header_bytes(24, 128), 1, rules), kReason);
    EXPECT_EQ(answer(header_bytes(26, 0), 1, rules), kReason);
}

TEST(ParseBlkRequest, read_only_refuses_ranges) {
    const BlkRules rules = read_only(plain_disk(), kDiscardBit | kWriteZeroesBit);
    EXPECT_EQ(answer(header_bytes(11, 0) + range_bytes(0, 1, 0), 1, rules),
              "1 the disk is read-only");
    EXPECT_EQ(answer(header_bytes(13, 0) + range_bytes(0, 1, 0), 1, rules),
              "1 the disk is read-only");
}

TEST(ParseBlkRequest, read_only_still_reads_flushes_and_reports) {
    const BlkRules rules = read_only(host_managed_disk(), kZonedBit);
    EXPECT_EQ(answer(header_bytes(0, 0), 513, rules), "accepted");
    EXPECT_EQ(answer(header_bytes(4, 0), 1, rules), "accepted");
    EXPECT_EQ(answer(header_bytes(8, 0), 21, rules), "accepted");
    EXPECT_EQ(answer(header_bytes(16, 0), 129, rules), "accepted");
}

// --- IN and OUT ------------------------------------------------------------------------------

TEST(ParseBlkRequest, transfer_of_nothing_is_an_io_error) {
    EXPECT_EQ(answer(header_bytes(0, 0), 1, plain()), "1 a transfer of no data");
    EXPECT_EQ(answer(header_bytes(1, 0), 1, plain()), "1 a transfer of no data");
}

TEST(ParseBlkRequest, transfer_of_part_of_a_sector_is_an_io_error) {
    EXPECT_EQ(answer(header_bytes(0, 0), 512, plain()), "1 data is no multiple of a sector");
    EXPECT_EQ(answer(header_bytes(1, 0) + bytes(513, 0), 1, plain()),
              "1 data is no multiple of a sector");
}

TEST(ParseBlkRequest, transfer_of_the_last_sector_is_accepted) {
    EXPECT_EQ(answer(header_bytes(0, 2047), 513, plain()), "accepted");
}

TEST(ParseBlkRequest, transfer_beyond_the_end_is_an_io_error) {
    EXPECT_EQ(answer(header_bytes(0, 2047), 1025, plain()), "1 beyond the end of the disk");
    EXPECT_EQ(answer(header_bytes(0, 2048), 513, plain()), "1 beyond the end of the disk");
    EXPECT_EQ(answer(header_bytes(0, 3000), 513, plain()), "1 beyond the end of the disk");
    EXPECT_EQ(answer(header_bytes(1, 2048) + bytes(512, 0), 1, plain()),
              "1 beyond the end of the disk");
}

TEST(ParseBlkRequest, sector_that_wraps_as_bytes_is_beyond_the_end) {
    EXPECT_EQ(answer(header_bytes(0, 0x80'0000'0000'0000), 513, plain()),
              "1 beyond the end of the disk");
    EXPECT_EQ(answer(header_bytes(0, 0xffff'ffff'ffff'ffff), 513, plain()),
              "1 beyond the end of the disk");
}

TEST(ParseBlkRequest, part_of_a_sector_at_the_end_of_the_disk_is_out_of_reach) {
    BlkDisk disk = plain_disk();
    disk.size = 1048576 + 100;
    EXPECT_EQ(answer(header_bytes(0, 2048), 513, make_blk_rules(disk, 0)),
              "1 beyond the end of the disk");
}

TEST(ParseBlkRequest, transfer_off_the_block_is_an_io_error) {
    EXPECT_EQ(answer(header_bytes(0, 1), 4097, zoned_4k()), "1 no multiple of the block size");
    EXPECT_EQ(answer(header_bytes(0, 0), 513, zoned_4k()), "1 no multiple of the block size");
    EXPECT_EQ(answer(header_bytes(1, 0) + bytes(512, 0), 1, zoned_4k()),
              "1 no multiple of the block size");
}

TEST(ParseBlkRequest, write_off_the_block_of_a_plain_disk_is_an_io_error) {
    BlkDisk disk = plain_disk();
    disk.block_size = 4096;
    EXPECT_EQ(answer(header_bytes(1, 128) + bytes(512, 0), 1, make_blk_rules(disk, 0)),
              "1 no multiple of the block size");
}

TEST(ParseBlkRequest, write_off_the_block_in_a_sequential_zone_is_unaligned) {
    EXPECT_EQ(answer(header_bytes(1, 128) + bytes(512, 0), 1, zoned_4k()),
              "4 no multiple of the write granularity");
    EXPECT_EQ(answer(header_bytes(1, 129) + bytes(4096, 0), 1, zoned_4k()),
              "4 no multiple of the write granularity");
}

// --- FLUSH, GET_ID ---------------------------------------------------------------------------

TEST(ParseBlkRequest, flush_with_sector_and_data_is_tolerated) {
    EXPECT_EQ(answer(header_bytes(4, 77) + bytes(100, 0), 50, plain()), "accepted");
}

TEST(ParseBlkRequest, get_id_of_20_bytes_takes_all) {
    const auto parsed = parse(header_bytes(8, 0), 21, plain());
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->data, (ByteRange{0, 20}));
    EXPECT_EQ(parsed->status_at, 20U);
}

TEST(ParseBlkRequest, get_id_of_fewer_bytes_is_cut) {
    const auto parsed = parse(header_bytes(8, 0), 6, plain());
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->data, (ByteRange{0, 5}));
}

TEST(ParseBlkRequest, get_id_of_no_bytes_is_accepted) {
    const auto parsed = parse(header_bytes(8, 0), 1, plain());
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->data, (ByteRange{0, 0}));
}

TEST(ParseBlkRequest, get_id_of_more_bytes_is_20) {
    const auto parsed = parse(header_bytes(8, 0), 100, plain());
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->data, (ByteRange{0, 20}));
    EXPECT_EQ(parsed->status_at, 99U);
}

// --- ZONE_APPEND -----------------------------------------------------------------------------

TEST(ParseBlkRequest, append_with_9_byte_reply_is_accepted) {
    const auto parsed = parse(header_bytes(15, 256) + bytes(1024, 0), 9, zoned());
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->range, (ByteRange{131072, 1024}));
    EXPECT_EQ(parsed->data, (ByteRange{16, 1024}));
    EXPECT_EQ(parsed->status_at, 8U);
}

TEST(ParseBlkRequest, append_with_16_byte_reply_has_its_status_last) {
    const auto parsed = parse(header_bytes(15, 256) + bytes(1024, 0), 16, zoned());
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->status_at, 15U);
}

TEST(ParseBlkRequest, append_without_room_for_its_reply_is_an_io_error) {
    EXPECT_EQ(answer(header_bytes(15, 256) + bytes(1024, 0), 8, zoned()),
              "1 no room for append_sector");
    EXPECT_EQ(answer(header_bytes(15, 256) + bytes(1024, 0), 1, zoned()),
              "1 no room for append_sector");
}

TEST(ParseBlkRequest, append_of_nothing_is_invalid) {
    EXPECT_EQ(answer(header_bytes(15, 256), 9, zoned()), "3 an append of no data");
}

TEST(ParseBlkRequest, append_of_part_of_a_sector_is_invalid) {
    EXPECT_EQ(answer(header_bytes(15, 256) + bytes(100, 0), 9, zoned()),
              "3 data is no multiple of a sector");
}

TEST(ParseBlkRequest, append_inside_a_zone_is_invalid) {
    EXPECT_EQ(answer(header_bytes(15, 257) + bytes(512, 0), 9, zoned()),
              "3 not the first sector of a zone");
}

TEST(ParseBlkRequest, append_beyond_the_end_is_invalid) {
    EXPECT_EQ(answer(header_bytes(15, 2048) + bytes(512, 0), 9, zoned()),
              "3 beyond the end of the disk");
    EXPECT_EQ(answer(header_bytes(15, 0xffff'ffff'ffff'ff80) + bytes(512, 0), 9, zoned()),
              "3 beyond the end of the disk");
}

TEST(ParseBlkRequest, append_of_max_append_sectors_is_accepted) {
    EXPECT_EQ(answer(header_bytes(15, 256) + bytes(16384, 0), 9, zoned()), "accepted");
}

TEST(ParseBlkRequest, append_of_more_than_max_append_sectors_is_invalid) {
    EXPECT_EQ(answer(header_bytes(15, 256) + bytes(16896, 0), 9, zoned()),
              "3 more than max_append_sectors");
}

TEST(ParseBlkRequest, append_off_the_block_is_unaligned) {
    EXPECT_EQ(answer(header_bytes(15, 256) + bytes(512, 0), 9, zoned_4k()),
              "4 no multiple of the write granularity");
}

// --- ZONE_REPORT and zone management ---------------------------------------------------------

TEST(ParseBlkRequest, report_may_start_inside_a_zone) {
    const auto parsed = parse(header_bytes(16, 300), 193, zoned());
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->range, (ByteRange{153600, 0}));
    EXPECT_EQ(parsed->data, (ByteRange{0, 192}));
}

TEST(ParseBlkRequest, report_with_room_for_the_header_alone_is_accepted) {
    EXPECT_EQ(answer(header_bytes(16, 0), 65, zoned()), "accepted");
}

TEST(ParseBlkRequest, report_without_room_for_the_header_is_invalid) {
    EXPECT_EQ(answer(header_bytes(16, 0), 64, zoned()), "3 no room for the header of a report");
    EXPECT_EQ(answer(header_bytes(16, 0), 1, zoned()), "3 no room for the header of a report");
}

TEST(ParseBlkRequest, report_beyond_the_end_is_invalid) {
    EXPECT_EQ(answer(header_bytes(16, 2048), 129, zoned()), "3 beyond the end of the disk");
    EXPECT_EQ(answer(header_bytes(16, 0x80'0000'0000'0000), 129, zoned()),
              "3 beyond the end of the disk");
}

TEST(ParseBlkRequest, zone_management_names_its_zone) {
    const auto parsed = parse(header_bytes(22, 384), 1, zoned());
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->type, BlkRequestType::zone_finish);
    EXPECT_EQ(parsed->range, (ByteRange{196608, 0}));
}

TEST(ParseBlkRequest, zone_management_inside_a_zone_is_invalid) {
    constexpr const char* kReason = "3 not the first sector of a zone";
    EXPECT_EQ(answer(header_bytes(18, 129), 1, zoned()), kReason);
    EXPECT_EQ(answer(header_bytes(20, 129), 1, zoned()), kReason);
    EXPECT_EQ(answer(header_bytes(22, 129), 1, zoned()), kReason);
    EXPECT_EQ(answer(header_bytes(24, 129), 1, zoned()), kReason);
}

TEST(ParseBlkRequest, zone_management_beyond_the_end_is_invalid) {
    EXPECT_EQ(answer(header_bytes(18, 2048), 1, zoned()), "3 beyond the end of the disk");
    EXPECT_EQ(answer(header_bytes(24, 0x80'0000'0000'0080), 1, zoned()),
              "3 beyond the end of the disk");
}

TEST(ParseBlkRequest, reset_all_ignores_its_sector) {
    const auto parsed = parse(header_bytes(26, 0xffff'ffff'ffff'ffff), 1, zoned());
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->range, (ByteRange{0, 0}));
}

// --- DISCARD and WRITE_ZEROES ----------------------------------------------------------------

TEST(ParseBlkRequest, ranges_are_listed_in_order_without_empty_ones) {
    const auto parsed = parse(
        header_bytes(11, 0) + range_bytes(8, 2, 0) + range_bytes(5, 0, 0) + range_bytes(0, 1, 0), 1,
        with_ranges());
    ASSERT_TRUE(parsed.has_value());
    EXPECT_THAT(parsed->ranges, ElementsAre(ByteRange{4096, 1024}, ByteRange{0, 512}));
}

TEST(ParseBlkRequest, range_split_over_descriptors_is_whole) {
    const BlkChain guest(header_bytes(13, 0) + range_bytes(8, 2, 1), 1, {20, 1, 5});
    const auto parsed = parse(guest, with_ranges());
    ASSERT_TRUE(parsed.has_value());
    EXPECT_THAT(parsed->ranges, ElementsAre(ByteRange{4096, 1024}));
}

TEST(ParseBlkRequest, sixteen_ranges_are_accepted_and_seventeen_not) {
    Bytes request = header_bytes(11, 0);
    for (int i = 0; i < 16; ++i) request = request + range_bytes(1, 1, 0);
    EXPECT_EQ(answer(request, 1, with_ranges()), "accepted");
    EXPECT_EQ(answer(request + range_bytes(1, 1, 0), 1, with_ranges()),
              "1 more ranges than allowed");
}

TEST(ParseBlkRequest, part_of_a_range_is_an_io_error) {
    EXPECT_EQ(answer(header_bytes(11, 0) + bytes(15, 0), 1, with_ranges()), "1 no list of ranges");
    EXPECT_EQ(answer(header_bytes(11, 0), 1, with_ranges()), "1 no list of ranges");
}

TEST(ParseBlkRequest, discard_with_any_flag_is_unsupported) {
    EXPECT_EQ(answer(header_bytes(11, 0) + range_bytes(0, 1, 1), 1, with_ranges()),
              "2 unknown flag of a range");
}

TEST(ParseBlkRequest, write_zeroes_knows_unmap_only) {
    EXPECT_EQ(answer(header_bytes(13, 0) + range_bytes(0, 1, 1), 1, with_ranges()), "accepted");
    EXPECT_EQ(answer(header_bytes(13, 0) + range_bytes(0, 1, 2), 1, with_ranges()),
              "2 unknown flag of a range");
}

TEST(ParseBlkRequest, one_bad_range_refuses_all) {
    const auto parsed = parse(header_bytes(13, 0) + range_bytes(0, 1, 0) + range_bytes(2048, 1, 0),
                              1, with_ranges());
    ASSERT_FALSE(parsed.has_value());
    EXPECT_STREQ(parsed.error().reason, "beyond the end of the disk");
    EXPECT_EQ(parsed.error().status, BlkStatus::io_error);
}

TEST(ParseBlkRequest, long_range_is_an_io_error) {
    EXPECT_EQ(answer(header_bytes(13, 0) + range_bytes(0, 0x40'0001, 0), 1, with_ranges()),
              "1 more sectors in a range than allowed");
}

TEST(ParseBlkRequest, range_that_wraps_is_beyond_the_end) {
    EXPECT_EQ(
        answer(header_bytes(13, 0) + range_bytes(0xffff'ffff'ffff'ffff, 2, 0), 1, with_ranges()),
        "1 beyond the end of the disk");
}

TEST(ParseBlkRequest, range_off_the_block_is_an_io_error) {
    BlkDisk disk = plain_disk();
    disk.block_size = 4096;
    EXPECT_EQ(
        answer(header_bytes(11, 0) + range_bytes(8, 1, 0), 1, make_blk_rules(disk, kDiscardBit)),
        "1 no multiple of the block size");
}

TEST(ParseBlkRequest, ordinary_requests_have_no_ranges) {
    const auto parsed = parse(header_bytes(0, 0), 513, plain());
    ASSERT_TRUE(parsed.has_value());
    EXPECT_THAT(parsed->ranges, IsEmpty());
}

}  // namespace
}  // namespace zbdkit
