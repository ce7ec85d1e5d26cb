// SPDX-License-Identifier: Apache-2.0
// What a service manager wants of a daemon: a pid file, and word that it is ready.
#pragma once

#include <string>

#include "base/error.h"
#include "base/unique_fd.h"

namespace zbdkit::app {

/// A file with this process's id, locked as long as it lives and removed then.
class PidFile {
  public:
    /// Errors: the file cannot be written, or another process that lives has it locked.
    [[nodiscard]] static Outcome<PidFile> write(const std::string& filename);
    PidFile() = default;
    PidFile(PidFile&&) = default;
    PidFile& operator=(PidFile&&) = default;
    PidFile(const PidFile&) = delete;
    PidFile& operator=(const PidFile&) = delete;
    ~PidFile();

  private:
    UniqueFd fd_;
    std::string filename_;
};

/// Tells the service manager, if $NOTIFY_SOCKET names one (sd_notify(3)).
/// @param state  "READY=1" or "STOPPING=1"
void notify_service_manager(const std::string& state);

}  // namespace zbdkit::app
