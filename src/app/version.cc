// SPDX-License-Identifier: Apache-2.0
#include "app/version.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "app/export_options.h"
#include "base/trace.h"
#include "graph/registry.h"

namespace zbdkit::app {
namespace {

std::string compiler() {
#if defined(__clang__)
    return fmt::format("clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
    return fmt::format("gcc {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
}

std::string_view kind_name(DriverKind kind) {
    switch (kind) {
        case DriverKind::protocol: return "protocols";
        case DriverKind::format: return "formats";
        case DriverKind::filter: return "filters";
    }
    return "drivers";
}

std::vector<std::string_view> names_of(DriverKind kind) {
    std::vector<std::string_view> names;
    for (const DriverInfo* driver : drivers()) {
        if (driver->kind == kind) names.push_back(driver->name);
    }
    std::ranges::sort(names);
    return names;
}

std::vector<std::string_view> not_built_in() {
    std::vector<std::string_view> names;
    for (const OptionalDriver& driver : absent_drivers()) names.push_back(driver.name);
    names.insert(names.end(), kAbsentExportTypes.begin(), kAbsentExportTypes.end());
    return names;
}

}  // namespace

std::string version_text() {
    std::string text = fmt::format("zbdkit {}\n", ZBDKIT_VERSION);
    const auto line = [&text](std::string_view label, const std::string& value) {
        text += fmt::format("{:<14} {}\n", fmt::format("{}:", label), value);
    };
    line("compiler", compiler());
    for (const DriverKind kind : {DriverKind::protocol, DriverKind::format, DriverKind::filter}) {
        const std::vector<std::string_view> names = names_of(kind);
        if (!names.empty()) line(kind_name(kind), fmt::format("{}", fmt::join(names, ", ")));
    }
    line("exports", fmt::format("{}", fmt::join(kExportTypes, ", ")));
    line("trace points", ZBDKIT_HAS_USDT ? "log, USDT probes" : "log (no USDT: no <sys/sdt.h>)");
    const std::vector<std::string_view> absent = not_built_in();
    if (!absent.empty()) line("not built in", fmt::format("{}", fmt::join(absent, ", ")));
    return text;
}

}  // namespace zbdkit::app
