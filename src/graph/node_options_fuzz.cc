// SPDX-License-Identifier: Apache-2.0
// Options as a person gives them, dotted or JSON, up to an open graph: parsed or refused with a
// message. A graph that opens takes each operation and closes. Drivers that reach for files of the
// host are left out.
//
//   input = text
#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/assert.h"
#include "base/buffer.h"
#include "base/log.h"
#include "graph/graph.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/zoned_storage.h"

namespace zbdkit {
namespace {

constexpr std::size_t kLongestText = 4096;
constexpr std::uint64_t kMostNumber = std::numeric_limits<std::uint64_t>::max();

/// Every reading of every value: a value or a message.
void read_values(const OptionValues& options) {
    for (const auto& [key, value] : options.items()) {
        ZBDKIT_ASSERT(options.has(key) && options.text(key) == value);
        const Outcome<std::uint64_t> size = options.size(key, 0);
        ZBDKIT_ASSERT(size ? *size <= kMaxOffset : !size.error().message.empty());
        const Outcome<std::uint64_t> number = options.number(key, 0, kMostNumber);
        // Sizes take no dozens of leading zeroes, but what both take is the same.
        ZBDKIT_ASSERT(!number || !size || *size == *number);
        const Outcome<std::uint64_t> duration = options.duration_ns(key, 0, 1'000'000);
        ZBDKIT_ASSERT(!duration || *duration <= 1'000'000);
        const Outcome<bool> flag = options.flag(key, false);
        ZBDKIT_ASSERT(!flag || !number);
    }
}

/// Whether an open touches nothing but memory.
bool stays_in_memory(const OptionValues& options) {
    constexpr std::array<std::string_view, 3> kOutside = {"file", "host_device", ""};
    return std::ranges::all_of(options.items(), [&](const auto& item) {
        const auto& [key, value] = item;
        if (key.ends_with("output")) return false;
        const bool names_driver = key == "driver" || key.ends_with(".driver");
        return !names_driver || std::ranges::find(kOutside, value) == kOutside.end();
    });
}

/// One request of each kind at the start of the disk.
void try_all(test::FuzzWorld& world, BlockNode& node) {
    const std::uint64_t length = node.info().block_size;
    AlignedBuffer buffer(length);
    const iovec segment = segment_of(buffer.bytes());
    for (std::size_t op = 0; op < kOpCount; ++op) {
        Request request{.op = static_cast<Op>(op)};
        const bool has_data =
            request.op == Op::read || request.op == Op::write || request.op == Op::append;
        if (has_data) request.segments = IoSegments(&segment, 1);
        const bool has_length =
            has_data || request.op == Op::write_zeroes || request.op == Op::discard;
        if (has_length) request.range.length = length;
        const Result<void> result = world.reactor.run_to_end(node.submit(request));
        ZBDKIT_ASSERT(!result || node.info().ops.has(request.op));
    }
}

void open(OptionValues options) {
    test::FuzzWorld world;
    NamedNodes named;
    auto node = world.reactor.run_to_end(open_node(world.context, std::move(options), named));
    ZBDKIT_ASSERT(named.free_names().empty());
    if (!node) {
        ZBDKIT_ASSERT(!node.error().message.empty());
        return;
    }
    ZBDKIT_ASSERT((*node)->depth() < kMaxGraphDepth);
    try_all(world, **node);
    (void)world.reactor.run_to_end((*node)->close());
}

}  // namespace
}  // namespace zbdkit

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace zbdkit;
    spdlog::set_level(spdlog::level::off);
    if (size > kLongestText) return 0;
    Outcome<OptionValues> options =
        parse_node_options(test::text_of(std::as_bytes(std::span(data, size))));
    if (!options) {
        ZBDKIT_ASSERT(!options.error().message.empty());
        return 0;
    }
    read_values(*options);
    if (stays_in_memory(*options)) open(std::move(*options));
    return 0;
}
