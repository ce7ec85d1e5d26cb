// SPDX-License-Identifier: Apache-2.0
// Small zoned images in memory for fuzzers that put a whole disk below what they attack. The
// reactor has no kernel below it: everything happens at once, and the same for the same input.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/buffer.h"
#include "base/options.h"
#include "io/blocking_pool.h"
#include "io/reactor.h"
#include "node/format/zoned.h"
#include "node/format/zoned_create.h"
#include "node/protocol/memory.h"
#include "tests/support/io/manual_engine.h"

namespace zbdkit::test {

/// What the images are like. All of them meet limits, capacities and short last zones soon.
struct ZonedShape {
    std::uint64_t size;        ///< bytes of the device
    std::string_view options;  ///< as of `zbdkit create`
};
inline constexpr std::array kZonedShapes = {
    ZonedShape{256 * kKiB,
               "zone.size=32K,zone.capacity=24K,zone.conventional_zones=1,"
               "zone.max_open_zones=2,zone.max_active_zones=3,"
               "zone.max_append_bytes=8K,block_size=512"},
    ZonedShape{140 * kKiB,
               "zone.mode=host-aware,zone.size=32K,zone.conventional_zones=1,"
               "zone.max_append_bytes=0,block_size=512,zone.write_granularity=4K"},
    // More zones than one commit page holds.
    ZonedShape{300 * kKiB,
               "zone.size=512,zone.max_open_zones=1,zone.max_append_bytes=512,"
               "block_size=512"},
    ZonedShape{64 * kKiB, "zone.size=64K,zone.max_append_bytes=64K"},
};

/// What nodes of a fuzzer are opened with: made anew for each input.
struct FuzzWorld {
    /// No fuzzed node makes blocking calls; one pool, as a thread takes longer than a run.
    static BlockingPool& idle_pool() {
        static BlockingPool pool{1};
        return pool;
    }
    Reactor reactor{std::make_unique<ManualEngine>()};
    OpenContext context{reactor, idle_pool()};
};

/// The bytes of a new, empty image. Its uuid is random, but nothing that a fuzzer sees depends on
/// it.
/// @param shape  any number
[[nodiscard]] inline AlignedBuffer new_zoned_image(FuzzWorld& world, std::size_t shape) {
    static std::array<AlignedBuffer, kZonedShapes.size()> made;
    AlignedBuffer& original = made.at(shape % made.size());
    if (original.size() == 0) {
        const ZonedShape& wanted = kZonedShapes.at(shape % made.size());
        const OptionValues options = OptionValues::parse(wanted.options, "", "fuzz").value();
        const zoned::NewImage image = zoned::plan_image(wanted.size, options).value();
        original = AlignedBuffer(zoned::layout_of(image.geometry).image_size);
        const std::unique_ptr<BlockNode> node = make_memory_node(original.bytes());
        const Outcome<void> formatted = world.reactor.run_to_end(zoned::format_image(*node, image));
        ZBDKIT_ASSERT(formatted.has_value());
    }
    AlignedBuffer copy(original.size());
    std::ranges::copy(original.bytes(), copy.bytes().begin());
    return copy;
}

/// Opens the zoned format.
[[nodiscard]] inline Outcome<std::unique_ptr<BlockNode>> open_zoned(
    FuzzWorld& world, std::unique_ptr<BlockNode> storage, bool read_only = false) {
    OptionValues options("fuzz");
    options.replace("read-only", read_only ? "on" : "off");
    ChildNodes children;
    children.push_back(std::move(storage));
    return world.reactor.run_to_end(kZonedDriver.open(world.context, options, children));
}

/// Asserts what every report of a zoned node promises.
inline void check_zones(const ZoneGeometry& geometry, const std::vector<ZoneDescriptor>& zones) {
    std::uint64_t start = 0;
    for (const ZoneDescriptor& zone : zones) {
        ZBDKIT_ASSERT(zone.start == start && zone.length != 0);
        ZBDKIT_ASSERT(zone.capacity <= zone.length);
        start += zone.length;
        const bool has_pointer = zone.state >= ZoneState::empty && zone.state <= ZoneState::closed;
        const std::uint64_t written = zone.write_pointer - zone.start;
        ZBDKIT_ASSERT(!has_pointer || written < zone.capacity);
        ZBDKIT_ASSERT(zone.state != ZoneState::empty || written == 0);
        ZBDKIT_ASSERT((zone.type == ZoneType::conventional) <=
                      (zone.state == ZoneState::not_write_pointer ||
                       zone.state == ZoneState::read_only || zone.state == ZoneState::offline));
    }
    ZBDKIT_ASSERT(start == geometry.device_size);
}

}  // namespace zbdkit::test
