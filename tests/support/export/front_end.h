// SPDX-License-Identifier: Apache-2.0
// The front end of a test: speaks vhost-user with plain blocking calls, byte by byte if it must,
// and written from the specification rather than with the codecs under test. One thread.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/unique_fd.h"
#include "virtio/guest_memory.h"
#include "virtio/virt_queue.h"

namespace zbdkit::test {

/// Requests by number. [vhost-user, "Front-end message types"]
namespace request {
inline constexpr std::uint32_t kGetFeatures = 1, kSetFeatures = 2, kSetOwner = 3, kResetOwner = 4,
                               kSetMemTable = 5, kSetLogBase = 6, kSetLogFd = 7, kSetVringNum = 8,
                               kSetVringAddr = 9, kSetVringBase = 10, kGetVringBase = 11,
                               kSetVringKick = 12, kSetVringCall = 13, kSetVringErr = 14,
                               kGetProtocolFeatures = 15, kSetProtocolFeatures = 16,
                               kGetQueueNum = 17, kSetVringEnable = 18, kSetBackendReqFd = 21,
                               kGetConfig = 24, kSetConfig = 25, kGetInflightFd = 31,
                               kSetInflightFd = 32, kResetDevice = 34, kGetMaxMemSlots = 36,
                               kAddMemReg = 37, kRemMemReg = 38;
}

/// Puts native-endian integers one after the other.
class Payload {
  public:
    Payload& u16(std::uint16_t value) { return add(bytes_of(value)); }
    Payload& u32(std::uint32_t value) { return add(bytes_of(value)); }
    Payload& u64(std::uint64_t value) { return add(bytes_of(value)); }
    Payload& add(ConstBytes bytes) {
        bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
        return *this;
    }
    Payload& region(const MemoryRegion::Place& place) {
        return u64(place.guest_address)
            .u64(place.size)
            .u64(place.user_address)
            .u64(place.fd_offset);
    }
    operator ConstBytes() const { return bytes_; }  // NOLINT: it is its bytes

  private:
    std::vector<std::byte> bytes_;
};

class FrontEnd {
  public:
    static constexpr std::uint32_t kVersion = 1;
    static constexpr std::uint32_t kNeedReply = 8;
    static constexpr int kTimeoutMs = 20'000;

    struct Reply {
        std::uint32_t request = 0;
        std::uint32_t flags = 0;
        std::vector<std::byte> payload;
        std::vector<UniqueFd> fds{};
        /// The payload as an integer; the test fails if it has another size.
        [[nodiscard]] std::uint64_t number() const;
    };

    /// Connects to a server. A failure shows as a connection that is closed.
    explicit FrontEnd(const std::string& path);
    /// Takes over a connected socket.
    explicit FrontEnd(UniqueFd socket) : socket_(std::move(socket)) {}

    void send(std::uint32_t request, ConstBytes payload = {}, std::vector<int> fds = {},
              std::uint32_t flags = kVersion);
    void send_bytes(ConstBytes bytes, const std::vector<int>& fds = {});
    /// @return nothing if the connection is closed, or nothing comes
    [[nodiscard]] std::optional<Reply> receive();

    /// Sends, and returns the number in the reply; the test fails if none comes.
    std::uint64_t ask(std::uint32_t request, ConstBytes payload = {}, std::vector<int> fds = {});
    /// Sends with need_reply and returns the acknowledgement.
    std::uint64_t acked(std::uint32_t request, ConstBytes payload = {}, std::vector<int> fds = {});
    /// @return whether the peer closes the connection (before it says anything else)
    [[nodiscard]] bool is_closed_by_peer();
    /// @return whether the connection works: a question is answered
    [[nodiscard]] bool is_alive();
    void close() { socket_.reset(); }
    [[nodiscard]] int fd() const { return socket_.get(); }

  private:
    /// Also takes the descriptors that come along.
    [[nodiscard]] bool read_exactly(MutableBytes to, std::vector<UniqueFd>& fds);
    UniqueFd socket_;
};

/// An eventfd. @param flags  0: a blocking one
[[nodiscard]] UniqueFd make_event(int flags = 0);
/// Waits for an event and clears it. @return false if none comes in time
[[nodiscard]] bool take_event(const UniqueFd& event, int timeout_ms = FrontEnd::kTimeoutMs);

}  // namespace zbdkit::test
