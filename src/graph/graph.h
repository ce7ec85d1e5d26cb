// SPDX-License-Identifier: Apache-2.0
// Building a graph of nodes from options: each node opens its child first, so the leaf comes up
// before what stands on it. A graph is a tree: a node has one parent, which owns it, so there are
// no loops; most nodes have one child, "file".
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/options.h"
#include "block/driver.h"
#include "block/node.h"
#include "io/task.h"

namespace zbdkit {

/// Reads a node's options as a person gives them: "driver=zoned,file.driver=file,..." or, if the
/// text starts with "{", JSON with nested objects and lists; both become dotted keys, those of a
/// list with its indexes ("inject-error.0.event").
/// Errors: syntax, with the place; JSON that is no object, or holds null or a fraction.
[[nodiscard]] Outcome<OptionValues> parse_node_options(std::string_view text);

/// How many nodes deep a graph may be.
inline constexpr int kMaxGraphDepth = 16;

/// The names of a graph in the making. Each is used once, also after its node got a parent.
class NamedNodes {
  public:
    NamedNodes() = default;
    /// @param elsewhere  names that nodes of other threads have
    explicit NamedNodes(std::set<std::string> elsewhere) : elsewhere_(std::move(elsewhere)) {}

    /// Errors: the name is in use.
    [[nodiscard]] Outcome<void> claim(const std::string& name);
    void release(const std::string& name) { used_.erase(name); }

    /// Keeps an opened node until somebody takes it: a parent or an export ("--blockdev").
    /// @param node  with a name that was claimed for it
    void put(std::unique_ptr<BlockNode> node);
    /// Names a node that was opened without one, and keeps it. Errors: the name is in use.
    [[nodiscard]] Outcome<void> put_as(const std::string& name, std::unique_ptr<BlockNode> node);
    /// Errors: no such node, it is taken already, or it is on another thread.
    [[nodiscard]] Outcome<std::unique_ptr<BlockNode>> take(const std::string& name);
    /// The free node of that name, or null.
    [[nodiscard]] const BlockNode* find(const std::string& name) const;
    /// Takes one of those that nobody wanted; null when there is none left.
    [[nodiscard]] std::unique_ptr<BlockNode> take_any();
    [[nodiscard]] std::vector<std::string> free_names() const;

  private:
    std::set<std::string> elsewhere_;
    std::set<std::string> used_;
    std::map<std::string, std::unique_ptr<BlockNode>> free_;
};

/// Opens the node that the options describe, and its children first. A child is given inline
/// ("file.driver=...") or by the name of a node in `named` ("file=NAME"), which is taken from
/// there. Its name is claimed in `named`; it is not put there. Whatever was opened is closed again
/// if the open fails. Errors: unknown drivers and options (naming the nearest), a child that is
/// missing or not expected, a name that is in use, a graph too deep, and what the drivers say.
[[nodiscard]] Task<Outcome<std::unique_ptr<BlockNode>>> open_node(OpenContext& context,
                                                                  OptionValues options,
                                                                  NamedNodes& named);

/// Closes a node that an error left without an owner, so that no image stays marked as in use or
/// locked. Logs what that fails with: the error is what matters. Null is no node.
[[nodiscard]] Task<void> close_left_behind(std::unique_ptr<BlockNode> node);

/// Options for a plain file name: the zoned format over the file driver; or over the driver of a
/// storage address.
/// @param read_only  opens without a lock, so that an image in use can be looked at
/// Errors: the form of an address.
[[nodiscard]] Outcome<OptionValues> options_for_image(const std::string& filename, bool read_only);

}  // namespace zbdkit
