// SPDX-License-Identifier: Apache-2.0
// The front end of a vhost-user connection: negotiates, hands over memory and starts rings, with
// plain blocking calls that wait only so long. One thread. [vhost-user]
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/unique_fd.h"
#include "bench/shared_memory.h"
#include "virtio/blk_wire.h"
#include "virtio/vhost_user_protocol.h"
#include "virtio/virt_queue.h"

namespace zbdkit::bench {

class FrontEnd {
  public:
    /// @param timeout_ns  how long any answer may take
    /// Errors: nobody listens there, or what the kernel says.
    [[nodiscard]] static Outcome<FrontEnd> connect(const std::string& path,
                                                   std::uint64_t timeout_ns);

    struct Wishes {
        std::uint32_t queue_count = 1;
        bool packed = false;
    };
    struct Device {
        std::uint64_t features = 0;  ///< negotiated
        BlkConfig config{};          ///< what of it the features do not stand for is 0
        [[nodiscard]] bool has(std::uint64_t feature) const { return (features & feature) != 0; }
    };
    /// Takes all of blk_feature and ring_feature that matters to a client that is offered it.
    /// Errors: a peer that does not speak vhost-user or hangs up, too few queues, no packed rings
    /// though wished for, a device without configuration or VERSION_1.
    [[nodiscard]] Outcome<Device> negotiate(const Wishes& wishes);

    /// Errors: the server refuses, hangs up or does not answer; so do the others below.
    [[nodiscard]] Outcome<void> share(const SharedMemory& memory);

    struct QueueSetup {
        std::uint32_t index = 0;
        std::uint32_t size = 0;
        RingAddresses addresses;  ///< as SharedMemory::allocate() gave them
        RingBase base = 0;
        int kick = -1;
        int call = -1;
    };
    [[nodiscard]] Outcome<void> start_queue(const QueueSetup& setup);
    /// Waits until the server has finished with the ring.
    [[nodiscard]] Outcome<void> stop_queue(std::uint32_t index);

    /// @return whether the server closed the connection. Waits: never.
    [[nodiscard]] bool is_closed() const;
    /// @return the server's process; 0 if the kernel does not say
    [[nodiscard]] pid_t server_pid() const;
    [[nodiscard]] int fd() const { return socket_.get(); }

  private:
    using Code = vhost_user::RequestCode;

    FrontEnd(UniqueFd socket, std::string path, std::uint64_t timeout_ns)
        : socket_(std::move(socket)), path_(std::move(path)), timeout_ns_(timeout_ns) {}

    [[nodiscard]] Outcome<void> send(Code code, ConstBytes payload, int fd, std::uint32_t flags);
    [[nodiscard]] Outcome<std::vector<std::byte>> receive(Code code);
    [[nodiscard]] Outcome<void> receive_bytes(Code code, MutableBytes to);
    /// Sends a question. @return the number in the answer
    [[nodiscard]] Outcome<std::uint64_t> ask(Code code, ConstBytes payload = {});
    /// Tells something, and waits for the acknowledgement if the server gives them.
    [[nodiscard]] Outcome<void> tell(Code code, ConstBytes payload = {}, int fd = -1);
    [[nodiscard]] Outcome<void> negotiate_protocol();
    [[nodiscard]] Outcome<void> check_queues(std::uint32_t wanted);
    [[nodiscard]] Outcome<BlkConfig> read_config(bool zoned);
    [[nodiscard]] std::unexpected<Failure> hung_up(Code code) const;

    UniqueFd socket_;
    std::string path_;
    std::uint64_t timeout_ns_;
    std::uint64_t protocol_ = 0;  ///< protocol features in use
};

}  // namespace zbdkit::bench
