// SPDX-License-Identifier: Apache-2.0
// MessageSocket: one front end's stream socket, cut into messages. Reads whole messages with their
// descriptors and writes whole replies, however the kernel cuts them; a peer that stops in the
// middle of a message keeps only its own connection waiting. One reactor.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/unique_fd.h"
#include "export/vhost_user/wire.h"
#include "io/file_io.h"
#include "io/reactor.h"
#include "io/task.h"

namespace zbdkit::vhost_user {

/// A message as it came: nothing but the header is checked.
struct Received {
    Header header;
    std::vector<std::byte> payload;
    std::vector<UniqueFd> fds;
};

class MessageSocket {
  public:
    /// @param fd  a connected stream socket, non-blocking
    MessageSocket(Reactor& reactor, UniqueFd fd);

    /// Waits for the next message.
    /// @return nothing if the peer closed the connection between two messages, or after stop()
    /// Errors: a connection that ends in the middle of a message, a header that is none, more
    /// descriptors than a message may have, what recvmsg says. The stream is lost then.
    /// Waits: for the peer. One receive() or send() at a time.
    [[nodiscard]] Task<Outcome<std::optional<Received>>> receive();

    /// Sends all of `bytes`.
    /// @param bytes  outlives the call
    /// @param fd     sent along with the first of them; -1: none
    /// @return false if the peer is gone, or after stop()
    /// Errors: what sendmsg says. Waits: for the peer to read.
    [[nodiscard]] Task<Outcome<bool>> send(ConstBytes bytes, int fd = -1);

    /// Ends a present wait and makes every later one end at once.
    void stop() { waiter_.stop(); }
    [[nodiscard]] bool is_stopped() const { return stopped_; }

    /// @return the process that connected, 0 if the kernel does not say
    [[nodiscard]] pid_t peer_pid() const;

  private:
    enum class Filled : std::uint8_t { whole, nothing, partly };

    [[nodiscard]] Task<Outcome<Filled>> fill(MutableBytes to, std::vector<UniqueFd>& fds);
    [[nodiscard]] Outcome<std::optional<std::size_t>> receive_some(MutableBytes to,
                                                                   std::vector<UniqueFd>& fds);

    UniqueFd fd_;
    ReadinessWaiter waiter_;
    bool stopped_ = false;
};

}  // namespace zbdkit::vhost_user
