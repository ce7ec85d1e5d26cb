// SPDX-License-Identifier: Apache-2.0
#include "app/disk_argument.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "base/unique_fd.h"
#include "graph/graph.h"
#include "graph/node_options.h"
#include "graph/storage_address.h"
#include "node/protocol/block_device.h"

namespace zbdkit::app {
namespace {

/// Whether the name is that of a zoned block device of the host, which needs no format.
bool is_host_zoned_device(const std::string& filename) {
    const UniqueFd fd(::open(filename.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    return fd && is_zoned_block_device(fd.get());
}

OptionValues options_for_device(const std::string& filename, Access access) {
    OptionValues options("node options");
    options.replace("driver", "host_device");
    options.replace("filename", filename);
    if (access == Access::look) make_read_only(options);
    return options;
}

Outcome<OptionValues> options_for_filename(const std::string& filename, Access access) {
    if (!is_storage_address(filename) && is_host_zoned_device(filename)) {
        return options_for_device(filename, access);
    }
    return options_for_image(filename, access == Access::look);
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
    if (!disk.filename.empty()) return options_for_filename(disk.filename, access);
    Outcome<OptionValues> options = parse_node_options(disk.image_opts);
    if (options && access == Access::look) {
        make_read_only(*options);
        set_in_all_nodes(*options, "locking", "off");
    }
    return options;
}

void make_read_only(OptionValues& options) { set_in_all_nodes(options, "read-only", "on"); }

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

}  // namespace zbdkit::app
