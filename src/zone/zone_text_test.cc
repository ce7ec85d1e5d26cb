// SPDX-License-Identifier: Apache-2.0
// Golden lines. Those of blkzone, qemu-io and zbd are what these programs print.
#include "zone/zone_text.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace zbdkit {
namespace {

/// Five zones of 256 MiB with room for 192 MiB; the first is conventional.
ZoneGeometry five_zones() {
    ZoneGeometry geometry;
    geometry.model = ZoneModel::host_managed;
    geometry.device_size = 1342177280;
    geometry.zone_size = 268435456;
    geometry.zone_capacity = 201326592;
    geometry.conventional_zones = 1;
    geometry.max_open_zones = 14;
    geometry.max_append_bytes = 1048576;
    geometry.write_granularity = 4096;
    return geometry;
}

constexpr ZoneDescriptor kConventional{.start = 0,
                                       .length = 268435456,
                                       .capacity = 268435456,
                                       .write_pointer = 268435456,
                                       .type = ZoneType::conventional,
                                       .state = ZoneState::not_write_pointer};
constexpr ZoneDescriptor kEmpty{.start = 268435456,
                                .length = 268435456,
                                .capacity = 201326592,
                                .write_pointer = 268435456,
                                .type = ZoneType::sequential_required,
                                .state = ZoneState::empty};
constexpr ZoneDescriptor kOpen{.start = 536870912,
                               .length = 268435456,
                               .capacity = 201326592,
                               .write_pointer = 536875008,
                               .type = ZoneType::sequential_required,
                               .state = ZoneState::implicit_open};
constexpr ZoneDescriptor kFull{.start = 805306368,
                               .length = 268435456,
                               .capacity = 201326592,
                               .write_pointer = 1073741824,
                               .type = ZoneType::sequential_preferred,
                               .state = ZoneState::full};
constexpr ZoneDescriptor kOffline{.start = 1073741824,
                                  .length = 268435456,
                                  .capacity = 201326592,
                                  .write_pointer = 1342177280,
                                  .type = ZoneType::sequential_required,
                                  .state = ZoneState::offline};

std::string report(ReportFormat format) {
    ReportText text(format, five_zones());
    std::string all = text.header();
    const std::array zones = {kConventional, kEmpty, kOpen, kFull, kOffline};
    for (std::uint32_t i = 0; i < zones.size(); ++i) all += text.line(ZoneIndex(i), zones.at(i));
    return all + text.footer();
}

TEST(ZoneText, blkzone_lines_are_those_of_util_linux) {
    EXPECT_EQ(report(ReportFormat::blkzone),
              "  start: 0x000000000, len 0x080000, cap 0x080000, wptr 0x000000 reset:0 non-seq:0, "
              "zcond: 0(nw) [type: 1(CONVENTIONAL)]\n"
              "  start: 0x000080000, len 0x080000, cap 0x060000, wptr 0x000000 reset:0 non-seq:0, "
              "zcond: 1(em) [type: 2(SEQ_WRITE_REQUIRED)]\n"
              "  start: 0x000100000, len 0x080000, cap 0x060000, wptr 0x000008 reset:0 non-seq:0, "
              "zcond: 2(oi) [type: 2(SEQ_WRITE_REQUIRED)]\n"
              "  start: 0x000180000, len 0x080000, cap 0x060000, wptr 0x080000 reset:0 non-seq:0, "
              "zcond:14(fu) [type: 3(SEQ_WRITE_PREFERRED)]\n"
              "  start: 0x000200000, len 0x080000, cap 0x060000, wptr 0x080000 reset:0 non-seq:0, "
              "zcond:15(of) [type: 2(SEQ_WRITE_REQUIRED)]\n");
}

TEST(ZoneText, qemu_io_lines_are_those_of_zone_report) {
    EXPECT_EQ(report(ReportFormat::qemu_io),
              "start: 0x0, len 0x80000, cap 0x80000, wptr 0x80000, zcond:0, [type: 1]\n"
              "start: 0x80000, len 0x80000, cap 0x60000, wptr 0x80000, zcond:1, [type: 2]\n"
              "start: 0x100000, len 0x80000, cap 0x60000, wptr 0x100008, zcond:2, [type: 2]\n"
              "start: 0x180000, len 0x80000, cap 0x60000, wptr 0x200000, zcond:14, [type: 3]\n"
              "start: 0x200000, len 0x80000, cap 0x60000, wptr 0x280000, zcond:15, [type: 2]\n");
}

TEST(ZoneText, zbd_lines_are_those_of_zbd_report) {
    EXPECT_EQ(report(ReportFormat::zbd),
              "Zone 00000: cnv, ofst 00000000000000, len 00000268435456, cap 00000268435456\n"
              "Zone 00001: swr, ofst 00000268435456, len 00000268435456, cap 00000201326592, wp "
              "00000268435456, em, non_seq 0, reset 0\n"
              "Zone 00002: swr, ofst 00000536870912, len 00000268435456, cap 00000201326592, wp "
              "00000536875008, oi, non_seq 0, reset 0\n"
              "Zone 00003: swp, ofst 00000805306368, len 00000268435456, cap 00000201326592, wp "
              "00001073741824, fu, non_seq 0, reset 0\n"
              "Zone 00004: swr, ofst 00001073741824, len 00000268435456, cap 00000201326592, wp "
              "00001342177280, ol, non_seq 0, reset 0\n");
}

TEST(ZoneText, csv_lines_are_those_of_zbd_report_csv) {
    EXPECT_EQ(report(ReportFormat::csv),
              "zone num, type, ofst, len, cap, wp, cond, non_seq, reset\n"
              "00000, 1, 00000000000000, 00000268435456, 00000268435456, 00000268435456, 0x0, 0, "
              "0\n"
              "00001, 2, 00000268435456, 00000268435456, 00000201326592, 00000268435456, 0x1, 0, "
              "0\n"
              "00002, 2, 00000536870912, 00000268435456, 00000201326592, 00000536875008, 0x2, 0, "
              "0\n"
              "00003, 3, 00000805306368, 00000268435456, 00000201326592, 00001073741824, 0xe, 0, "
              "0\n"
              "00004, 2, 00001073741824, 00000268435456, 00000201326592, 00001342177280, 0xf, 0, "
              "0\n");
}

TEST(ZoneText, json_report_is_one_object) {
    EXPECT_EQ(report(ReportFormat::json),
              R"({
  "model": "host-managed",
  "device_size": 1342177280,
  "zone_size": 268435456,
  "zone_capacity": 201326592,
  "zone_count": 5,
  "conventional_zones": 1,
  "max_open_zones": 14,
  "max_active_zones": 0,
  "max_append_bytes": 1048576,
  "write_granularity": 4096,
  "zones": [
    {"index": 0, "type": "conventional", "state": "not-write-pointer", "start": 0, "length": 268435456, "capacity": 268435456, "write_pointer": null},
    {"index": 1, "type": "sequential-write-required", "state": "empty", "start": 268435456, "length": 268435456, "capacity": 201326592, "write_pointer": 268435456},
    {"index": 2, "type": "sequential-write-required", "state": "implicit-open", "start": 536870912, "length": 268435456, "capacity": 201326592, "write_pointer": 536875008},
    {"index": 3, "type": "sequential-write-preferred", "state": "full", "start": 805306368, "length": 268435456, "capacity": 201326592, "write_pointer": 1073741824},
    {"index": 4, "type": "sequential-write-required", "state": "offline", "start": 1073741824, "length": 268435456, "capacity": 201326592, "write_pointer": null}
  ]
}
)");
}

