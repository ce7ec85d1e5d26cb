// SPDX-License-Identifier: Apache-2.0
// Service: what a server's connections and their rings work with. The server owns all of it, and
// it outlives them. One reactor.
#pragma once

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <string>
#include <utility>

#include "base/log.h"
#include "export/vhost_user/server.h"
#include "io/reactor.h"
#include "virtio/blk_device.h"

namespace zbdkit::vhost_user {

struct Service {
    Reactor& reactor;
    BlkDevice& device;
    const std::string& name;          ///< of the socket, for the log
    std::uint64_t poll_bound_ns = 0;  ///< as ServerOptions has it
    ServerCounters counters{};
    LogLimiter log_limiter{};  ///< of everything that front ends can cause to be logged

    /// Logs what a front end or a guest did, unless there was too much of that lately.
    template <class... Args>
    void warn(fmt::format_string<Args...> text, Args&&... args) {
        if (!log_limiter.allow(reactor.now_ns())) return;
        const std::uint64_t suppressed = log_limiter.take_suppressed();
        if (suppressed != 0) {
            spdlog::warn("vhost-user {}: {} messages were held back", name, suppressed);
        }
        spdlog::warn("vhost-user {}: {}", name, fmt::format(text, std::forward<Args>(args)...));
    }
};

}  // namespace zbdkit::vhost_user
