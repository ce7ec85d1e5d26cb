// SPDX-License-Identifier: Apache-2.0
// DiskTable: the open disks of the process by handle. It makes every use of a handle defined: one
// that is closed is told apart from one that is open for ever, and a disk in use by a call is not
// closed under it. One to the process; any thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "capi/disk.h"

namespace zbdkit::capi {

class DiskTable {
  public:
    /// The use of a disk by one call.
    class Use {
      public:
        Use(DiskTable& table, std::uint64_t id);
        Use(const Use&) = delete;
        Use& operator=(const Use&) = delete;
        ~Use();

        /// Whether the handle is that of an open disk.
        explicit operator bool() const { return disk_ != nullptr; }
        Disk* operator->() const { return disk_; }

      private:
        DiskTable& table_;
        std::uint64_t id_;
        Disk* disk_;
    };

    /// The table of the process. It is never destroyed: calls may be in flight when it exits.
    [[nodiscard]] static DiskTable& instance();

    /// @return the handle's number, not 0
    [[nodiscard]] std::uint64_t add(std::unique_ptr<Disk> disk);

    /// Takes a disk out, for closing. Calls that come later do not find it.
    /// @return null if the handle is not that of an open disk. Waits: for the calls in flight.
    [[nodiscard]] std::unique_ptr<Disk> remove(std::uint64_t id);

  private:
    struct Entry {
        std::unique_ptr<Disk> disk;
        std::uint64_t uses = 0;
        bool closing = false;
    };

    std::mutex mutex_;
    std::condition_variable unused_;
    std::map<std::uint64_t, Entry> entries_;  // guarded by mutex_
    std::uint64_t last_id_ = 0;               // guarded by mutex_
};

}  // namespace zbdkit::capi
