// SPDX-License-Identifier: Apache-2.0
// What a driver tells of itself: its name, its options, and how to open a node. The graph knows
// drivers only through this.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/options.h"
#include "block/node.h"
#include "io/blocking_pool.h"
#include "io/reactor.h"
#include "io/task.h"

namespace zbdkit {

/// Something that is made once by name ("--object"), mostly for nodes of several graphs to share: a
/// throttle group. Lives on the reactor of those graphs.
class SharedObject {
  public:
    SharedObject() = default;
    SharedObject(const SharedObject&) = delete;
    SharedObject& operator=(const SharedObject&) = delete;
    virtual ~SharedObject() = default;
};

/// Objects by id. Shared: owned by this list and by each node that uses one.
using SharedObjects = std::map<std::string, std::shared_ptr<SharedObject>, std::less<>>;

/// What every open needs. Outlives the nodes that are opened with it.
struct OpenContext {
    Reactor& reactor;
    BlockingPool& pool;
    SharedObjects objects{};
};

/// A kind of object that "--object" makes.
struct ObjectInfo {
    std::string_view name;
    std::string_view help;
    std::span<const OptionInfo> options;
    /// Makes an object. Errors: messages that name the option.
    Outcome<std::shared_ptr<SharedObject>> (*make)(OpenContext& context,
                                                   const OptionValues& options);
};

enum class DriverKind : std::uint8_t {
    protocol,  ///< a leaf: reaches the storage
    format,    ///< makes a device out of the bytes of its child "file"
    filter,    ///< observes or changes what passes to its child "file"
};

/// The children of a node, opened, in the order of DriverInfo::children.
using ChildNodes = std::vector<std::unique_ptr<BlockNode>>;

/// What most formats and filters stand on; protocols have no child.
inline constexpr std::array<std::string_view, 1> kOneChild = {"file"};

struct DriverInfo {
    std::string_view name;
    DriverKind kind;
    std::string_view help;
    std::span<const OptionInfo> options;
    std::span<const std::string_view> children;  ///< their names: "file" first
    /// Opens a node.
    /// @param children  opened, as many as `children` names. What a failing open has not moved
    ///                  out of them the caller closes, so check options first
    /// Errors: messages that name the driver's file or option.
    Task<Outcome<std::unique_ptr<BlockNode>>> (*open)(OpenContext& context,
                                                      const OptionValues& options,
                                                      ChildNodes& children);
    std::string_view object_option{};  ///< the option that takes the id of an object; "" if none
    /// Makes what a node can then be opened on; null where there is nothing to be made.
    /// @param size  bytes
    /// @return false if it is there already, of whatever size
    /// Errors: as open().
    Task<Outcome<bool>> (*create)(OpenContext& context, const OptionValues& options,
                                  std::uint64_t size) = nullptr;
};

}  // namespace zbdkit
