// SPDX-License-Identifier: Apache-2.0
// What a driver tells of itself: its name, its options, and how to open a node. The graph knows
// drivers only through this.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/error.h"
#include "base/options.h"
#include "block/node.h"
#include "io/blocking_pool.h"
#include "io/reactor.h"
#include "io/task.h"

namespace zbdkit {

/// What every open needs. Outlives the nodes that are opened with it.
struct OpenContext {
    Reactor& reactor;
    BlockingPool& pool;
};

enum class DriverKind : std::uint8_t {
    protocol,  ///< a leaf: reaches the storage
    format,    ///< makes a device out of the bytes of its child "file"
    filter,    ///< observes or changes what passes to its child "file"
};

struct DriverInfo {
    std::string_view name;
    DriverKind kind;
    std::string_view help;
    std::span<const OptionInfo> options;
    /// Opens a node.
    /// @param child  the opened child of a format or filter; null for a protocol
    /// Errors: messages that name the driver's file or option.
    Task<Outcome<std::unique_ptr<BlockNode>>> (*open)(OpenContext& context,
                                                      const OptionValues& options,
                                                      std::unique_ptr<BlockNode> child);
};

}  // namespace zbdkit