TEST(ZoneText, json_report_without_zones_is_an_empty_list) {
    const ReportText text(ReportFormat::json, five_zones());
    EXPECT_TRUE((text.header() + text.footer()).ends_with("\"zones\": []\n}\n"));
}

TEST(ZoneText, table_states_units_and_sizes_for_people) {
    EXPECT_EQ(
        report(ReportFormat::table),
        "host-managed: 1.25 GiB in 5 zones of 256 MiB, capacity 192 MiB, 1 conventional\n"
        "at most 14 open zones, any number of active zones; append up to 1 MiB; writes in units "
        "of 4 KiB\n"
        "positions in bytes from the start of the device\n"
        "   zone  type          state                           start       write pointer     "
        "written    capacity\n"
        "      0  conventional  not-write-pointer                 0x0                   -         "
        "  -     256 MiB\n"
        "      1  sequential    empty                      0x10000000          0x10000000     "
        "0 bytes     192 MiB\n"
        "      2  sequential    implicit-open              0x20000000          0x20001000       "
        "4 KiB     192 MiB\n"
        "      3  preferred     full                       0x30000000          0x40000000     "
        "192 MiB     192 MiB\n"
        "      4  sequential    offline                    0x40000000                   -         "
        "  -     192 MiB\n");
}

TEST(ZoneText, table_of_device_without_append_says_so) {
    ZoneGeometry geometry = five_zones();
    geometry.max_append_bytes = 0;
    const std::string header = ReportText(ReportFormat::table, geometry).header();
    EXPECT_NE(header.find("any number of active zones; no append; writes"), std::string::npos);
}

