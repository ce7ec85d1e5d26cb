// SPDX-License-Identifier: Apache-2.0
// Stacks of filters and formats over a zoned node. They are made of every driver in the registry,
// so that a new one is in them without further ado; all it needs is options with which it changes
// nothing, in the table of stacks.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "block/driver.h"
#include "graph/graph.h"
#include "io/task.h"

namespace zbdkit::test {

/// Drivers over a zoned node, from the lowest to the top.
using Stack = std::vector<const DriverInfo*>;

/// Every filter and format of the registry, each once, whatever names it has.
[[nodiscard]] std::vector<const DriverInfo*> drivers_with_a_child();

/// How a driver is put over a zoned node so that the disk stays the same.
struct Neutral {
    enum class Kind : std::uint8_t {
        same,     ///< the options make it change nothing
        trims,    ///< a window that leaves out one zone on either side
        refuses,  ///< it cannot carry zones: opening it is an error
    };
    std::string_view driver;
    Kind kind = Kind::same;
    std::string_view options;
};

/// @return none for a driver that has no entry in the table yet
[[nodiscard]] std::optional<Neutral> neutral(const DriverInfo& driver);

/// Those that carry zones.
[[nodiscard]] std::vector<const DriverInfo*> stackable_drivers();

/// Every stack of exactly so many drivers.
[[nodiscard]] std::vector<Stack> stacks_of_depth(std::size_t depth);
/// Some of them, drawn with the seed of the random tests.
[[nodiscard]] std::vector<Stack> sample_of_depth(std::size_t depth, std::size_t count);

/// "throttle_raw"; "plain" for no drivers.
[[nodiscard]] std::string name_of(const Stack& stack);

/// How many zones of the node below the stack it leaves out on either side.
[[nodiscard]] std::uint32_t trimmed_zones(const Stack& stack);

/// Opens the stack over a node. Errors: what the drivers say.
[[nodiscard]] Task<Outcome<std::unique_ptr<BlockNode>>> open_stack(OpenContext& context,
                                                                   const Stack& stack,
                                                                   std::unique_ptr<BlockNode> node);

}  // namespace zbdkit::test
