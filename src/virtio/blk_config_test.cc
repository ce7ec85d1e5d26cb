// SPDX-License-Identifier: Apache-2.0
#include "virtio/blk_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "base/units.h"

namespace zbdkit {
namespace {

constexpr std::uint64_t kVersion1 = 0x1'0000'0000;
constexpr std::uint64_t kZonedBit = 0x2'0000;

BlkDisk host_managed() {
    return {.size = 0x1'0000'0000'00,  // 1 TiB
            .block_size = 4096,
            .physical_block_size = 16384,
            .zones = {.model = ZoneModel::host_managed,
                      .device_size = 0x1'0000'0000'00,
                      .zone_size = 0x1000'0000,
                      .zone_capacity = 0x0c00'0000,
                      .max_open_zones = 14,
                      .max_active_zones = 28,
                      .max_append_bytes = 0x2'0000,
                      .write_granularity = 16384},
            .seg_max = 126,
            .queue_count = 4};
}

BlkDisk host_aware() {
    BlkDisk disk = host_managed();
    disk.zones.model = ZoneModel::host_aware;
    disk.can_discard = true;
    disk.can_write_zeroes = true;
    return disk;
}

BlkDisk plain() { return {.size = 0x10'0000, .can_discard = true, .can_write_zeroes = true}; }

std::array<unsigned char, 96> bytes_as_shown(const BlkConfig& config) {
    std::array<unsigned char, 96> shown{};
    std::memcpy(shown.data(), &config, sizeof config);
    return shown;
}

TEST(BlkConfig, host_managed_byte_for_byte) {
    const std::array<unsigned char, 96> expected = {
        0x00, 0x00, 0x00, 0x80, 0, 0, 0, 0,  // capacity: 2^31 sectors
        0x00, 0x00, 0x10, 0x00,              // size_max: 1 MiB
        126,  0,    0,    0,                 // seg_max
        0,    0,    0,    0,                 // geometry
        0x00, 0x10, 0,    0,                 // blk_size: 4096
        2,    0,    4,    0,    0, 0, 0, 0,  // topology: 2^2 blocks, min_io_size 4 blocks
        1,    0,                             // writeback, unused0
        4,    0,                             // num_queues
        0,    0,    0,    0,    0, 0, 0, 0, 0, 0, 0, 0,  // discard
        0,    0,    0,    0,    0, 0, 0, 0, 0, 0, 0, 0,  // write zeroes, unused1
        0,    0,    0,    0,    0, 0, 0, 0, 0, 0, 0, 0,  // secure erase
        0x00, 0x00, 0x08, 0x00,                          // zone_sectors: 256 MiB
        14,   0,    0,    0,                             // max_open_zones
        28,   0,    0,    0,                             // max_active_zones
        0x00, 0x01, 0x00, 0x00,                          // max_append_sectors: 128 KiB
        0x00, 0x40, 0x00, 0x00,                          // write_granularity: 16 KiB
        1,    0,    0,    0,                             // model: host-managed, unused2
    };
    EXPECT_EQ(bytes_as_shown(make_blk_config(host_managed(), {})), expected);
}

TEST(BlkConfig, plain_byte_for_byte) {
    const std::array<unsigned char, 96> expected = {
        0x00, 0x08, 0,    0,    0, 0, 0, 0,              // capacity: 2048 sectors
        0x00, 0x00, 0x10, 0x00,                          // size_max
        126,  0,    0,    0,                             // seg_max
        0,    0,    0,    0,                             // geometry
        0x00, 0x02, 0,    0,                             // blk_size: 512
        0,    0,    1,    0,    0, 0, 0, 0,              // topology: min_io_size 1 block
        0,    0,                                         // writeback: off
        1,    0,                                         // num_queues
        0x00, 0x00, 0x40, 0x00,                          // max_discard_sectors: 2 GiB
        16,   0,    0,    0,                             // max_discard_seg
        1,    0,    0,    0,                             // discard_sector_alignment
        0x00, 0x00, 0x40, 0x00,                          // max_write_zeroes_sectors
        16,   0,    0,    0,                             // max_write_zeroes_seg
        1,    0,    0,    0,                             // write_zeroes_may_unmap, unused1
        0,    0,    0,    0,    0, 0, 0, 0, 0, 0, 0, 0,  // secure erase
        0,    0,    0,    0,    0, 0, 0, 0, 0, 0, 0, 0,  // zoned
        0,    0,    0,    0,    0, 0, 0, 0, 0, 0, 0, 0,
    };
    EXPECT_EQ(bytes_as_shown(make_blk_config(plain(), {.writeback = false})), expected);
}

TEST(BlkConfig, host_aware_before_negotiation_shows_zones) {
    const BlkConfig config = make_blk_config(host_aware(), {});
    EXPECT_EQ(config.model, 2);
    EXPECT_EQ(config.zone_sectors, 524288U);
}

TEST(BlkConfig, host_aware_negotiated_without_zoned_shows_a_plain_disk) {
    const BlkConfig config = make_blk_config(host_aware(), {.features = kVersion1});
    const auto shown = bytes_as_shown(config);
    EXPECT_THAT(std::vector(shown.begin() + 72, shown.end()), testing::Each(0));
    EXPECT_EQ(config.capacity, 0x8000'0000U);
}

TEST(BlkConfig, host_aware_negotiated_with_zoned_shows_zones) {
    EXPECT_EQ(make_blk_config(host_aware(), {.features = kVersion1 | kZonedBit}).model, 2);
}

TEST(BlkConfig, host_managed_negotiated_without_zoned_still_shows_zones) {
    EXPECT_EQ(make_blk_config(host_managed(), {.features = kVersion1}).model, 1);
}

TEST(BlkConfig, discard_alignment_is_the_block) {
    EXPECT_EQ(make_blk_config(host_aware(), {}).discard_sector_alignment, 8U);
}

TEST(BlkConfig, physical_block_below_the_logical_one_counts_as_equal) {
    BlkDisk disk = plain();
    disk.block_size = 4096;
    disk.physical_block_size = 512;
    const BlkConfig config = make_blk_config(disk, {});
    EXPECT_EQ(config.physical_block_exp, 0);
    EXPECT_EQ(config.min_io_size, 1);
}

TEST(BlkConfig, write_granularity_is_at_least_a_block) {
    BlkDisk disk = host_managed();
    disk.zones.write_granularity = 512;
    EXPECT_EQ(make_blk_config(disk, {}).write_granularity, 4096U);
}

TEST(BlkConfig, open_limit_is_never_above_the_active_limit) {
    BlkDisk disk = host_managed();
    disk.zones.max_open_zones = 40;
    EXPECT_EQ(make_blk_config(disk, {}).max_open_zones, 28U);
    disk.zones.max_active_zones = 0;
    EXPECT_EQ(make_blk_config(disk, {}).max_open_zones, 40U);
}

TEST(BlkMaxAppend, is_what_small_segments_can_carry) {
    BlkDisk disk = host_managed();
    disk.zones.max_append_bytes = 0x1000'0000;
    // 126 segments of 4096 bytes are 516096; cut to a multiple of 16384.
    EXPECT_EQ(blk_max_append_sectors(disk), 992U);
}

TEST(BlkMaxAppend, is_a_multiple_of_the_granularity) {
    BlkDisk disk = host_managed();
    disk.zones.max_append_bytes = 100'000;
    EXPECT_EQ(blk_max_append_sectors(disk), 192U);
}

TEST(BlkMaxAppend, is_at_least_one_granule) {
    BlkDisk disk = host_managed();
    disk.seg_max = 1;
    EXPECT_EQ(blk_max_append_sectors(disk), 32U);
}

TEST(BlkMaxAppend, stays_below_what_wraps_in_linux) {
    BlkDisk disk = host_managed();
    disk.zones.max_append_bytes = 0x4'0000'0000;
    disk.seg_max = 0x1000'0000;
    EXPECT_EQ(blk_max_append_sectors(disk), 8388576U);
}

TEST(BlkMaxAppend, of_a_disk_without_append_is_none) {
    BlkDisk disk = host_managed();
    disk.zones.max_append_bytes = 0;
    EXPECT_EQ(blk_max_append_sectors(disk), 0U);
}

TEST(BlkMaxAppend, is_within_seg_max_times_size_max) {
    const BlkDisk disk = host_managed();
    const BlkConfig config = make_blk_config(disk, {});
    EXPECT_LE(config.max_append_sectors * std::uint64_t{512},
              std::uint64_t{config.seg_max} * config.size_max);
}

constexpr std::uint64_t bits(std::initializer_list<unsigned> numbers) {
    std::uint64_t set = 0;
    for (const unsigned number : numbers) set |= std::uint64_t{1} << number;
    return set;
}

TEST(BlkFeatures, host_managed_offers_zoned_and_no_discard) {
    BlkDisk disk = host_managed();
    disk.can_discard = true;
    disk.can_write_zeroes = true;
    EXPECT_EQ(blk_offered_features(disk), bits({1, 2, 6, 9, 10, 11, 12, 17, 28, 29, 32, 34}));
}

TEST(BlkFeatures, host_aware_offers_zoned_and_discard) {
    EXPECT_EQ(blk_offered_features(host_aware()),
              bits({1, 2, 6, 9, 10, 11, 12, 13, 14, 17, 28, 29, 32, 34}));
}

TEST(BlkFeatures, plain_offers_no_zones) {
    EXPECT_EQ(blk_offered_features(plain()), bits({1, 2, 6, 9, 10, 11, 13, 14, 28, 29, 32, 34}));
}

TEST(BlkFeatures, plain_without_ops_offers_no_discard) {
    BlkDisk disk = plain();
    disk.can_discard = false;
    disk.can_write_zeroes = false;
    EXPECT_EQ(blk_offered_features(disk), bits({1, 2, 6, 9, 10, 11, 28, 29, 32, 34}));
}

TEST(BlkFeatures, read_only_offers_ro_and_nothing_that_writes) {
    BlkDisk disk = plain();
    disk.read_only = true;
    EXPECT_EQ(blk_offered_features(disk), bits({1, 2, 5, 6, 9, 10, 11, 28, 29, 32, 34}));
}

TEST(BlkFeatures, packed_is_an_option) {
    BlkDisk disk = plain();
    disk.packed = false;
    EXPECT_EQ(blk_offered_features(disk) & bits({34}), 0U);
}

TEST(CheckBlkDisk, ordinary_disks_fit) {
    EXPECT_TRUE(check_blk_disk(plain()).has_value());
    EXPECT_TRUE(check_blk_disk(host_managed()).has_value());
}

TEST(CheckBlkDisk, odd_size_is_refused) {
    BlkDisk disk = plain();
    disk.size = 1000;
    EXPECT_EQ(check_blk_disk(disk).error().message,
              "a virtio disk is a multiple of 512 bytes, this one has 1000 bytes");
}

TEST(CheckBlkDisk, odd_block_is_refused) {
    BlkDisk disk = plain();
    disk.block_size = 520;
    EXPECT_EQ(check_blk_disk(disk).error().message,
              "a virtio disk's block size is a power of two from 512 bytes on, not 520 bytes");
}

TEST(CheckBlkDisk, block_below_a_sector_is_refused) {
    BlkDisk disk = plain();
    disk.block_size = 256;
    EXPECT_EQ(check_blk_disk(disk).error().message,
              "a virtio disk's block size is a power of two from 512 bytes on, not 256 bytes");
}

TEST(CheckBlkDisk, zones_of_nothing_are_refused) {
    BlkDisk disk = host_managed();
    disk.zones.zone_size = 0;
    EXPECT_EQ(check_blk_disk(disk).error().message,
              "a virtio disk's zones are a multiple of its block size of 4096 bytes, not 0 bytes");
}

TEST(CheckBlkDisk, zones_off_the_block_are_refused) {
    BlkDisk disk = host_managed();
    disk.zones.zone_size = 6144;
    EXPECT_EQ(check_blk_disk(disk).error().message,
              "a virtio disk's zones are a multiple of its block size of 4096 bytes, not 6144 "
              "bytes");
}

TEST(CheckBlkDisk, zones_of_2_tib_are_refused) {
    BlkDisk disk = host_managed();
    disk.zones.zone_size = 0x200'0000'0000;
    EXPECT_EQ(check_blk_disk(disk).error().message,
              "a virtio disk's zones are smaller than 2 TiB, not 2199023255552 bytes");
}

}  // namespace
}  // namespace zbdkit
