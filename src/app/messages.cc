// SPDX-License-Identifier: Apache-2.0
#include "app/messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdio>

#include "app/exit_status.h"
#include "base/text.h"

namespace zbdkit::app {
namespace {

std::string prefix_of(std::string_view command) {
    return command.empty() ? "zbdkit" : fmt::format("zbdkit: {}", command);
}

bool is_plain(char c) {
    constexpr std::string_view kPlainMarks = "/._-+=:@%,";
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           kPlainMarks.find(c) != std::string_view::npos;
}

}  // namespace

int report_failure(std::string_view command, const Failure& failure) {
    fmt::print(stderr, "{}: {}\n", prefix_of(command), failure.message);
    return kFailure;
}

int report_usage(std::string_view command, const Failure& failure) {
    fmt::print(stderr, "{}: {}\n", prefix_of(command), failure.message);
    fmt::print(stderr, "Try: zbdkit {}{}--help\n", command, command.empty() ? "" : " ");
    return kUsage;
}

std::string count_text(std::uint64_t count, std::string_view noun) {
    return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string describe_zones(const ZoneGeometry& geometry) {
    std::string details;
    const auto add = [&details](const std::string& detail) {
        details += details.empty() ? " (" : ", ";
        details += detail;
    };
    if (geometry.conventional_zones > 0) {
        add(fmt::format("{} conventional", geometry.conventional_zones));
    }
    if (geometry.zone_capacity < geometry.zone_size) {
        add(fmt::format("capacity {}", format_size(geometry.zone_capacity)));
    }
    if (!details.empty()) details += ")";
    return fmt::format("{} of {}{}", count_text(geometry.zone_count(), "zone"),
                       format_size(geometry.zone_size), details);
}

std::string describe_disk(const ZoneGeometry& zones, std::uint64_t size) {
    if (!zones.is_zoned()) return fmt::format("{}, not zoned", format_size(size));
    return fmt::format("{}, {}, {}", format_size(size), describe_zones(zones),
                       zone_model_name(zones.model));
}

std::string shell_quote(std::string_view word) {
    if (!word.empty() && std::ranges::all_of(word, is_plain)) return std::string(word);
    std::string quoted = "'";
    for (const char c : word) {
        if (c == '\'') {
            quoted += "'\\''";
        } else {
            quoted += c;
        }
    }
    return quoted + "'";
}

}  // namespace zbdkit::app
