// SPDX-License-Identifier: Apache-2.0
#include "export/ublk/parse.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>

namespace zbdkit::ublk {
namespace {

/// A disk of 8 MiB with zones of 1 MiB; 64 KiB in a request.
constexpr IoRules kZoned{.device_size = 8388608, .zone_size = 1048576, .max_io_bytes = 65536};
constexpr IoRules kPlain{.device_size = 8388608, .max_io_bytes = 65536};
/// The first sector whose byte is above what a file offset can say.
constexpr std::uint64_t kFarSector = std::uint64_t{1} << 54;
/// Its byte, cut to 64 bits, is 0.
constexpr std::uint64_t kWrappingSector = std::uint64_t{1} << 55;

IoDescriptor descriptor(unsigned operation, std::uint64_t sector, std::uint32_t sectors) {
    return {.operation_and_flags = operation, .sectors = sectors, .start_sector = sector};
}

/// The errno and the reason of a refusal; "0" if there is none.
std::string refusal(const IoDescriptor& descriptor, const IoRules& rules) {
    const auto parsed = parse_descriptor(descriptor, rules);
    if (parsed) return "0";
    return std::to_string(parsed.error().os_errno) + ": " + parsed.error().reason;
}

constexpr const char* kNotAnnounced = "95: the device does not have this operation";
constexpr const char* kBeyond = "5: it reaches beyond the end of the disk";
constexpr const char* kZoneBeyond = "5: its zone is beyond the end of the disk";
constexpr const char* kNoData = "22: it has no data";
constexpr const char* kTooMuch = "22: it has more data than the device takes in one request";
constexpr const char* kOffZone = "5: it does not start a zone";

static_assert(EOPNOTSUPP == 95 && EIO == 5 && EINVAL == 22);

// --- what each operation becomes -----------------------------------------------------------------

struct GoodCase {
    const char* name;
    IoDescriptor descriptor;
    IoOperation operation;
    ByteRange range;
    std::uint32_t zone_count = 0;
};

class ParseDescriptor : public testing::TestWithParam<GoodCase> {};

TEST_P(ParseDescriptor, operation_becomes_bytes) {
    const auto parsed = parse_descriptor(GetParam().descriptor, kZoned);

    ASSERT_TRUE(parsed.has_value()) << parsed.error().reason;
    EXPECT_EQ(parsed->operation, GetParam().operation);
    EXPECT_EQ(parsed->range, GetParam().range);
    EXPECT_EQ(parsed->zone_count, GetParam().zone_count);
    EXPECT_FALSE(parsed->fua);
}

INSTANTIATE_TEST_SUITE_P(
    Operations, ParseDescriptor,
    testing::Values(GoodCase{"read", {0, 8, 16}, IoOperation::read, {8192, 4096}},
                    GoodCase{"write", {1, 128, 2048}, IoOperation::write, {1048576, 65536}},
                    GoodCase{"flush", {2, 0, 0}, IoOperation::flush, {0, 0}},
                    GoodCase{"discard", {3, 8, 16}, IoOperation::discard, {8192, 4096}},
                    GoodCase{"write_zeroes", {5, 8, 16}, IoOperation::write_zeroes, {8192, 4096}},
                    GoodCase{"zone_open", {10, 0, 2048}, IoOperation::zone_open, {1048576, 0}},
                    GoodCase{"zone_close", {11, 0, 4096}, IoOperation::zone_close, {2097152, 0}},
                    GoodCase{"zone_finish", {12, 0, 2048}, IoOperation::zone_finish, {1048576, 0}},
                    GoodCase{"append", {13, 8, 2048}, IoOperation::zone_append, {1048576, 4096}},
                    GoodCase{"reset_all", {14, 0, 0}, IoOperation::zone_reset_all, {0, 0}},
                    GoodCase{"zone_reset", {15, 0, 2048}, IoOperation::zone_reset, {1048576, 0}},
                    GoodCase{"report", {18, 3, 2048}, IoOperation::report_zones, {1048576, 0}, 3}),
    [](const auto& info) { return info.param.name; });

TEST(ParseDescriptorFlags, fua_is_told_and_other_flags_are_not_minded) {
    const auto forced = parse_descriptor(descriptor(0x2001, 0, 8), kPlain);
    const auto other = parse_descriptor(descriptor(0xffff'df01, 0, 8), kPlain);

    EXPECT_TRUE(forced.value().fua);
    EXPECT_EQ(forced->operation, IoOperation::write);
    EXPECT_FALSE(other.value().fua);
    EXPECT_EQ(other->operation, IoOperation::write);
}

TEST(ParseDescriptorFlags, sectors_of_an_action_on_one_zone_or_all_are_not_minded) {
    const auto reset = parse_descriptor(descriptor(15, 2048, 0xffff'ffff), kZoned);
    const auto all = parse_descriptor(descriptor(14, kWrappingSector, 0xffff'ffff), kZoned);

    EXPECT_EQ(reset.value().range, (ByteRange{1048576, 0}));
    EXPECT_EQ(all.value().range, (ByteRange{0, 0}));
}

// --- where the disk ends -------------------------------------------------------------------------

TEST(ParseDescriptorBorders, last_sector_is_on_the_disk_and_the_next_is_not) {
    EXPECT_EQ(refusal(descriptor(0, 16383, 1), kPlain), "0");
    EXPECT_EQ(refusal(descriptor(0, 16383, 2), kPlain), kBeyond);
    EXPECT_EQ(refusal(descriptor(0, 16384, 1), kPlain), kBeyond);
    EXPECT_EQ(refusal(descriptor(1, 16383, 2), kPlain), kBeyond);
    EXPECT_EQ(refusal(descriptor(3, 16383, 2), kPlain), kBeyond);
    EXPECT_EQ(refusal(descriptor(5, 0, 16385), kPlain), kBeyond);
}

TEST(ParseDescriptorBorders, disk_as_a_whole_can_be_discarded) {
    EXPECT_EQ(refusal(descriptor(3, 0, 16384), kPlain), "0");
    EXPECT_EQ(refusal(descriptor(5, 0, 16384), kPlain), "0");
}

TEST(ParseDescriptorBorders, sectors_beyond_all_bytes_are_beyond_the_disk) {
    EXPECT_EQ(refusal(descriptor(0, kFarSector, 1), kPlain), kBeyond);
    EXPECT_EQ(refusal(descriptor(1, kWrappingSector, 1), kPlain), kBeyond);
    EXPECT_EQ(refusal(descriptor(3, kWrappingSector, 1), kPlain), kBeyond);
    EXPECT_EQ(refusal(descriptor(3, 0, 0xffff'ffff), kPlain), kBeyond);
    EXPECT_EQ(refusal(descriptor(13, kWrappingSector, 1), kZoned), kZoneBeyond);
    EXPECT_EQ(refusal(descriptor(15, kWrappingSector, 0), kZoned), kZoneBeyond);
    EXPECT_EQ(refusal(descriptor(18, kWrappingSector, 1), kZoned),
              "5: its first zone is beyond the end of the disk");
}

TEST(ParseDescriptorBorders, last_zone_is_on_the_disk_and_the_next_is_not) {
    EXPECT_EQ(refusal(descriptor(10, 14336, 0), kZoned), "0");
    EXPECT_EQ(refusal(descriptor(10, 16384, 0), kZoned), kZoneBeyond);
    EXPECT_EQ(refusal(descriptor(13, 14336, 8), kZoned), "0");
    EXPECT_EQ(refusal(descriptor(13, 16384, 8), kZoned), kZoneBeyond);
    EXPECT_EQ(refusal(descriptor(18, 16383, 1), kZoned), "0");
    EXPECT_EQ(refusal(descriptor(18, 16384, 1), kZoned),
              "5: its first zone is beyond the end of the disk");
}

TEST(ParseDescriptorBorders, append_longer_than_what_is_left_of_the_disk_is_refused) {
    constexpr IoRules kLarge{.device_size = 131072, .zone_size = 65536, .max_io_bytes = 131072};

    EXPECT_EQ(refusal(descriptor(13, 128, 128), kLarge), "0");
    EXPECT_EQ(refusal(descriptor(13, 128, 129), kLarge), kBeyond);
}

// --- data ----------------------------------------------------------------------------------------

TEST(ParseDescriptorData, request_without_data_is_refused) {
    EXPECT_EQ(refusal(descriptor(0, 0, 0), kPlain), kNoData);
    EXPECT_EQ(refusal(descriptor(1, 0, 0), kPlain), kNoData);
    EXPECT_EQ(refusal(descriptor(13, 2048, 0), kZoned), kNoData);
}

TEST(ParseDescriptorData, request_with_more_than_a_buffer_holds_is_refused) {
    EXPECT_EQ(refusal(descriptor(0, 0, 128), kPlain), "0");
    EXPECT_EQ(refusal(descriptor(0, 0, 129), kPlain), kTooMuch);
    EXPECT_EQ(refusal(descriptor(1, 0, 129), kPlain), kTooMuch);
    EXPECT_EQ(refusal(descriptor(1, 0, 0xffff'ffff), kPlain), kTooMuch);
    EXPECT_EQ(refusal(descriptor(13, 2048, 128), kZoned), "0");
    EXPECT_EQ(refusal(descriptor(13, 2048, 129), kZoned), kTooMuch);
}

// --- zones ---------------------------------------------------------------------------------------

TEST(ParseDescriptorZones, sector_within_a_zone_starts_none) {
    EXPECT_EQ(refusal(descriptor(10, 2049, 0), kZoned), kOffZone);
    EXPECT_EQ(refusal(descriptor(11, 2047, 0), kZoned), kOffZone);
    EXPECT_EQ(refusal(descriptor(12, 1, 0), kZoned), kOffZone);
    EXPECT_EQ(refusal(descriptor(13, 2056, 8), kZoned), kOffZone);
    EXPECT_EQ(refusal(descriptor(15, 3000, 0), kZoned), kOffZone);
}

TEST(ParseDescriptorZones, report_may_start_within_a_zone) {
    EXPECT_EQ(parse_descriptor(descriptor(18, 2051, 2), kZoned).value().range,
              (ByteRange{1050112, 0}));
}

TEST(ParseDescriptorZones, report_is_cut_to_what_fits_into_a_buffer) {
    EXPECT_EQ(parse_descriptor(descriptor(18, 0, 1023), kZoned).value().zone_count, 1023U);
    EXPECT_EQ(parse_descriptor(descriptor(18, 0, 1024), kZoned).value().zone_count, 1024U);
    EXPECT_EQ(parse_descriptor(descriptor(18, 0, 1025), kZoned).value().zone_count, 1024U);
    EXPECT_EQ(parse_descriptor(descriptor(18, 0, 0xffff'ffff), kZoned).value().zone_count, 1024U);
    EXPECT_EQ(parse_descriptor(descriptor(18, 0, 0), kZoned).value().zone_count, 0U);
}

TEST(ParseDescriptorZones, disk_without_zones_has_no_zone_operations) {
    EXPECT_EQ(refusal(descriptor(10, 0, 0), kPlain), kNotAnnounced);
    EXPECT_EQ(refusal(descriptor(11, 0, 0), kPlain), kNotAnnounced);
    EXPECT_EQ(refusal(descriptor(12, 0, 0), kPlain), kNotAnnounced);
    EXPECT_EQ(refusal(descriptor(13, 0, 8), kPlain), kNotAnnounced);
    EXPECT_EQ(refusal(descriptor(14, 0, 0), kPlain), kNotAnnounced);
    EXPECT_EQ(refusal(descriptor(15, 0, 0), kPlain), kNotAnnounced);
    EXPECT_EQ(refusal(descriptor(18, 0, 1), kPlain), kNotAnnounced);
}

// --- what there is not ---------------------------------------------------------------------------

TEST(ParseDescriptorUnknown, operations_without_a_meaning_are_refused) {
    EXPECT_EQ(refusal(descriptor(4, 0, 8), kZoned), kNotAnnounced);  // write same
    EXPECT_EQ(refusal(descriptor(6, 0, 8), kZoned), kNotAnnounced);
    EXPECT_EQ(refusal(descriptor(9, 0, 8), kZoned), kNotAnnounced);
    EXPECT_EQ(refusal(descriptor(16, 0, 8), kZoned), kNotAnnounced);
    EXPECT_EQ(refusal(descriptor(17, 0, 8), kZoned), kNotAnnounced);
    EXPECT_EQ(refusal(descriptor(19, 0, 8), kZoned), kNotAnnounced);
    EXPECT_EQ(refusal(descriptor(255, 0, 8), kZoned), kNotAnnounced);
}

}  // namespace
}  // namespace zbdkit::ublk
