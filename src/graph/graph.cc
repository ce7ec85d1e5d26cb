// SPDX-License-Identifier: Apache-2.0
#include "graph/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/log.h"
#include "base/text.h"
#include "graph/node_options.h"
#include "graph/registry.h"
#include "graph/storage_address.h"

namespace zbdkit {
namespace {

using Json = nlohmann::json;

constexpr std::array kCommonOptions = {
    OptionInfo{"driver", "DRIVER", "which driver opens the node"},
    OptionInfo{"node-name", "NAME", "a name for the node"},
};

Outcome<std::string> scalar_text(const std::string& key, const Json& value) {
    if (value.is_string()) return value.get<std::string>();
    if (value.is_boolean()) return std::string(value.get<bool>() ? "on" : "off");
    if (value.is_number_unsigned()) return std::to_string(value.get<std::uint64_t>());
    return failure(fmt::format("node options: '{}' must be text, a whole number, true or false, "
                               "not {}",
                               key, value.dump()),
                   Errc::not_supported);
}

/// Appends the members of nested objects and lists as dotted keys.
Outcome<void> flatten(OptionValues& out, const Json& root) {
    struct Level {
        std::string prefix;
        const Json* members;
    };
    std::vector<Level> levels = {{"", &root}};
    while (!levels.empty()) {
        const Level level = levels.back();
        levels.pop_back();
        for (const auto& [name, value] : level.members->items()) {  // a list's names are 0, 1, ...
            const std::string key = level.prefix + name;
            if (value.is_structured()) {
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

/// What is open already and has no parent yet.
Task<void> close_children(ChildNodes& children) {
    for (std::unique_ptr<BlockNode>& child : children) {
        co_await close_left_behind(std::move(child));
    }
}

Outcome<void> check_no_children(const DriverInfo& driver, OptionValues& options) {
    if (!driver.children.empty()) return {};
    const bool has_child = options.has("file") || !options.take_below("file", "").items().empty();
    if (!has_child) return {};
    return failure(fmt::format("driver '{}' is a protocol: it has no child 'file'", driver.name),
                   Errc::not_supported);
}

Task<Outcome<std::unique_ptr<BlockNode>>> open_at_depth(OpenContext& context, OptionValues options,
                                                        NamedNodes& named, int depth);

/// One child, inline or by name.
Task<Outcome<std::unique_ptr<BlockNode>>> open_child(OpenContext& context, const DriverInfo& driver,
                                                     std::string_view child_name,
                                                     OptionValues& options, NamedNodes& named,
                                                     int depth) {
    const std::string reference = options.take(child_name);
    OptionValues child = options.take_below(child_name, "node options");
    if (!reference.empty()) {
        Outcome<std::unique_ptr<BlockNode>> node = named.take(reference);
        if (node) co_return node;
        co_return failure(fmt::format("driver '{}': {}", driver.name, node.error().message),
                          Errc::not_supported);
    }
    if (child.items().empty()) {
        co_return failure(fmt::format("driver '{}' needs a child: {}.driver=..., or {}=NODE-NAME",
                                      driver.name, child_name, child_name),
                          Errc::not_supported);
    }
    Outcome<std::unique_ptr<BlockNode>> node =
        co_await open_at_depth(context, std::move(child), named, depth + 1);
    co_return node;
}

/// Opens the children into `children` and then the node over them.
Task<Outcome<std::unique_ptr<BlockNode>>> open_tree(OpenContext& context, const DriverInfo& driver,
                                                    OptionValues options, NamedNodes& named,
                                                    ChildNodes& children, int depth) {
    int child_depth = -1;
    for (const std::string_view child_name : driver.children) {
        std::unique_ptr<BlockNode> child =
            co_await ok(open_child(context, driver, child_name, options, named, depth));
        child_depth = std::max(child_depth, child->depth());
        children.push_back(std::move(child));
    }
    if (child_depth + 1 >= kMaxGraphDepth) {
        co_return failure(fmt::format("driver '{}': the graph would be more than {} nodes deep",
                                      driver.name, kMaxGraphDepth),
                          Errc::not_supported);
    }
    OptionValues own(fmt::format("driver '{}'", driver.name));
    for (const auto& [key, value] : options.items()) co_await ok(own.set(key, value));
    co_await ok(own.check_known(driver.options, kCommonOptions));
    std::unique_ptr<BlockNode> node = co_await ok(driver.open(context, own, children));
    node->set_depth(child_depth + 1);
    co_return node;
}

Task<Outcome<std::unique_ptr<BlockNode>>> open_at_depth(OpenContext& context, OptionValues options,
                                                        NamedNodes& named, int depth) {
    if (depth >= kMaxGraphDepth) co_return failure("node options: nested too deeply");
    const std::string name = options.take("node-name");
    const std::string driver_name = options.take("driver");
    if (driver_name.empty()) {
        co_return failure("node options: option 'driver' is missing (for example driver=file)",
                          Errc::not_supported);
    }
    const DriverInfo* driver = co_await ok(find_driver(driver_name));
    co_await ok(check_no_children(*driver, options));
    if (!name.empty()) co_await ok(named.claim(name));
    ChildNodes children;
    Outcome<std::unique_ptr<BlockNode>> node =
        co_await open_tree(context, *driver, std::move(options), named, children, depth);
    if (!node) {
        co_await close_children(children);
        named.release(name);
        co_return node;
    }
    (*node)->set_name(name);
    co_return node;
}

}  // namespace

Outcome<void> NamedNodes::claim(const std::string& name) {
    if (!elsewhere_.contains(name) && used_.insert(name).second) return {};
    return failure(fmt::format("there are two nodes named '{}'", name), Errc::not_supported);
}

void NamedNodes::put(std::unique_ptr<BlockNode> node) {
    const std::string name = node->name();
    ZBDKIT_ASSERT(used_.contains(name));
    free_.insert_or_assign(name, std::move(node));
}

Outcome<void> NamedNodes::put_as(const std::string& name, std::unique_ptr<BlockNode> node) {
    if (Outcome<void> claimed = claim(name); !claimed) return claimed;
    node->set_name(name);
    put(std::move(node));
    return {};
}

Outcome<std::unique_ptr<BlockNode>> NamedNodes::take(const std::string& name) {
    const auto found = free_.find(name);
    if (found == free_.end()) {
        if (used_.contains(name)) {
            return failure(fmt::format("node '{}' is in use: a node has one parent or export, and "
                                       "graphs have no loops",
                                       name),
                           Errc::not_supported);
        }
        if (elsewhere_.contains(name)) {
            return failure(fmt::format("node '{}' belongs to an export of another thread", name),
                           Errc::not_supported);
        }
        const std::vector<std::string> names = free_names();
        std::vector<std::string_view> candidates(names.begin(), names.end());
        candidates.insert(candidates.end(), elsewhere_.begin(), elsewhere_.end());
        return failure(
            fmt::format("there is no node named '{}'{}", name, did_you_mean(name, candidates)),
            Errc::not_supported);
    }
    std::unique_ptr<BlockNode> node = std::move(found->second);
    free_.erase(found);
    return node;
}

const BlockNode* NamedNodes::find(const std::string& name) const {
    const auto found = free_.find(name);
    return found == free_.end() ? nullptr : found->second.get();
}

std::unique_ptr<BlockNode> NamedNodes::take_any() {
    if (free_.empty()) return nullptr;
    return std::move(free_.extract(free_.begin()).mapped());
}

std::vector<std::string> NamedNodes::free_names() const {
    std::vector<std::string> names;
    for (const auto& [name, node] : free_) names.push_back(name);
    return names;
}

Outcome<OptionValues> parse_node_options(std::string_view text) {
    if (text.starts_with('{')) return parse_json_options(text);
    return OptionValues::parse(text, "", "node options");
}

Task<Outcome<std::unique_ptr<BlockNode>>> open_node(OpenContext& context, OptionValues options,
                                                    NamedNodes& named) {
    return open_at_depth(context, std::move(options), named, 0);
}

Task<void> close_left_behind(std::unique_ptr<BlockNode> node) {
    if (!node) co_return;
    const Outcome<void> closed = co_await node->close();
    if (!closed) spdlog::warn("{}", closed.error().message);
}

Outcome<OptionValues> options_for_image(const std::string& filename, bool read_only) {
    OptionValues storage("node options");
    if (is_storage_address(filename)) {
        Outcome<OptionValues> addressed = storage_options(filename);
        if (!addressed) return addressed;
        storage = std::move(*addressed);
    } else {
        storage.replace("driver", "file");
        storage.replace("filename", filename);
    }
    OptionValues options("node options");
    options.replace("driver", "zoned");
    put_below(options, "file", storage);
    if (read_only) {
        options.replace("read-only", "on");
        options.replace("file.read-only", "on");
        set_in_all_nodes(options, "locking", "off");
    }
    return options;
}

}  // namespace zbdkit
