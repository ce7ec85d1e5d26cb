// SPDX-License-Identifier: Apache-2.0
// A vhost-user-blk back end on a Unix socket: listens, serves one front end after the other, and
// keeps the device between them. One reactor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/error.h"
#include "graph/backend.h"
#include "io/reactor.h"
#include "io/task.h"
#include "virtio/blk_device.h"

namespace zbdkit::vhost_user {

struct ServerOptions {
    std::string socket_path;
    BlkDevice::Options device;
    /// The longest that a ring which ran empty is polled before its worker sleeps; 0: not at all.
    std::uint64_t poll_bound_ns = 0;
};

/// What was served, for the exit summary and queries.
struct ServerCounters {
    std::uint64_t connections = 0;
    std::uint64_t protocol_errors = 0;        ///< connections that ended because of what they sent
    std::uint64_t refused_without_zoned = 0;  ///< negotiations of a host-managed disk without ZONED
    std::uint64_t kicks = 0;                  ///< events that announced requests
    std::uint64_t chains = 0;                 ///< requests taken from rings, unusable ones included
    std::uint64_t chains_again = 0;           ///< of them, left in flight by an earlier process
    std::uint64_t calls = 0;                  ///< events that announced results
};

class Server {
  public:
    /// Binds the socket: a stale socket is replaced, a live one is refused, anything else that
    /// exists at the path is refused.
    /// Errors: messages that name the path; a disk that virtio-blk cannot describe.
    [[nodiscard]] static Outcome<std::unique_ptr<Server>> listen(Reactor& reactor,
                                                                 BlockBackend& backend,
                                                                 const ServerOptions& options);
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    virtual ~Server() = default;

    /// Accepts and serves front ends until stop(). Await it in a TaskScope.
    [[nodiscard]] virtual Task<void> run() = 0;
    /// Makes run() end: the present front end's rings are drained and its connection is closed;
    /// the socket is removed. Thread: owner reactor.
    virtual void stop() = 0;

    /// Tells the present front end to read the configuration space again. Thread: owner reactor.
    /// @return whether it was told: it wants to be, and a ring runs
    virtual bool notify_config_change() = 0;

    [[nodiscard]] virtual const ServerCounters& counters() const = 0;
    [[nodiscard]] virtual const BlkDevice& device() const = 0;

  protected:
    Server() = default;
};

}  // namespace zbdkit::vhost_user
