// SPDX-License-Identifier: Apache-2.0
// Changes to the options of a graph that is not open yet.
#pragma once

#include <string_view>

#include "base/options.h"

namespace zbdkit {

/// Sets an option of every node whose driver has it, unless it was given.
/// @param options  of the topmost node, with those of its children below it
void set_in_all_nodes(OptionValues& options, std::string_view name, std::string_view value);

}  // namespace zbdkit
