// SPDX-License-Identifier: Apache-2.0
// The options of a graph that is not open yet: changes to them, and what they name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/options.h"

namespace zbdkit {

/// Sets an option of every node whose driver has it, unless it was given.
/// @param options  of the topmost node, with those of its children below it
/// @return whether any has it
bool set_in_all_nodes(OptionValues& options, std::string_view name, std::string_view value);

/// What the options of a node name, those of its inline children included.
struct NodeReferences {
    std::vector<std::string> own_names;  ///< its own and those of inline children
    std::vector<std::string> children;   ///< nodes that it takes as children by their names
    std::vector<std::string> objects;    ///< ids of objects
};
/// What a driver that is unknown names is not known either.
[[nodiscard]] NodeReferences references_of(const OptionValues& options);

}  // namespace zbdkit
