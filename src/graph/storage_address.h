// SPDX-License-Identifier: Apache-2.0
// Images that are not in a file: an address stands where a file name does.
//
//   nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH, nbds://..., nbds+unix://...
//   rbd:POOL[/NAMESPACE]/IMAGE[@SNAPSHOT][:id=USER][:conf=PATH]   (node/protocol/rbd_name.h)
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/options.h"

namespace zbdkit {

/// Whether the text is an address; a file of that name is "./nbd:...".
[[nodiscard]] bool is_storage_address(std::string_view text);

/// The options of the protocol node that reaches what an address names, its driver among them.
/// Errors: the form of an rbd name.
[[nodiscard]] Outcome<OptionValues> storage_options(const std::string& address);

/// Makes the options of a node those of a child, "file" for example.
void put_below(OptionValues& options, std::string_view child, const OptionValues& below);

}  // namespace zbdkit
