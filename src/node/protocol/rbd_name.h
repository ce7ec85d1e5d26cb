// SPDX-License-Identifier: Apache-2.0
// The name of an RBD image as people write it where a file name is expected, in QEMU's spelling:
//
//   rbd:POOL[/NAMESPACE]/IMAGE[@SNAPSHOT][:id=USER][:conf=PATH]
//
// A backslash makes the next character an ordinary one. Pure.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/options.h"

namespace zbdkit {

/// Whether it is such a name; a file of that name is "./rbd:...".
[[nodiscard]] bool is_rbd_name(std::string_view text);

/// @param name  is_rbd_name()
/// @return options of driver "rbd"
/// Errors: a part that is empty or missing, an option other than id and conf.
[[nodiscard]] Outcome<OptionValues> parse_rbd_name(std::string_view name);

/// The name of the image that the options of driver "rbd" describe, for messages.
[[nodiscard]] std::string rbd_name_of(const OptionValues& options);

}  // namespace zbdkit
