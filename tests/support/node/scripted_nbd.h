// SPDX-License-Identifier: Apache-2.0
// An NBD server that says what a test wants it to say, also what no honest one would. It listens on
// a port of this host, and has a thread that runs the script for one connection after the other.
// What is sent to somebody who is gone is dropped, so scripts need not look.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "base/unique_fd.h"

namespace zbdkit::test {

/// A request as it came.
struct NbdAsked {
    std::uint16_t type = 0;  ///< 0 read, 1 write, 2 good-bye, 3 flush
    std::uint64_t cookie = 0;
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
};

/// What a script says of the export.
struct NbdClaims {
    std::uint64_t size = 1048576;
    std::uint16_t flags = 0x5;   ///< has flags, flush
    std::uint32_t smallest = 0;  ///< of the block sizes; 0: none is told
    std::uint32_t preferred = 4096;
    std::uint32_t largest = 33554432;
};

/// The server's end of a connection.
class NbdPeer {
  public:
    explicit NbdPeer(int fd) : fd_(fd) {}

    /// Whether the other side, or the test, has ended the connection.
    [[nodiscard]] bool is_gone() const { return is_gone_; }
    void send(std::string_view bytes);
    /// @return zeroes if the other side is gone
    [[nodiscard]] std::string receive(std::size_t length);

    /// The first words of a server, and the client's answer.
    void greet();
    /// Answers options up to the one that starts the export.
    void negotiate(const NbdClaims& claims);
    /// Greets and negotiates; structured replies are agreed on.
    void serve(const NbdClaims& claims) {
        greet();
        negotiate(claims);
    }
    void reply_to_option(std::uint32_t option, std::uint32_t type, std::string_view payload);

    /// With the data of a write, which is dropped.
    [[nodiscard]] NbdAsked next_request();
    void simple_reply(std::uint64_t cookie, std::uint32_t os_errno);
    /// A structured reply, the only one or the last, unless the flags are 0.
    void chunk(std::uint64_t cookie, std::uint16_t type, std::string_view payload,
               std::uint16_t flags = 1);
    /// The data of a read. @param at  the offset that the reply claims
    void data_chunk(const NbdAsked& asked, std::uint64_t at, std::size_t length);
    /// The same where more follows.
    void data_piece(const NbdAsked& asked, std::uint64_t at, std::size_t length);
    void error_chunk(std::uint64_t cookie, std::uint32_t os_errno, std::string_view text);
    /// Waits until the other side ends the connection.
    void wait_for_end();

  private:
    int fd_;
    bool is_gone_ = false;
};

/// The bytes of a number in the order of the protocol.
[[nodiscard]] std::string big_endian(std::uint64_t value, std::size_t width);

class ScriptedNbd {
  public:
    using Script = std::function<void(NbdPeer& peer)>;

    explicit ScriptedNbd(Script script);
    ScriptedNbd(const ScriptedNbd&) = delete;
    ScriptedNbd& operator=(const ScriptedNbd&) = delete;
    ~ScriptedNbd();

    [[nodiscard]] std::string uri() const;

  private:
    void run();
    [[nodiscard]] bool take(const UniqueFd& connection);
    [[nodiscard]] bool give_back();

    UniqueFd listener_;
    Script script_;
    std::mutex mutex_;
    int connection_ = -1;     ///< the present one; guarded by mutex_
    bool is_ending_ = false;  ///< guarded by mutex_
    std::thread thread_;
};

}  // namespace zbdkit::test
