// SPDX-License-Identifier: Apache-2.0
#include "app/drivers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <span>
#include <string_view>
#include <vector>

#include "app/exit_status.h"
#include "app/messages.h"
#include "base/text.h"
#include "graph/registry.h"

namespace zbdkit::app {
namespace {

constexpr std::string_view kCommand = "drivers";

/// A driver or a kind of object, as it is shown.
struct Entry {
    std::string_view name;
    std::vector<std::string_view> other_names;
    std::string_view help;
    std::span<const OptionInfo> options;
    std::span<const std::string_view> children;
};
struct Section {
    std::string_view title;
    std::string_view intro;
    std::vector<Entry> entries;
};

/// A driver's other names are those of drivers that are opened by the same function.
std::vector<Entry> drivers_of(DriverKind kind) {
    std::vector<Entry> entries;
    std::vector<const DriverInfo*> shown;
    for (const DriverInfo* driver : drivers()) {
        if (driver->kind != kind) continue;
        const auto same = std::ranges::find(shown, driver->open, &DriverInfo::open);
        if (same != shown.end()) {
            entries[static_cast<std::size_t>(same - shown.begin())].other_names.push_back(
                driver->name);
            continue;
        }
        shown.push_back(driver);
        entries.push_back({.name = driver->name,
                           .other_names = {},
                           .help = driver->help,
                           .options = driver->options,
                           .children = driver->children});
    }
    std::ranges::sort(entries, {}, &Entry::name);
    return entries;
}

std::vector<Entry> all_objects() {
    std::vector<Entry> entries;
    for (const ObjectInfo* object : objects()) {
        entries.push_back({.name = object->name,
                           .other_names = {},
                           .help = object->help,
                           .options = object->options,
                           .children = {}});
    }
    return entries;
}

std::array<Section, 4> all_sections() {
    return {{
        {"Protocols", "They reach the storage.", drivers_of(DriverKind::protocol)},
        {"Formats", "They make a disk out of the bytes of a child.",
         drivers_of(DriverKind::format)},
        {"Filters", "They watch or change what passes to a child. All of them keep its zones.",
         drivers_of(DriverKind::filter)},
        {"Objects", "What nodes and exports share, by its id: `--object KIND,id=ID,...`.",
         all_objects()},
    }};
}

// --- For the terminal ---------------------------------------------------------------------------

constexpr std::size_t kNameColumn = 16;
constexpr std::size_t kOptionColumn = 34;

void print_overview() {
    for (const Section& section : all_sections()) {
        fmt::print("{}:\n", section.title);
        for (const Entry& entry : section.entries) {
            fmt::print("  {:<{}}{}\n", entry.name, kNameColumn, entry.help);
        }
    }
    if (const std::vector<OptionalDriver> absent = absent_drivers(); !absent.empty()) {
        fmt::print("Not built in:\n");
        for (const OptionalDriver& driver : absent) {
            fmt::print("  {:<{}}needs {}\n", driver.name, kNameColumn, driver.library);
        }
    }
    fmt::print("\n`zbdkit drivers NAME` lists the options of one.\n");
}

void print_entry(const Entry& entry) {
    fmt::print("{}: {}\n", entry.name, entry.help);
    if (!entry.other_names.empty()) {
        fmt::print("also known as: {}\n", fmt::join(entry.other_names, ", "));
    }
    if (!entry.children.empty()) fmt::print("children: {}\n", fmt::join(entry.children, ", "));
    for (const OptionInfo& option : entry.options) {
        const std::string form = fmt::format("{}={}", option.name, option.form);
        fmt::print("  {:<{}} {}\n", form, kOptionColumn, option.help);
    }
}

bool is_called(const Entry& entry, std::string_view name) {
    return entry.name == name ||
           std::ranges::find(entry.other_names, name) != entry.other_names.end();
}

Outcome<Entry> find_entry(std::string_view name) {
    std::vector<std::string_view> names;
    for (const Section& section : all_sections()) {
        for (const Entry& entry : section.entries) {
            if (is_called(entry, name)) return entry;
            names.push_back(entry.name);
        }
    }
    for (const OptionalDriver& absent : absent_drivers()) {
        if (absent.name == name) return std::unexpected(find_driver(name).error());
    }
    return failure(fmt::format("there is no driver or object '{}'{}: known are {}", name,
                               did_you_mean(name, names), fmt::join(names, ", ")),
                   Errc::not_supported);
}

// --- For the manual -----------------------------------------------------------------------------

constexpr std::string_view kPageTop =
    "# Drivers and objects\n"
    "\n"
    "Every node of the [graph](../graph.md) is opened by a driver, with options as\n"
    "`driver=NAME,option=value,...` or JSON, in `--blockdev` and `--image-opts`. Each node also\n"
    "takes `node-name=NAME`. A child is given inline, `file.driver=...`, or as the name of a "
    "node,\n"
    "`file=NAME`.\n"
    "\n"
    "This page is what `zbdkit drivers --markdown` prints: the tables that the options are parsed\n"
    "by.\n";

/// A bar would end the column.
std::string in_column(std::string_view text) {
    std::string escaped;
    for (const char c : text) {
        if (c == '|') escaped += '\\';
        escaped += c;
    }
    return escaped;
}

/// Help texts begin with a small letter; here they stand alone.
std::string as_sentence(std::string_view help) {
    std::string sentence(help);
    if (!sentence.empty()) {
        sentence[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(sentence[0])));
    }
    return sentence;
}

void print_markdown_entry(const Entry& entry) {
    fmt::print("\n### {}\n\n{}", entry.name, as_sentence(entry.help));
    if (!entry.other_names.empty()) {
        fmt::print("; also known as `{}`", fmt::join(entry.other_names, "`, `"));
    }
    fmt::print(".\n");
    if (!entry.children.empty()) {
        fmt::print("\nStands on: `{}`.\n", fmt::join(entry.children, "`, `"));
    }
    if (entry.options.empty()) {
        fmt::print("\nIt has no options.\n");
        return;
    }
    fmt::print("\n| option | value | meaning |\n| --- | --- | --- |\n");
    for (const OptionInfo& option : entry.options) {
        fmt::print("| `{}` | `{}` | {} |\n", option.name, in_column(option.form),
                   in_column(option.help));
    }
}

void print_markdown() {
    fmt::print("{}", kPageTop);
    for (const Section& section : all_sections()) {
        fmt::print("\n## {}\n\n{}\n", section.title, section.intro);
        for (const Entry& entry : section.entries) print_markdown_entry(entry);
    }
}

}  // namespace

int run_drivers(const DriversArguments& arguments) {
    if (!arguments.name.empty()) {
        const Outcome<Entry> entry = find_entry(arguments.name);
        if (!entry) return report_usage(kCommand, entry.error());
        print_entry(*entry);
    } else if (arguments.markdown) {
        print_markdown();
    } else {
        print_overview();
    }
    return kOk;
}

}  // namespace zbdkit::app
