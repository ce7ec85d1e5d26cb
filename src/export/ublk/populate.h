// SPDX-License-Identifier: Apache-2.0
// Memory that is there before it is needed.
#pragma once

#include "base/bytes.h"
#include "base/error.h"

namespace zbdkit::ublk {

/// Has all pages of a mapping made present for writing; their contents stay. MAP_POPULATE does not
/// do that where memory is locked on fault.
/// Errors: not enough memory.
[[nodiscard]] Outcome<void> populate(MutableBytes mapping);

}  // namespace zbdkit::ublk
