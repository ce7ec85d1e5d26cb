// SPDX-License-Identifier: Apache-2.0
// DiskExport: how one disk reaches those who use it, whatever the way: what a DiskGroup knows of
// the kinds of export. One reactor.
#pragma once

#include <memory>
#include <string>

#include "app/export_options.h"
#include "base/error.h"
#include "graph/backend.h"
#include "io/reactor.h"
#include "io/task.h"

namespace zbdkit::app {

class DiskExport {
  public:
    /// @param backend  outlives the export
    /// Errors: the disk or the options are such that it cannot be exported this way.
    [[nodiscard]] static Outcome<std::unique_ptr<DiskExport>> make(Reactor& reactor,
                                                                   BlockBackend& backend,
                                                                   const ExportPlan& plan);
    DiskExport(const DiskExport&) = delete;
    DiskExport& operator=(const DiskExport&) = delete;
    virtual ~DiskExport() = default;

    /// Makes the disk reachable. Errors: what stands in the way; run() is not to be called then.
    [[nodiscard]] virtual Task<Outcome<void>> start() = 0;
    /// Serves until stop(), or until its users end it, and finishes what is in flight.
    /// Errors: something is left behind.
    [[nodiscard]] virtual Task<Outcome<void>> run() = 0;
    /// Makes run() end.
    virtual void stop() = 0;
    /// Whether it may end. Errors: who would lose data by that.
    [[nodiscard]] virtual Task<Outcome<void>> check_unused() = 0;

    /// What is served and how to use it: whole lines.
    [[nodiscard]] virtual std::string serving() const = 0;
    /// Words to look out for, or "".
    [[nodiscard]] virtual std::string warning() const = 0;
    /// What came of it: the part of a line that only this kind of export can tell.
    [[nodiscard]] virtual std::string served() const = 0;
    /// Requests that were refused because of their form.
    [[nodiscard]] virtual std::uint64_t refused() const = 0;

  protected:
    DiskExport() = default;
};

}  // namespace zbdkit::app
