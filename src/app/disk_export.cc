// SPDX-License-Identifier: Apache-2.0
#include "app/disk_export.h"

#include <utility>

#include "app/ublk_export.h"
#include "app/vhost_user_export.h"

namespace zbdkit::app {

Outcome<std::unique_ptr<DiskExport>> DiskExport::make(Reactor& reactor, BlockBackend& backend,
                                                      const ExportPlan& plan) {
    switch (plan.type) {
        case ExportType::vhost_user_blk: return make_vhost_user_export(reactor, backend, plan);
        case ExportType::ublk: return make_ublk_export(reactor, backend, plan);
    }
    std::unreachable();
}

}  // namespace zbdkit::app
