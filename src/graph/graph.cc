// SPDX-License-Identifier: Apache-2.0
#include "graph/graph.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "graph/registry.h"

namespace zbdkit {
namespace {

using Json = nlohmann::json;

constexpr std::array kCommonOptions = {
    OptionInfo{"driver", "DRIVER", "which driver opens the node"},
    OptionInfo{"node-name", "NAME", "a name for the node"},
};

/// How deep graphs and their JSON may be nested.
constexpr int kMaxDepth = 16;

Outcome<std::string> scalar_text(const std::string& key, const Json& value) {
    if (value.is_string()) return value.get<std::string>();
    if (value.is_boolean()) return std::string(value.get<bool>() ? "on" : "off");
    if (value.is_number_unsigned()) return std::to_string(value.get<std::uint64_t>());
    return failure(fmt::format("node options: '{}' must be text, a whole number, true or false, "
                               "not {}",
                               key, value.dump()),
                   Errc::not_supported);
}

/// Appends the members of nested objects as dotted keys.
Outcome<void> flatten(OptionValues& out, const Json& root) {
    struct Level {
        std::string prefix;
        const Json* object;
    };
    std::vector<Level> levels = {{"", &root}};
    while (!levels.empty()) {
        const Level level = levels.back();
        levels.pop_back();
        for (const auto& [name, value] : level.object->items()) {
            const std::string key = level.prefix + name;
            if (value.is_object()) {
                levels.push_back({key + ".", &value});
                continue;
            }
            Outcome<std::string> text = scalar_text(key, value);
            if (!text) return std::unexpected(std::move(text.error()));
            if (Outcome<void> stored = out.set(key, std::move(*text)); !stored) return stored;
        }
    }
    return {};
}

Outcome<OptionValues> parse_json_options(std::string_view text) {
    const Json root = Json::parse(text, nullptr, false);
    if (root.is_discarded()) {
        return failure(fmt::format("node options: this is not valid JSON: {}", text),
                       Errc::not_supported);
    }
    if (!root.is_object()) {
        return failure("node options: JSON must be an object like {\"driver\": \"file\", ...}",
                       Errc::not_supported);
    }
    OptionValues options("node options");
    if (Outcome<void> flat = flatten(options, root); !flat) {
        return std::unexpected(std::move(flat.error()));
    }
    return options;
}

Outcome<std::unique_ptr<BlockNode>> take_named(NamedNodes& named, const std::string& name,
                                               std::string_view parent) {
    const auto found = named.find(name);
    if (found == named.end()) {
        return failure(fmt::format("driver '{}': there is no free node named '{}'", parent, name),
                       Errc::not_supported);
    }
    std::unique_ptr<BlockNode> node = std::move(found->second);
    named.erase(found);
    return node;
}

Task<Outcome<std::unique_ptr<BlockNode>>> open_at_depth(OpenContext& context, OptionValues options,
                                                        NamedNodes& named, int depth);

/// The child "file" of a format or filter, inline or by name.
Task<Outcome<std::unique_ptr<BlockNode>>> open_child(OpenContext& context, const DriverInfo& driver,
                                                     OptionValues& options, NamedNodes& named,
                                                     int depth) {
    const std::string reference = options.take("file");
    OptionValues child = options.take_below("file", "node options");
    if (driver.kind == DriverKind::protocol) {
        if (!reference.empty() || !child.items().empty()) {
            co_return failure(
                fmt::format("driver '{}' is a protocol: it has no child 'file'", driver.name),
                Errc::not_supported);
        }
        co_return std::unique_ptr<BlockNode>();
    }
    if (!reference.empty()) co_return take_named(named, reference, driver.name);
    if (child.items().empty()) {
        co_return failure(
            fmt::format("driver '{}' needs a child: file.driver=..., or file=NODE-NAME",
                        driver.name),
            Errc::not_supported);
    }
    Outcome<std::unique_ptr<BlockNode>> node =
        co_await open_at_depth(context, std::move(child), named, depth + 1);
    co_return node;
}

Task<Outcome<std::unique_ptr<BlockNode>>> open_at_depth(OpenContext& context, OptionValues options,
                                                        NamedNodes& named, int depth) {
    if (depth > kMaxDepth) co_return failure("node options: nested too deeply");
    const std::string name = options.take("node-name");
    const std::string driver_name = options.take("driver");
    if (driver_name.empty()) {
        co_return failure("node options: option 'driver' is missing (for example driver=file)",
                          Errc::not_supported);
    }
    const DriverInfo* driver = co_await ok(find_driver(driver_name));
    std::unique_ptr<BlockNode> child =
        co_await ok(open_child(context, *driver, options, named, depth));
    OptionValues own(fmt::format("driver '{}'", driver->name));
    for (const auto& [key, value] : options.items()) co_await ok(own.set(key, value));
    co_await ok(own.check_known(driver->options, kCommonOptions));
    std::unique_ptr<BlockNode> node = co_await ok(driver->open(context, own, std::move(child)));
    node->set_name(name);
    co_return node;
}

}  // namespace

Outcome<OptionValues> parse_node_options(std::string_view text) {
    if (text.starts_with('{')) return parse_json_options(text);
    return OptionValues::parse(text, "", "node options");
}

Task<Outcome<std::unique_ptr<BlockNode>>> open_node(OpenContext& context, OptionValues options,
                                                    NamedNodes& named) {
    return open_at_depth(context, std::move(options), named, 0);
}

OptionValues options_for_image(const std::string& filename, bool read_only) {
    OptionValues options("node options");
    options.replace("driver", "zoned");
    options.replace("file.driver", "file");
    options.replace("file.filename", filename);
    if (read_only) {
        options.replace("read-only", "on");
        options.replace("file.read-only", "on");
        options.replace("file.locking", "off");
    }
    return options;
}

}  // namespace zbdkit
