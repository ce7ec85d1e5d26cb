// SPDX-License-Identifier: Apache-2.0
// A disk of this machine's kernel: /dev/ublkbN.
#pragma once

#include <memory>

#include "app/disk_export.h"

namespace zbdkit::app {

/// As DiskExport::make().
[[nodiscard]] Outcome<std::unique_ptr<DiskExport>> make_ublk_export(Reactor& reactor,
                                                                    BlockBackend& backend,
                                                                    const ExportPlan& plan);

}  // namespace zbdkit::app
