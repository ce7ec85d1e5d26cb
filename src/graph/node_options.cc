// SPDX-License-Identifier: Apache-2.0
#include "graph/node_options.h"

#include <algorithm>
#include <string>
#include <vector>

#include "graph/registry.h"

namespace zbdkit {
namespace {

bool has_option(std::string_view driver_name, std::string_view name) {
    const Outcome<const DriverInfo*> driver = find_driver(driver_name);
    return driver && std::ranges::any_of((*driver)->options, [name](const OptionInfo& option) {
               return option.name == name;
           });
}

}  // namespace

void set_in_all_nodes(OptionValues& options, std::string_view name, std::string_view value) {
    constexpr std::string_view kDriver = "driver";
    std::vector<std::string> keys;
    for (const auto& [key, driver] : options.items()) {
        const bool names_driver = key == kDriver || key.ends_with(".driver");
        if (!names_driver || !has_option(driver, name)) continue;
        keys.push_back(key.substr(0, key.size() - kDriver.size()) + std::string(name));
    }
    for (const std::string& key : keys) {
        if (!options.has(key)) options.replace(key, std::string(value));
    }
}

}  // namespace zbdkit
