// SPDX-License-Identifier: Apache-2.0
// Building a graph of nodes from options: each node opens its child first, so the leaf comes up
// before what stands on it. A graph is a chain here: each node has at most one child and one
// parent, and the parent owns it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/options.h"
#include "block/driver.h"
#include "block/node.h"
#include "io/task.h"

namespace zbdkit {

/// Reads a node's options as a person gives them: "driver=zoned,file.driver=file,..." or, if the
/// text starts with "{", JSON with nested objects; both become dotted keys.
/// Errors: syntax, with the place; JSON that is no object, or holds a list.
[[nodiscard]] Outcome<OptionValues> parse_node_options(std::string_view text);

/// Nodes that were opened by name and wait for a parent or an export ("--blockdev").
using NamedNodes = std::map<std::string, std::unique_ptr<BlockNode>, std::less<>>;

/// Opens the node that the options describe, and its children first. A child is given inline
/// ("file.driver=...") or by the name of a node in `named` ("file=NAME"), which is taken from
/// there. Errors: unknown drivers and options (naming the nearest), a child that is missing or not
/// expected, and what the drivers say.
[[nodiscard]] Task<Outcome<std::unique_ptr<BlockNode>>> open_node(OpenContext& context,
                                                                  OptionValues options,
                                                                  NamedNodes& named);

/// Options for a plain file name: the zoned format over the file driver.
/// @param read_only  opens without a lock, so that an image in use can be looked at
[[nodiscard]] OptionValues options_for_image(const std::string& filename, bool read_only);

}  // namespace zbdkit
