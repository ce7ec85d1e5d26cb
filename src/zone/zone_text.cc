// SPDX-License-Identifier: Apache-2.0
#include "zone/zone_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "base/text.h"

namespace zbdkit {
namespace {

std::uint64_t sectors(std::uint64_t bytes) { return Sectors::floor(bytes).count(); }

bool has_pointer(ZoneState state) {
    switch (state) {
        case ZoneState::empty:
        case ZoneState::implicit_open:
        case ZoneState::explicit_open:
        case ZoneState::closed:
        case ZoneState::full: return true;
        case ZoneState::not_write_pointer:
        case ZoneState::read_only:
        case ZoneState::offline: return false;
    }
    return false;
}

// --- table: for people -----------------------------------------------------------------------

std::string_view short_type(ZoneType type) {
    switch (type) {
        case ZoneType::conventional: return "conventional";
        case ZoneType::sequential_required: return "sequential";
        case ZoneType::sequential_preferred: return "preferred";
    }
    return "unknown";
}

std::string limit_text(std::uint32_t limit) {
    return limit == 0 ? "any number of" : fmt::format("at most {}", limit);
}

std::string table_header(const ZoneGeometry& geometry) {
    std::string text = fmt::format(
        "{}: {} in {} zones of {}, capacity {}, {} conventional\n"
        "{} open zones, {} active zones; {}; writes in units of {}\n"
        "positions in bytes from the start of the device\n",
        zone_model_name(geometry.model), format_size(geometry.device_size), geometry.zone_count(),
        format_size(geometry.zone_size), format_size(geometry.zone_capacity),
        geometry.conventional_zones, limit_text(geometry.max_open_zones),
        limit_text(geometry.max_active_zones),
        geometry.max_append_bytes == 0
            ? std::string("no append")
            : fmt::format("append up to {}", format_size(geometry.max_append_bytes)),
        format_size(geometry.write_granularity));
    text += fmt::format("{:>7}  {:<12}  {:<17}  {:>18}  {:>18}  {:>10}  {:>10}\n", "zone", "type",
                        "state", "start", "write pointer", "written", "capacity");
    return text;
}

/// Bytes below the write pointer; all of a full zone, also of a finished one.
std::uint64_t written(const ZoneDescriptor& zone) {
    if (zone.state == ZoneState::full) return zone.capacity;
    return zone.write_pointer - zone.start;
}

std::string table_line(ZoneIndex index, const ZoneDescriptor& zone) {
    std::string pointer = "-";
    std::string amount = "-";
    if (has_pointer(zone.state)) {
        pointer = fmt::format("{:#x}", zone.write_pointer);
        amount = format_size(written(zone));
    }
    return fmt::format("{:>7}  {:<12}  {:<17}  {:>#18x}  {:>18}  {:>10}  {:>10}\n",
                       to_number(index), short_type(zone.type), zone_state_name(zone.state),
                       zone.start, pointer, amount, format_size(zone.capacity));
}

// --- Other programs' lines -------------------------------------------------------------------

std::string_view blkzone_type(ZoneType type) {
    switch (type) {
        case ZoneType::conventional: return "CONVENTIONAL";
        case ZoneType::sequential_required: return "SEQ_WRITE_REQUIRED";
        case ZoneType::sequential_preferred: return "SEQ_WRITE_PREFERRED";
    }
    return "unknown";
}

std::string blkzone_line(const ZoneDescriptor& zone) {
    const std::uint64_t relative =
        zone.type == ZoneType::conventional ? 0 : zone.write_pointer - zone.start;
    return fmt::format(
        "  start: 0x{:09x}, len 0x{:06x}, cap 0x{:06x}, wptr 0x{:06x} reset:0 non-seq:0, "
        "zcond:{:2}({}) [type: {}({})]\n",
        sectors(zone.start), sectors(zone.length), sectors(zone.capacity), sectors(relative),
        std::to_underlying(zone.state), zone_state_code(zone.state), std::to_underlying(zone.type),
        blkzone_type(zone.type));
}

std::string qemu_io_line(const ZoneDescriptor& zone) {
    return fmt::format("start: 0x{:x}, len 0x{:x}, cap 0x{:x}, wptr 0x{:x}, zcond:{}, [type: {}]\n",
                       sectors(zone.start), sectors(zone.length), sectors(zone.capacity),
                       sectors(zone.write_pointer), std::to_underlying(zone.state),
                       std::to_underlying(zone.type));
}

std::string zbd_line(ZoneIndex index, const ZoneDescriptor& zone) {
    if (zone.type == ZoneType::conventional) {
        return fmt::format("Zone {:05}: cnv, ofst {:014}, len {:014}, cap {:014}\n",
                           to_number(index), zone.start, zone.length, zone.capacity);
    }
    return fmt::format(
        "Zone {:05}: {}, ofst {:014}, len {:014}, cap {:014}, wp {:014}, {}, non_seq 0, reset 0\n",
        to_number(index), zone.type == ZoneType::sequential_required ? "swr" : "swp", zone.start,
        zone.length, zone.capacity, zone.write_pointer,
        zone.state == ZoneState::offline ? "ol" : zone_state_code(zone.state));
}

std::string csv_line(ZoneIndex index, const ZoneDescriptor& zone) {
    return fmt::format("{:05}, {}, {:014}, {:014}, {:014}, {:014}, 0x{:x}, 0, 0\n",
                       to_number(index), std::to_underlying(zone.type), zone.start, zone.length,
                       zone.capacity, zone.write_pointer, std::to_underlying(zone.state));
}

// --- json -------------------------------------------------------------------------------------

std::string json_header(const ZoneGeometry& geometry) {
    return fmt::format(
        "{{\n"
        "  \"model\": \"{}\",\n"
        "  \"device_size\": {},\n"
        "  \"zone_size\": {},\n"
        "  \"zone_capacity\": {},\n"
        "  \"zone_count\": {},\n"
        "  \"conventional_zones\": {},\n"
        "  \"max_open_zones\": {},\n"
        "  \"max_active_zones\": {},\n"
        "  \"max_append_bytes\": {},\n"
        "  \"write_granularity\": {},\n"
        "  \"zones\": [",
        zone_model_name(geometry.model), geometry.device_size, geometry.zone_size,
        geometry.zone_capacity, geometry.zone_count(), geometry.conventional_zones,
        geometry.max_open_zones, geometry.max_active_zones, geometry.max_append_bytes,
        geometry.write_granularity);
}

std::string json_line(ZoneIndex index, const ZoneDescriptor& zone) {
    return fmt::format(
        "{{\"index\": {}, \"type\": \"{}\", \"state\": \"{}\", \"start\": {}, \"length\": {}, "
        "\"capacity\": {}, \"write_pointer\": {}}}",
        to_number(index), zone_type_name(zone.type), zone_state_name(zone.state), zone.start,
        zone.length, zone.capacity,
        has_pointer(zone.state) ? std::to_string(zone.write_pointer) : "null");
}

struct StateCode {
    std::string_view code;
    ZoneState state;
};

/// The first code of a state is the one that is printed.
constexpr std::array kStateCodes = {
    StateCode{"nw", ZoneState::not_write_pointer},
    StateCode{"em", ZoneState::empty},
    StateCode{"oi", ZoneState::implicit_open},
    StateCode{"oe", ZoneState::explicit_open},
    StateCode{"cl", ZoneState::closed},
    StateCode{"ro", ZoneState::read_only},
    StateCode{"fu", ZoneState::full},
    StateCode{"of", ZoneState::offline},
    StateCode{"ol", ZoneState::offline},
};

}  // namespace

Outcome<ReportFormat> parse_report_format(std::string_view text) {
    const auto found = std::ranges::find(kReportFormatNames, text);
    if (found != kReportFormatNames.end()) {
        return static_cast<ReportFormat>(found - kReportFormatNames.begin());
    }
    return failure(
        fmt::format("unknown report format '{}'{}: expected {}", text,
                    did_you_mean(text, kReportFormatNames), fmt::join(kReportFormatNames, ", ")),
        Errc::not_supported);
}

std::string_view zone_state_code(ZoneState state) {
    const auto found = std::ranges::find(kStateCodes, state, &StateCode::state);
    return found == kStateCodes.end() ? "??" : found->code;
}

Outcome<ZoneState> parse_zone_state_code(std::string_view code) {
    const auto found = std::ranges::find(kStateCodes, code, &StateCode::code);
    if (found != kStateCodes.end()) return found->state;
    return failure(
        fmt::format("unknown zone state '{}': expected nw, em, oi, oe, cl, ro, fu or of", code),
        Errc::not_supported);
}

std::string report_line(ReportFormat format, ZoneIndex index, const ZoneDescriptor& zone) {
    switch (format) {
        case ReportFormat::table: return table_line(index, zone);
        case ReportFormat::blkzone: return blkzone_line(zone);
        case ReportFormat::qemu_io: return qemu_io_line(zone);
        case ReportFormat::zbd: return zbd_line(index, zone);
        case ReportFormat::csv: return csv_line(index, zone);
        case ReportFormat::json: return json_line(index, zone);
    }
    return "";
}

std::string ReportText::header() const {
    switch (format_) {
        case ReportFormat::table: return table_header(geometry_);
        case ReportFormat::csv: return "zone num, type, ofst, len, cap, wp, cond, non_seq, reset\n";
        case ReportFormat::json: return json_header(geometry_);
        case ReportFormat::blkzone:
        case ReportFormat::qemu_io:
        case ReportFormat::zbd: return "";
    }
    return "";
}

std::string ReportText::line(ZoneIndex index, const ZoneDescriptor& zone) {
    const bool is_first = !std::exchange(has_lines_, true);
    const std::string text = report_line(format_, index, zone);
    if (format_ != ReportFormat::json) return text;
    return (is_first ? "\n    " : ",\n    ") + text;
}

std::string ReportText::footer() const {
    if (format_ != ReportFormat::json) return "";
    return has_lines_ ? "\n  ]\n}\n" : "]\n}\n";
}

}  // namespace zbdkit
