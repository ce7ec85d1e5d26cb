// SPDX-License-Identifier: Apache-2.0
// A new zoned image on storage that is no file: a server's, a cluster's, or what the options of a
// node describe.
#pragma once

#include "base/error.h"
#include "base/options.h"
#include "block/driver.h"
#include "io/task.h"
#include "node/format/zoned_create.h"

namespace zbdkit::app {

/// Makes the image, and what it lies on, where that can be made.
/// @param storage  the options of the node below the image
/// @param force    also where there is data
/// Errors: messages that name the storage: too small, in use, or it has data already.
[[nodiscard]] Task<Outcome<void>> create_on_storage(OpenContext& context, OptionValues storage,
                                                    const zoned::NewImage& image, bool force);

}  // namespace zbdkit::app
