// SPDX-License-Identifier: Apache-2.0
// `zbdkit drivers`: what nodes and objects there are and which options they take, from the same
// tables that the options are parsed by. docs/manual/drivers.md is its --markdown.
#pragma once

#include <string>

namespace zbdkit::app {

struct DriversArguments {
    std::string name;       ///< a driver or kind of object; "" is a list of all
    bool markdown = false;  ///< the page of the manual
};

/// @return the exit status
[[nodiscard]] int run_drivers(const DriversArguments& arguments);

}  // namespace zbdkit::app
