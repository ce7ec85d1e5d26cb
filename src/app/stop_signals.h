// SPDX-License-Identifier: Apache-2.0
// The signals that end `zbdkit serve`, as something that a reactor can wait for. The first one is
// read from a descriptor and ends the work in good order; the next one ends the process at once.
#pragma once

#include <utility>

#include "base/error.h"
#include "base/unique_fd.h"

namespace zbdkit::app {

class StopSignals {
  public:
    /// Takes SIGINT, SIGTERM and SIGHUP, and ignores SIGPIPE. Before other threads are made, so
    /// that they leave these signals alone.
    [[nodiscard]] static Outcome<StopSignals> take();

    /// Readable when a signal has come.
    [[nodiscard]] int fd() const { return fd_.get(); }
    /// @return the name of the signal that came, "" if none did
    [[nodiscard]] const char* read();
    /// From now on a signal ends the process at once, whatever the reactor does.
    static void end_at_once();

  private:
    explicit StopSignals(UniqueFd fd) : fd_(std::move(fd)) {}
    UniqueFd fd_;
};

}  // namespace zbdkit::app
