// SPDX-License-Identifier: Apache-2.0
#include "app/create_on_storage.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/buffer.h"
#include "base/text.h"
#include "graph/graph.h"
#include "graph/registry.h"

namespace zbdkit::app {
namespace {

/// Where an image, a partition table or a file system would have something.
constexpr std::uint64_t kLookedAt = 128 * kKiB;

/// @return whether it is new
Task<Outcome<bool>> make_storage(OpenContext& context, const OptionValues& storage,
                                 std::uint64_t size) {
    const DriverInfo* const driver = co_await ok(find_driver(storage.text("driver")));
    if (driver->create == nullptr) co_return false;
    co_return co_await driver->create(context, storage, size);
}

Task<Outcome<void>> check_empty(BlockNode& node) {
    AlignedBuffer start(std::min(node.info().size, kLookedAt));
    const iovec segment = segment_of(start.bytes());
    Request request = read_request({0, start.size()}, IoSegments(&segment, 1));
    const Result<void> read = co_await node.submit(request);
    if (!read) co_return failure(fmt::format("cannot read '{}'", node.describe()), read.error());
    const bool is_empty =
        std::ranges::all_of(start.bytes(), [](std::byte byte) { return byte == std::byte{0}; });
    if (is_empty) co_return Outcome<void>{};
    co_return failure(fmt::format("'{}' has data: --force overwrites it", node.describe()));
}

Outcome<void> check_size(const BlockNode& node, std::uint64_t needed) {
    if (node.info().size >= needed) return {};
    return failure(fmt::format("'{}' has {}, and the image needs {}: expected a smaller disk, or "
                               "larger storage",
                               node.describe(), format_size(node.info().size), format_size(needed)),
                   Errc::no_space);
}

Task<Outcome<void>> format(BlockNode& node, const zoned::NewImage& image, bool may_have_data) {
    co_await ok(check_size(node, zoned::layout_of(image.geometry).image_size));
    if (!may_have_data) co_await ok(check_empty(node));
    co_return co_await zoned::format_image(node, image);
}

}  // namespace

Task<Outcome<void>> create_on_storage(OpenContext& context, OptionValues storage,
                                      const zoned::NewImage& image, bool force) {
    const std::uint64_t size = zoned::layout_of(image.geometry).image_size;
    const bool is_new = co_await ok(make_storage(context, storage, size));
    NamedNodes none;
    const std::unique_ptr<BlockNode> node =
        co_await ok(open_node(context, std::move(storage), none));
    const Outcome<void> formatted = co_await format(*node, image, force || is_new);
    Outcome<void> closed = co_await node->close();
    co_return formatted ? std::move(closed) : formatted;
}

}  // namespace zbdkit::app
