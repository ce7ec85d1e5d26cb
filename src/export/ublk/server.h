// SPDX-License-Identifier: Apache-2.0
// A disk as /dev/ublkbN of this machine's kernel: adds the device, or takes over one whose server
// died, serves its requests, and takes it away at the end. One reactor.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/error.h"
#include "export/ublk/params.h"
#include "graph/backend.h"
#include "io/reactor.h"
#include "io/task.h"

namespace zbdkit::ublk {

struct ServerOptions {
    std::optional<std::uint32_t> device;  ///< N; none: the first that is free
    /// Whether device N is to be one whose server died. Without, such a device is taken over as
    /// well if its server served the same image.
    bool must_recover = false;
    std::uint16_t queue_count = 1;  ///< the kernel makes it the number of CPUs at most
    std::uint16_t queue_depth = 64;
    DiskOptions disk;
    std::string image;  ///< what is served: tells which device is whose
};

/// What was served, for the exit summary and queries.
struct ServerCounters {
    std::uint64_t refused = 0;    ///< requests, because of their form
    std::uint64_t came_back = 0;  ///< requests that an earlier server left in flight
};

class Server {
  public:
    /// @param backend  outlives the server
    /// Errors: a disk that ublk cannot have; no kernel memory.
    [[nodiscard]] static Outcome<std::unique_ptr<Server>> make(Reactor& reactor,
                                                               BlockBackend& backend,
                                                               const ServerOptions& options);
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    virtual ~Server() = default;

    /// Makes the disk appear, or go on. When this returns, its requests are served.
    /// Errors: what the kernel refuses, in words; a number that is taken; a device that belongs to
    /// another disk. Nothing is left behind then, and run() is not to be called.
    [[nodiscard]] virtual Task<Outcome<void>> start() = 0;
    /// Serves until stop(), or until somebody else stops the device, and takes the device away.
    /// Errors: it could not be taken away.
    [[nodiscard]] virtual Task<Outcome<void>> run() = 0;
    /// Makes run() end. Thread: owner reactor.
    virtual void stop() = 0;

    /// Whether the disk can go without harm. Errors: it is mounted or otherwise in use, by what.
    [[nodiscard]] virtual Task<Outcome<void>> check_unused() = 0;

    /// N. Only after start().
    [[nodiscard]] virtual std::uint32_t device() const = 0;
    /// "2 queues of 64 requests, data by USER_COPY": what came of it. Only after start().
    [[nodiscard]] virtual std::string description() const = 0;
    /// Whether start() went on with a device.
    [[nodiscard]] virtual bool has_recovered() const = 0;
    [[nodiscard]] virtual ServerCounters counters() const = 0;

  protected:
    Server() = default;
};

}  // namespace zbdkit::ublk
