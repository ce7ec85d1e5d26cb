// SPDX-License-Identifier: Apache-2.0
// Zone reports as text. blkzone, qemu-io and zbd are to the byte the lines of those programs, so
// that scripts made for them work on ours. Pure; made line by line, so that a report of a million
// zones can be streamed.
//
//   format   unit          write pointer of a zone
//   table    stated in it  absolute, and how much is written
//   blkzone  sectors       relative to the zone
//   qemu-io  sectors       absolute
//   zbd      bytes         absolute; no line but the zones'
//   csv      bytes         absolute; as `zbd report -csv`, with its header
//   json     bytes         absolute; null where a zone has none
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/units.h"
#include "zone/zone.h"

namespace zbdkit {

enum class ReportFormat : std::uint8_t { table, blkzone, qemu_io, zbd, csv, json };

/// Names of the formats, in the order of ReportFormat: for options and help texts.
inline constexpr std::array<std::string_view, 6> kReportFormatNames = {
    "table", "blkzone", "qemu-io", "zbd", "csv", "json"};

/// Errors: a message with the known names, and the nearest one.
[[nodiscard]] Outcome<ReportFormat> parse_report_format(std::string_view text);

/// Two letters for a zone's state: nw em oi oe cl ro fu, and "of" for an offline zone. That is what
/// blkzone prints; zbd prints "ol".
[[nodiscard]] std::string_view zone_state_code(ZoneState state);
/// Reads such a code; an offline zone may be "of" or "ol".
[[nodiscard]] Outcome<ZoneState> parse_zone_state_code(std::string_view code);

/// One report: header(), line() for each zone, footer(). Each is "" or ends with a newline, but for
/// JSON, whose lines leave theirs to the next one.
class ReportText {
  public:
    ReportText(ReportFormat format, const ZoneGeometry& geometry)
        : format_(format), geometry_(geometry) {}

    [[nodiscard]] std::string header() const;
    [[nodiscard]] std::string line(ZoneIndex index, const ZoneDescriptor& zone);
    [[nodiscard]] std::string footer() const;

  private:
    ReportFormat format_;
    ZoneGeometry geometry_;
    bool has_lines_ = false;
};

/// One line of a report, newline included; for JSON the object alone.
[[nodiscard]] std::string report_line(ReportFormat format, ZoneIndex index,
                                      const ZoneDescriptor& zone);

}  // namespace zbdkit
