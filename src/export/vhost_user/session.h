// SPDX-License-Identifier: Apache-2.0
// Session: one connection of a front end, from its first message to its last. It keeps what was
// negotiated, the guest's memory and the rings, and carries out one message after the other, each
// in full before it is answered. The device outlives it. One reactor.
//
// A message that cannot be carried out changes nothing. If the front end wants an answer it gets a
// non-zero one and may go on; otherwise it could not know, so the connection ends, with the reason
// in the log. A ring that cannot run is that ring's trouble only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"
#include "export/vhost_user/memory_table.h"
#include "export/vhost_user/ring.h"
#include "export/vhost_user/service.h"
#include "export/vhost_user/socket.h"
#include "export/vhost_user/wire.h"
#include "io/task.h"

namespace zbdkit::vhost_user {

class Session {
  public:
    /// @param socket  connected, non-blocking
    Session(Service& service, UniqueFd socket);
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    ~Session();

    /// Serves the front end until it leaves, breaks the protocol, or stop(). Then the rings are
    /// drained, memory and descriptors are gone and the device is reset.
    [[nodiscard]] Task<void> run();
    void stop() { socket_.stop(); }

    /// Tells the front end to read the configuration space again, if it wants to be told and a
    /// ring runs (otherwise it must not be spoken to). Never waits: the front end answers on the
    /// main socket.
    /// @return whether it was told
    bool notify_config_change();

    [[nodiscard]] pid_t peer_pid() const { return socket_.peer_pid(); }

    static constexpr std::uint64_t kProtocolFeatures =
        protocol_feature::kMultiQueue | protocol_feature::kLogShmfd | protocol_feature::kReplyAck |
        protocol_feature::kBackendReq | protocol_feature::kConfig |
        protocol_feature::kInflightShmfd | protocol_feature::kResetDevice |
        protocol_feature::kConfigureMemSlots;

  private:
    using Fds = std::vector<UniqueFd>;
    /// What a message that was carried out leads to.
    struct Answer {
        std::vector<std::byte> reply{};  ///< its own reply, if it has one
        std::uint64_t ack = 0;           ///< what to answer if it has none and one is wanted
        UniqueFd fd{};                   ///< goes with the reply
    };
    using Answered = Task<Outcome<Answer>>;

    [[nodiscard]] Task<Outcome<void>> serve_messages();
    [[nodiscard]] Task<Outcome<bool>> handle(Received& received);
    [[nodiscard]] Answered carry_out(Received& received);

    // One for each message.
    [[nodiscard]] Answered on(const GetFeatures& message, Fds& fds);
    [[nodiscard]] Answered on(const SetFeatures& message, Fds& fds);
    [[nodiscard]] Answered on(const SetOwner& message, Fds& fds);
    [[nodiscard]] Answered on(const ResetOwner& message, Fds& fds);
    [[nodiscard]] Answered on(const SetMemTable& message, Fds& fds);
    [[nodiscard]] Answered on(const SetLogBase& message, Fds& fds);
    [[nodiscard]] Answered on(const SetLogFd& message, Fds& fds);
    [[nodiscard]] Answered on(const SetVringNum& message, Fds& fds);
    [[nodiscard]] Answered on(const SetVringAddr& message, Fds& fds);
    [[nodiscard]] Answered on(const SetVringBase& message, Fds& fds);
    [[nodiscard]] Answered on(const GetVringBase& message, Fds& fds);
    [[nodiscard]] Answered on(const SetVringFd& message, Fds& fds);
    [[nodiscard]] Answered on(const GetProtocolFeatures& message, Fds& fds);
    [[nodiscard]] Answered on(const SetProtocolFeatures& message, Fds& fds);
    [[nodiscard]] Answered on(const GetQueueNum& message, Fds& fds);
    [[nodiscard]] Answered on(const SetVringEnable& message, Fds& fds);
    [[nodiscard]] Answered on(const SetBackendReqFd& message, Fds& fds);
    [[nodiscard]] Answered on(const GetConfig& message, Fds& fds);
    [[nodiscard]] Answered on(const SetConfig& message, Fds& fds);
    [[nodiscard]] Answered on(const GetInflightFd& message, Fds& fds);
    [[nodiscard]] Answered on(const SetInflightFd& message, Fds& fds);
    [[nodiscard]] Answered on(const ResetDevice& message, Fds& fds);
    [[nodiscard]] Answered on(const GetMaxMemSlots& message, Fds& fds);
    [[nodiscard]] Answered on(const AddMemReg& message, Fds& fds);
    [[nodiscard]] Answered on(const RemMemReg& message, Fds& fds);
    [[nodiscard]] Answered on(const Unknown& message, Fds& fds);

    [[nodiscard]] std::uint64_t offered_features() const;
    void negotiate(std::uint64_t features);
    [[nodiscard]] Outcome<Ring*> find_ring(std::uint32_t index);
    [[nodiscard]] std::uint64_t try_start(Ring& ring);
    [[nodiscard]] Task<void> reset_rings();
    [[nodiscard]] Task<void> memory_changed();
    void log_changed();
    [[nodiscard]] Outcome<void> check_shape(InflightShape shape) const;
    [[nodiscard]] Task<Outcome<void>> judge_inflight(InflightRegion& region);
    void drop_inflight();
    [[nodiscard]] bool any_ring_is_active() const;
    [[nodiscard]] std::string peer() const;

    Service& service_;
    MessageSocket socket_;
    std::uint64_t features_ = 0;
    std::uint64_t protocol_features_ = 0;
    MemoryTable memory_table_;
    std::shared_ptr<const DirtyLog> log_;       // shared with the rings that log
    UniqueFd backend_channel_;                  // for messages of ours; may be none
    std::unique_ptr<InflightRegion> inflight_;  // may be none
    RingEnvironment environment_;
    std::vector<std::unique_ptr<Ring>> rings_;
};

}  // namespace zbdkit::vhost_user
