// SPDX-License-Identifier: Apache-2.0
// A disk for virtual machines: a vhost-user-blk back end on a socket.
#pragma once

#include <memory>

#include "app/disk_export.h"

namespace zbdkit::app {

/// As DiskExport::make().
[[nodiscard]] Outcome<std::unique_ptr<DiskExport>> make_vhost_user_export(Reactor& reactor,
                                                                          BlockBackend& backend,
                                                                          const ExportPlan& plan);

}  // namespace zbdkit::app
