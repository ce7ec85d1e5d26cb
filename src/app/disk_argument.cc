// SPDX-License-Identifier: Apache-2.0
#include "app/disk_argument.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "graph/registry.h"
#include "node/protocol/host_zones.h"

namespace zbdkit::app {
namespace {

bool has_option(std::string_view driver_name, std::string_view name) {
    const Outcome<const DriverInfo*> driver = find_driver(driver_name);
    return driver && std::ranges::any_of((*driver)->options, [name](const OptionInfo& option) {
               return option.name == name;
           });
}

/// Sets an option of every node whose driver has it, unless it was given.
void set_everywhere(OptionValues& options, std::string_view name, std::string_view value) {
    std::vector<std::string> keys;
    for (const auto& [key, driver] : options.items()) {
        const bool names_driver = key == "driver" || key.ends_with(".driver");
        if (!names_driver || !has_option(driver, name)) continue;
        const std::string prefix = key.substr(0, key.size() - std::string_view("driver").size());
        keys.push_back(prefix + std::string(name));
    }
    for (const std::string& key : keys) {
        if (!options.has(key)) options.replace(key, std::string(value));
    }
}

}  // namespace

Outcome<OptionValues> disk_options(const DiskArgument& disk, Access access) {
    if (disk.filename.empty() == disk.image_opts.empty()) {
        return failure(
            disk.filename.empty()
                ? "which disk? expected a file name, or --image-opts with node options"
                : fmt::format("expected either '{}' or --image-opts, not both", disk.filename),
            Errc::not_supported);
    }
    if (!disk.filename.empty()) return options_for_image(disk.filename, access == Access::look);
    Outcome<OptionValues> options = parse_node_options(disk.image_opts);
    if (options && access == Access::look) {
        make_read_only(*options);
        set_everywhere(*options, "locking", "off");
    }
    return options;
}

void make_read_only(OptionValues& options) { set_everywhere(options, "read-only", "on"); }

Task<Outcome<ImageStorage>> open_image_storage(OpenContext& context, OptionValues& options) {
    if (options.text("driver") != "zoned") {
        co_return failure(fmt::format("driver '{}' is no image format: expected driver=zoned",
                                      options.text("driver")),
                          Errc::not_supported);
    }
    OptionValues below = options.take_below("file", "node options");
    ImageStorage storage;
    if (below.text("driver") == "file") storage.filename = below.text("filename");
    NamedNodes none;
    storage.node = co_await ok(open_node(context, std::move(below), none));
    co_return storage;
}

UniqueFd open_host_zoned_device(const DiskArgument& disk) {
    if (disk.filename.empty()) return {};
    UniqueFd fd(::open(disk.filename.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (fd && !is_zoned_block_device(fd.get())) fd.reset();
    return fd;
}

}  // namespace zbdkit::app
