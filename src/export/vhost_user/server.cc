// SPDX-License-Identifier: Apache-2.0
#include "export/vhost_user/server.h"

#include <fmt/format.h>
#include <poll.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "base/trace.h"
#include "export/vhost_user/listener.h"
#include "export/vhost_user/service.h"
#include "export/vhost_user/session.h"
#include "io/file_io.h"
#include "io/scope.h"

namespace zbdkit::vhost_user {
namespace {

/// How long a second front end waits for the first one to leave: a VMM that is started again
/// connects while the requests of its former life are still being drained.
constexpr std::uint64_t kHandoverNs = 1'000'000'000;
constexpr std::uint64_t kHandoverStepNs = 10'000'000;
/// Before accepting again when the process is out of descriptors or memory.
constexpr std::uint64_t kAcceptRetryNs = 100'000'000;

class UnixServer final : public Server {
  public:
    UnixServer(Reactor& reactor, BlockBackend& backend, const ServerOptions& options,
               Listener listener)
        : reactor_(reactor),
          path_(options.socket_path),
          device_(backend, options.device, [&reactor] { return reactor.now_ns(); }),
          service_{reactor_, device_, path_, options.poll_bound_ns},
          listener_(std::move(listener)),
          accept_waiter_(reactor, listener_.fd()) {}
    ~UnixServer() override { ZBDKIT_ASSERT(session_ == nullptr); }

    [[nodiscard]] Task<void> run() override;
    void stop() override;

    bool notify_config_change() override {
        return session_ != nullptr && session_->notify_config_change();
    }
    [[nodiscard]] const ServerCounters& counters() const override { return service_.counters; }
    [[nodiscard]] const BlkDevice& device() const override { return device_; }

  private:
    [[nodiscard]] Task<UniqueFd> next_connection();
    [[nodiscard]] Task<void> wait_for_handover();
    [[nodiscard]] Task<void> serve(UniqueFd connection);

    Reactor& reactor_;
    std::string path_;
    BlkDevice device_;
    Service service_;
    Listener listener_;
    ReadinessWaiter accept_waiter_;
    std::unique_ptr<Session> session_;
    bool stopping_ = false;
};

Task<void> UnixServer::run() {
    TaskScope sessions;
    while (!stopping_) {
        UniqueFd connection = co_await next_connection();
        if (!connection) break;
        co_await wait_for_handover();
        if (stopping_) break;
        if (session_ == nullptr) {
            sessions.spawn(serve(std::move(connection)));
        } else {
            service_.warn("refused a second front end, process {} is being served",
                          session_->peer_pid());
        }
    }
    // At once: whoever connects while requests are drained would wait for nothing.
    listener_.close();
    co_await sessions.join();
}

/// @return nothing when the server is to stop
Task<UniqueFd> UnixServer::next_connection() {
    while (!stopping_) {
        const bool is_ready = co_await accept_waiter_.wait(POLLIN);
        if (!is_ready) break;
        UniqueFd connection = listener_.accept();
        if (connection) co_return std::move(connection);
        const int code = errno;
        if (code == EAGAIN || code == EINTR || code == ECONNABORTED) continue;
        service_.warn("cannot accept a front end: {}", std::strerror(code));
        co_await reactor_.sleep_ns(kAcceptRetryNs);
    }
    co_return UniqueFd();
}

/// Waits until no session is left, for kHandoverNs at most.
Task<void> UnixServer::wait_for_handover() {
    const std::uint64_t deadline_ns = reactor_.now_ns() + kHandoverNs;
    while (session_ != nullptr && !stopping_ && reactor_.now_ns() < deadline_ns) {
        co_await reactor_.sleep_ns(kHandoverStepNs);
    }
}

Task<void> UnixServer::serve(UniqueFd connection) {
    ++service_.counters.connections;
    session_ = std::make_unique<Session>(service_, std::move(connection));
    const auto pid = static_cast<std::uint32_t>(session_->peer_pid());
    ZBDKIT_TRACE(session_connected, path_.c_str(), pid);
    spdlog::debug("vhost-user {}: serving process {}", path_, pid);
    co_await session_->run();
    session_.reset();
    ZBDKIT_TRACE(session_closed, path_.c_str(), pid);
    spdlog::debug("vhost-user {}: process {} is gone", path_, pid);
}

void UnixServer::stop() {
    stopping_ = true;
    accept_waiter_.stop();
    if (session_ != nullptr) session_->stop();
}

}  // namespace

Outcome<std::unique_ptr<Server>> Server::listen(Reactor& reactor, BlockBackend& backend,
                                                const ServerOptions& options) {
    ZBDKIT_ASSERT(options.device.queue_count >= 1 &&
                  options.device.queue_count <= BlkDevice::kMaxQueues);
    const Outcome<void> fits = BlkDevice::check(backend.info(), options.device);
    if (!fits) return failure(options.socket_path + ": " + fits.error().message);
    Outcome<Listener> listener = Listener::open(options.socket_path);
    if (!listener) return std::unexpected(listener.error());
    std::unique_ptr<Server> server =
        std::make_unique<UnixServer>(reactor, backend, options, std::move(*listener));
    return server;
}

}  // namespace zbdkit::vhost_user
