// SPDX-License-Identifier: Apache-2.0
#include "graph/node_options.h"

#include <algorithm>
#include <string>
#include <vector>

#include "graph/registry.h"

namespace zbdkit {
namespace {

constexpr std::string_view kDriver = "driver";

/// Whether the key says the driver of a node: of the topmost one or of an inline child.
bool names_driver(std::string_view key) { return key == kDriver || key.ends_with(".driver"); }

/// "file." of "file.driver".
std::string prefix_of(const std::string& driver_key) {
    return driver_key.substr(0, driver_key.size() - kDriver.size());
}

void add_if_given(std::vector<std::string>& names, const OptionValues& options,
                  const std::string& key) {
    const std::string name = options.text(key);
    if (!name.empty()) names.push_back(name);
}

bool has_option(std::string_view driver_name, std::string_view name) {
    const Outcome<const DriverInfo*> driver = find_driver(driver_name);
    return driver && std::ranges::any_of((*driver)->options, [name](const OptionInfo& option) {
               return option.name == name;
           });
}

}  // namespace

bool set_in_all_nodes(OptionValues& options, std::string_view name, std::string_view value) {
    std::vector<std::string> keys;
    for (const auto& [key, driver] : options.items()) {
        if (!names_driver(key) || !has_option(driver, name)) continue;
        keys.push_back(prefix_of(key) + std::string(name));
    }
    for (const std::string& key : keys) {
        if (!options.has(key)) options.replace(key, std::string(value));
    }
    return !keys.empty();
}

NodeReferences references_of(const OptionValues& options) {
    NodeReferences found;
    for (const auto& [key, driver_name] : options.items()) {
        if (!names_driver(key)) continue;
        const Outcome<const DriverInfo*> driver = find_driver(driver_name);
        if (!driver) continue;
        const std::string prefix = prefix_of(key);
        add_if_given(found.own_names, options, prefix + "node-name");
        for (const std::string_view child : (*driver)->children) {
            add_if_given(found.children, options, prefix + std::string(child));
        }
        const std::string_view object = (*driver)->object_option;
        if (!object.empty()) add_if_given(found.objects, options, prefix + std::string(object));
    }
    return found;
}

}  // namespace zbdkit
