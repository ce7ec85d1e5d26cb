// SPDX-License-Identifier: Apache-2.0
#include "export/ublk/params.h"

#include <gtest/gtest.h>

#include <string>

namespace zbdkit::ublk {
namespace {

/// 16 zones of 1 MiB, the first two conventional.
NodeInfo zoned_disk() {
    return {.size = 16777216,
            .block_size = 512,
            .physical_block_size = 4096,
            .ops = {Op::read, Op::write, Op::append, Op::flush, Op::report_zones, Op::zone_open,
                    Op::zone_close, Op::zone_finish, Op::zone_reset, Op::zone_reset_all},
            .zones = {.model = ZoneModel::host_managed,
                      .device_size = 16777216,
                      .zone_size = 1048576,
                      .zone_capacity = 1048576,
                      .conventional_zones = 2,
                      .max_open_zones = 4,
                      .max_active_zones = 6,
                      .max_append_bytes = 262144,
                      .write_granularity = 4096}};
}

NodeInfo plain_disk() {
    return {.size = 16777216,
            .block_size = 512,
            .physical_block_size = 4096,
            .ops = {Op::read, Op::write, Op::flush, Op::discard, Op::write_zeroes}};
}

std::string refusal(const NodeInfo& info, const DiskOptions& options = {}) {
    const Outcome<Params> params = make_params(info, options);
    return params ? "" : params.error().message;
}

// --- what Linux is told --------------------------------------------------------------------------

TEST(MakeParams, zoned_disk_is_described) {
    const Params params = make_params(zoned_disk(), {}).value();

    EXPECT_EQ(params.length, 112U);
    EXPECT_EQ(params.types, 0x9U);  // basic, zoned
    EXPECT_EQ(params.basic.logical_block_shift, 12);
    EXPECT_EQ(params.basic.physical_block_shift, 12);
    EXPECT_EQ(params.basic.minimal_io_shift, 12);
    EXPECT_EQ(params.basic.max_sectors, 1024U);
    EXPECT_EQ(params.basic.chunk_sectors, 2048U);
    EXPECT_EQ(params.basic.device_sectors, 32768U);
    EXPECT_EQ(params.zoned.max_open_zones, 4U);
    EXPECT_EQ(params.zoned.max_active_zones, 6U);
    EXPECT_EQ(params.zoned.max_append_sectors, 512U);
    EXPECT_EQ(params.discard, DiscardParams());
}

TEST(MakeParams, plain_disk_is_described) {
    const Params params = make_params(plain_disk(), {.max_io_bytes = 65536}).value();

    EXPECT_EQ(params.types, 0x3U);  // basic, discard
    EXPECT_EQ(params.basic.logical_block_shift, 9);
    EXPECT_EQ(params.basic.physical_block_shift, 12);
    EXPECT_EQ(params.basic.minimal_io_shift, 12);
    EXPECT_EQ(params.basic.max_sectors, 128U);
    EXPECT_EQ(params.basic.chunk_sectors, 0U);
    EXPECT_EQ(params.basic.device_sectors, 32768U);
    EXPECT_EQ(params.discard.granularity, 512U);
    EXPECT_EQ(params.discard.max_segments, 1);
    EXPECT_EQ(params.discard.max_discard_sectors, 2097152U);
    EXPECT_EQ(params.discard.max_write_zeroes_sectors, 2097152U);
    EXPECT_EQ(params.zoned, ZonedParams());
}

TEST(MakeParams, attributes_follow_the_options_and_are_never_rotational) {
    const auto attributes = [](const DiskOptions& options) {
        return make_params(zoned_disk(), options).value().basic.attributes;
    };

    EXPECT_EQ(attributes({}), 0xcU);  // volatile cache, fua
    EXPECT_EQ(attributes({.write_cache = false}), 0x0U);
    EXPECT_EQ(attributes({.writable = false}), 0xdU);
    EXPECT_EQ(attributes({.writable = false, .write_cache = false}), 0x1U);
    EXPECT_EQ(make_params(plain_disk(), {}).value().basic.attributes, 0xcU);
}

TEST(MakeParams, blocks_below_a_writing_unit_are_not_told) {
    NodeInfo info = zoned_disk();
    info.physical_block_size = 512;
    info.zones.write_granularity = 2048;

    const Params params = make_params(info, {}).value();

    EXPECT_EQ(params.basic.logical_block_shift, 11);
    EXPECT_EQ(params.basic.physical_block_shift, 11);
}

// --- discard -------------------------------------------------------------------------------------

TEST(MakeParams, zoned_disk_discards_nothing) {
    NodeInfo info = zoned_disk();
    info.ops.add(Op::discard);
    info.ops.add(Op::write_zeroes);

    const Params params = make_params(info, {}).value();

    EXPECT_EQ(params.types, 0x9U);
    EXPECT_EQ(params.discard, DiscardParams());
}

TEST(MakeParams, disk_that_is_read_only_discards_nothing) {
    const Params params = make_params(plain_disk(), {.writable = false}).value();

    EXPECT_EQ(params.types, 0x1U);
    EXPECT_EQ(params.discard, DiscardParams());
}

TEST(MakeParams, disk_without_either_operation_has_no_part_for_them) {
    NodeInfo info = plain_disk();
    info.ops = {Op::read, Op::write, Op::flush};

    EXPECT_EQ(make_params(info, {}).value().types, 0x1U);
}

TEST(MakeParams, operation_that_is_missing_has_no_sectors) {
    NodeInfo discards = plain_disk();
    discards.ops.remove(Op::write_zeroes);
    NodeInfo zeroes = plain_disk();
    zeroes.ops.remove(Op::discard);

    const DiscardParams first = make_params(discards, {}).value().discard;
    const DiscardParams second = make_params(zeroes, {}).value().discard;

    EXPECT_EQ(first.max_discard_sectors, 2097152U);
    EXPECT_EQ(first.max_write_zeroes_sectors, 0U);
    EXPECT_EQ(second.max_discard_sectors, 0U);
    EXPECT_EQ(second.max_write_zeroes_sectors, 2097152U);
}

// --- limits --------------------------------------------------------------------------------------

struct LimitCase {
    std::uint32_t open;
    std::uint32_t active;
    std::uint32_t told_open;
    std::uint32_t told_active;
};

class ZoneLimits : public testing::TestWithParam<LimitCase> {};

TEST_P(ZoneLimits, limit_is_told_if_a_disk_can_reach_it) {
    NodeInfo info = zoned_disk();
    info.zones.max_open_zones = GetParam().open;
    info.zones.max_active_zones = GetParam().active;

    const ZonedParams zoned = make_params(info, {}).value().zoned;

    EXPECT_EQ(zoned.max_open_zones, GetParam().told_open);
    EXPECT_EQ(zoned.max_active_zones, GetParam().told_active);
}

/// There are 14 sequential zones.
INSTANTIATE_TEST_SUITE_P(Limits, ZoneLimits,
                         testing::Values(LimitCase{0, 0, 0, 0}, LimitCase{13, 13, 13, 13},
                                         LimitCase{14, 14, 0, 0}, LimitCase{100, 100, 0, 0},
                                         LimitCase{3, 14, 3, 0}, LimitCase{3, 0, 3, 0},
                                         LimitCase{8, 5, 5, 5}, LimitCase{5, 5, 5, 5},
                                         LimitCase{0, 5, 0, 5}, LimitCase{14, 5, 0, 5}));

TEST(MakeParams, append_is_no_larger_than_a_request) {
    NodeInfo info = zoned_disk();
    info.zones.max_append_bytes = 516096;

    EXPECT_EQ(make_params(info, {.max_io_bytes = 65536}).value().zoned.max_append_sectors, 128U);
    EXPECT_EQ(make_params(info, {.max_io_bytes = 1048576}).value().zoned.max_append_sectors, 1008U);
}

// --- what Linux could not have -------------------------------------------------------------------

TEST(MakeParams, host_aware_disk_is_refused) {
    NodeInfo info = zoned_disk();
    info.zones.model = ZoneModel::host_aware;

    EXPECT_EQ(refusal(info),
              "ublk: Linux knows no host-aware disks: expected zone.mode=host-managed");
    EXPECT_EQ(make_params(info, {}).error().code, Errc::not_supported);
}

TEST(MakeParams, zones_of_no_power_of_two_are_refused) {
    NodeInfo info = zoned_disk();
    info.size = info.zones.device_size = 25165824;
    info.zones.zone_size = info.zones.zone_capacity = 3145728;

    EXPECT_EQ(refusal(info), "ublk: zones of 3 MiB: Linux takes powers of two only");
}

TEST(MakeParams, zones_of_more_sectors_than_32_bits_hold_are_refused) {
    NodeInfo info = zoned_disk();
    info.zones.conventional_zones = 0;
    info.zones.zone_size = std::uint64_t{2} << 40;
    info.size = info.zones.device_size = std::uint64_t{4} << 40;

    EXPECT_EQ(refusal(info), "ublk: zones of 2 TiB are too large");
    info.zones.zone_size = std::uint64_t{1} << 40;
    EXPECT_EQ(refusal(info), "");
}

TEST(MakeParams, short_last_zone_is_refused_with_the_sizes_around_it) {
    NodeInfo info = zoned_disk();
    info.size = info.zones.device_size = 16781312;

    EXPECT_EQ(refusal(info),
              "ublk: the disk has 16781312 bytes, no multiple of its zone size of 1 MiB, and Linux "
              "would miss the short last zone: expected a disk of 16 MiB or 17 MiB");
}

TEST(MakeParams, disk_below_one_zone_is_refused_with_the_size_above_it) {
    NodeInfo info = zoned_disk();
    info.zones.conventional_zones = 0;
    info.size = info.zones.device_size = 524288;

    EXPECT_EQ(refusal(info),
              "ublk: the disk has 524288 bytes, no multiple of its zone size of 1 MiB, and Linux "
              "would miss the short last zone: expected a disk of 1 MiB");
}

TEST(MakeParams, disk_without_a_sequential_zone_is_refused) {
    NodeInfo info = zoned_disk();
    info.zones.conventional_zones = 15;
    EXPECT_EQ(refusal(info), "");

    info.zones.conventional_zones = 16;
    EXPECT_EQ(refusal(info),
              "ublk: the disk has conventional zones only: expected a sequential one at least");
}

TEST(MakeParams, writing_unit_above_a_page_is_refused) {
    NodeInfo info = zoned_disk();
    info.zones.write_granularity = 8192;

    EXPECT_EQ(refusal(info), "ublk: writes in units of 8 KiB: Linux takes 4 KiB at most");
}

TEST(MakeParams, zones_that_cannot_be_appended_to_are_refused) {
    NodeInfo info = zoned_disk();
    info.zones.max_append_bytes = 0;
    EXPECT_EQ(refusal(info), "ublk: the disk cannot append to zones");

    info.zones.max_append_bytes = 511;
    EXPECT_EQ(refusal(info), "ublk: the disk cannot append to zones");
}

TEST(MakeParams, blocks_above_a_page_are_refused) {
    NodeInfo info = plain_disk();
    info.block_size = info.physical_block_size = 8192;

    EXPECT_EQ(refusal(info), "ublk: blocks of 8 KiB: Linux takes 4 KiB at most");
}

TEST(MakeParams, size_of_no_whole_blocks_is_refused) {
    NodeInfo info = plain_disk();
    info.size = 16777217;

    EXPECT_EQ(refusal(info),
              "ublk: the disk has 16777217 bytes, no multiple of its block size of 512 bytes");
}

// --- the device that is there already ------------------------------------------------------------

TEST(CheckSameDisk, device_of_the_same_disk_is_taken) {
    const Params own = make_params(zoned_disk(), {}).value();

    EXPECT_TRUE(check_same_disk(own, own).has_value());
}

TEST(CheckSameDisk, parts_of_later_kernels_and_their_own_numbers_are_not_minded) {
    const Params own = make_params(zoned_disk(), {}).value();
    Params present = own;
    present.types |= 0x4 | 0x10;  // device numbers, and what comes after zones
    present.device_numbers[0] = 3;
    present.length = 128;

    EXPECT_TRUE(check_same_disk(present, own).has_value());
}

struct DifferenceCase {
    const char* name;
    void (*change)(Params&);
    const char* message;
};

class SameDiskDifference : public testing::TestWithParam<DifferenceCase> {};

TEST_P(SameDiskDifference, is_named) {
    const Params own = make_params(zoned_disk(), {}).value();
    Params present = own;
    GetParam().change(present);

    const Outcome<void> same = check_same_disk(present, own);

    ASSERT_FALSE(same.has_value());
    EXPECT_EQ(same.error().message, GetParam().message);
    EXPECT_EQ(same.error().code, Errc::not_supported);
}

INSTANTIATE_TEST_SUITE_P(
    Parts, SameDiskDifference,
    testing::Values(
        DifferenceCase{"size", [](Params& params) { params.basic.device_sectors = 4096; },
                       "the device has sectors: 4096, the disk 32768"},
        DifferenceCase{"zones", [](Params& params) { params.basic.chunk_sectors = 4096; },
                       "the device has sectors in a zone: 4096, the disk 2048"},
        DifferenceCase{"blocks", [](Params& params) { params.basic.logical_block_shift = 9; },
                       "the device has a block shift of 9, the disk 12"},
        DifferenceCase{"attributes", [](Params& params) { params.basic.attributes = 1; },
                       "the device has attributes 1, the disk 12"},
        DifferenceCase{"parts", [](Params& params) { params.types = 0x3; },
                       "the device has parts 3, the disk 9"},
        DifferenceCase{"open", [](Params& params) { params.zoned.max_open_zones = 0; },
                       "the device has an open limit of 0, the disk 4"},
        DifferenceCase{"active", [](Params& params) { params.zoned.max_active_zones = 7; },
                       "the device has an active limit of 7, the disk 6"},
        DifferenceCase{"appends", [](Params& params) { params.zoned.max_append_sectors = 8; },
                       "the device has sectors in an append: 8, the disk 512"}),
    [](const auto& info) { return info.param.name; });

TEST(CheckSameDisk, first_difference_is_told) {
    const Params own = make_params(zoned_disk(), {}).value();
    Params present = own;
    present.zoned.max_active_zones = 7;
    present.basic.device_sectors = 1;

    EXPECT_EQ(check_same_disk(present, own).error().message,
              "the device has sectors: 1, the disk 32768");
}

}  // namespace
}  // namespace zbdkit::ublk
