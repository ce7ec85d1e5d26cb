// SPDX-License-Identifier: Apache-2.0
// `zbdkit create`: makes a zoned image in a new sparse file, on other storage, or over what is
// there with
// --force.
#pragma once

#include <string>
#include <vector>

namespace zbdkit::app {

struct CreateArguments {
    std::string filename;    ///< or the address of a storage
    std::string image_opts;  ///< node options instead
    std::string size;
    std::vector<std::string> options;  ///< each "zone.size=64M,zone.capacity=..."
    bool force = false;
    bool any_guest = false;
};

/// @return the exit status
[[nodiscard]] int run_create(const CreateArguments& arguments);

/// The zone.* options with their defaults, for help.
[[nodiscard]] std::string create_options_help();

}  // namespace zbdkit::app