TEST(ZoneText, zone_beyond_four_gib_keeps_all_digits) {
    const ZoneDescriptor big{.start = 5497558138880,
                             .length = 5368709120,
                             .capacity = 5368709120,
                             .write_pointer = 5502926843904,
                             .type = ZoneType::sequential_required,
                             .state = ZoneState::closed};
    EXPECT_EQ(report_line(ReportFormat::blkzone, ZoneIndex(1024), big),
              "  start: 0x280000000, len 0xa00000, cap 0xa00000, wptr 0x9ffff8 reset:0 non-seq:0, "
              "zcond: 4(cl) [type: 2(SEQ_WRITE_REQUIRED)]\n");
    EXPECT_EQ(report_line(ReportFormat::zbd, ZoneIndex(123456), big),
              "Zone 123456: swr, ofst 05497558138880, len 00005368709120, cap 00005368709120, wp "
              "05502926843904, cl, non_seq 0, reset 0\n");
}

TEST(ZoneText, format_names_are_read_back) {
    EXPECT_EQ(parse_report_format("table").value(), ReportFormat::table);
    EXPECT_EQ(parse_report_format("blkzone").value(), ReportFormat::blkzone);
    EXPECT_EQ(parse_report_format("qemu-io").value(), ReportFormat::qemu_io);
    EXPECT_EQ(parse_report_format("zbd").value(), ReportFormat::zbd);
    EXPECT_EQ(parse_report_format("csv").value(), ReportFormat::csv);
    EXPECT_EQ(parse_report_format("json").value(), ReportFormat::json);
}

TEST(ZoneText, unknown_format_names_the_nearest) {
    EXPECT_EQ(parse_report_format("blkzon").error().message,
              "unknown report format 'blkzon' (did you mean 'blkzone'?): expected table, blkzone, "
              "qemu-io, zbd, csv, json");
}

TEST(ZoneText, state_codes_are_read_back_and_offline_has_two) {
    EXPECT_EQ(zone_state_code(ZoneState::offline), "of");
    EXPECT_EQ(zone_state_code(ZoneState::read_only), "ro");
    EXPECT_EQ(zone_state_code(ZoneState::explicit_open), "oe");
    EXPECT_EQ(zone_state_code(static_cast<ZoneState>(7)), "??");
    EXPECT_EQ(parse_zone_state_code("of").value(), ZoneState::offline);
    EXPECT_EQ(parse_zone_state_code("ol").value(), ZoneState::offline);
    EXPECT_EQ(parse_zone_state_code("cl").value(), ZoneState::closed);
    EXPECT_EQ(parse_zone_state_code("xx").error().message,
              "unknown zone state 'xx': expected nw, em, oi, oe, cl, ro, fu or of");
}

}  // namespace
}  // namespace zbdkit
