// SPDX-License-Identifier: Apache-2.0
#include "app/report.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <limits>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "app/exit_status.h"
#include "app/messages.h"
#include "app/workshop.h"
#include "app/zone_source.h"
#include "base/text.h"
#include "graph/graph.h"
#include "zone/zone_text.h"

namespace zbdkit::app {
namespace {

constexpr std::string_view kCommand = "report";

struct Wish {
    ReportFormat format = ReportFormat::table;
    std::uint64_t offset = 0;
    std::uint64_t count = std::numeric_limits<std::uint64_t>::max();
};

Outcome<Wish> parse_wish(const ReportArguments& arguments) {
    Wish wish;
    const Outcome<ReportFormat> format = parse_report_format(arguments.format);
    if (!format) return std::unexpected(format.error());
    wish.format = *format;
    if (!arguments.offset.empty()) {
        const Outcome<std::uint64_t> offset = parse_size(arguments.offset);
        if (!offset) return std::unexpected(offset.error());
        wish.offset = *offset;
    }
    if (arguments.count.empty()) return wish;
    const std::string& text = arguments.count;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), wish.count);
    if (error == std::errc() && end == text.data() + text.size()) return wish;
    return failure(fmt::format("option '--count': '{}' is no whole number", text),
                   Errc::not_supported);
}

/// The nodes that the tool reads from. Lives as long as the source.
struct Opened {
    std::unique_ptr<Workshop> workshop;
    std::unique_ptr<ZoneSource> source;
};

Task<Outcome<std::unique_ptr<BlockNode>>> open_root(OpenContext& context, OptionValues options) {
    NamedNodes none;
    Outcome<std::unique_ptr<BlockNode>> node =
        co_await open_node(context, std::move(options), none);
    co_return node;
}

Outcome<Opened> open_source(const DiskArgument& disk, OptionValues options) {
    Opened opened;
    Outcome<std::unique_ptr<Workshop>> workshop = Workshop::make();
    if (!workshop) return std::unexpected(std::move(workshop.error()));
    opened.workshop = std::move(*workshop);
    Outcome<std::unique_ptr<BlockNode>> node =
        opened.workshop->run(open_root(opened.workshop->context(), std::move(options)));
    if (!node) return std::unexpected(std::move(node.error()));
    opened.source = std::make_unique<ZoneSource>(*opened.workshop, std::move(*node));
    if (opened.source->geometry().is_zoned()) return opened;
    return failure(fmt::format("'{}' is not zoned", disk.name()), Errc::not_supported);
}

Outcome<void> print_zones(const std::string& name, ZoneSource& source, const Wish& wish) {
    const ZoneGeometry& geometry = source.geometry();
    if (wish.offset >= geometry.device_size) {
        return failure(fmt::format("'{}': {} is beyond its end at {}", name, wish.offset,
                                   geometry.device_size),
                       Errc::out_of_range);
    }
    ReportText text(wish.format, geometry);
    fmt::print("{}", text.header());
    std::uint64_t offset = wish.offset;
    std::uint64_t printed = 0;
    while (offset < geometry.device_size && printed < wish.count) {
        const Result<std::vector<ZoneDescriptor>> zones = source.report(offset);
        if (!zones) {
            return failure(fmt::format("cannot report the zones of '{}'", name), zones.error());
        }
        for (const ZoneDescriptor& zone : *zones) {
            if (printed == wish.count) break;
            fmt::print("{}", text.line(geometry.zone_of(zone.start), zone));
            ++printed;
        }
        if (zones->empty()) break;
        const std::uint64_t next = zones->back().start + zones->back().length;
        if (next <= offset) return failure(fmt::format("'{}': its report does not advance", name));
        offset = next;
    }
    fmt::print("{}", text.footer());
    return source.close();
}

}  // namespace

int run_report(const ReportArguments& arguments) {
    const Outcome<Wish> wish = parse_wish(arguments);
    if (!wish) return report_usage(kCommand, wish.error());
    Outcome<OptionValues> options = disk_options(arguments.disk, Access::look);
    if (!options) return report_usage(kCommand, options.error());
    Outcome<Opened> opened = open_source(arguments.disk, std::move(*options));
    if (!opened) return report_failure(kCommand, opened.error());
    const Outcome<void> printed = print_zones(arguments.disk.name(), *opened->source, *wish);
    return printed ? kOk : report_failure(kCommand, printed.error());
}

}  // namespace zbdkit::app
