// SPDX-License-Identifier: Apache-2.0
#include "tests/support/node/scripted_nbd.h"

#include <sys/socket.h>
#include <unistd.h>

#include <utility>

#include "base/assert.h"
#include "tests/support/node/listening_port.h"

namespace zbdkit::test {
namespace {

constexpr std::uint64_t kOptionReplyMagic = 0x0003e889045565a9;
constexpr std::uint32_t kStructuredReplyMagic = 0x668e33ef;
constexpr std::uint32_t kSimpleReplyMagic = 0x67446698;

constexpr std::uint32_t kOptionGo = 7;
constexpr std::uint32_t kOptionStructuredReply = 8;
constexpr std::uint32_t kReplyAck = 1;
constexpr std::uint32_t kReplyInfo = 3;
constexpr std::uint32_t kReplyUnsupported = 0x80000001;

/// No client of a test sends more in one message.
constexpr std::size_t kLongestMessage = std::size_t{64} << 20;

std::uint64_t number_at(const std::string& bytes, std::size_t at, std::size_t width) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < width; ++i) {
        value = value << 8 | static_cast<unsigned char>(bytes.at(at + i));
    }
    return value;
}

}  // namespace

std::string big_endian(std::uint64_t value, std::size_t width) {
    std::string bytes(width, '\0');
    for (std::size_t i = width; i-- > 0; value >>= 8) bytes.at(i) = static_cast<char>(value & 0xff);
    return bytes;
}

// --- The server's end ---------------------------------------------------------------------------

void NbdPeer::send(std::string_view bytes) {
    while (!bytes.empty() && !is_gone_) {
        const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        is_gone_ = sent <= 0;
        if (!is_gone_) bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
}

std::string NbdPeer::receive(std::size_t length) {
    ZBDKIT_ASSERT(length <= kLongestMessage);
    std::string bytes(length, '\0');
    for (std::size_t done = 0; done < length && !is_gone_;) {
        const ssize_t got = ::recv(fd_, bytes.data() + done, length - done, 0);
        is_gone_ = got <= 0;
        if (!is_gone_) done += static_cast<std::size_t>(got);
    }
    return is_gone_ ? std::string(length, '\0') : bytes;
}

void NbdPeer::greet() {
    send("NBDMAGICIHAVEOPT");
    send(big_endian(0x3, 2));  // fixed newstyle, no padding
    static_cast<void>(receive(4));
}

void NbdPeer::reply_to_option(std::uint32_t option, std::uint32_t type, std::string_view payload) {
    send(big_endian(kOptionReplyMagic, 8));
    send(big_endian(option, 4));
    send(big_endian(type, 4));
    send(big_endian(payload.size(), 4));
    send(payload);
}

void NbdPeer::negotiate(const NbdClaims& claims) {
    while (!is_gone_) {
        const std::string header = receive(16);
        const auto option = static_cast<std::uint32_t>(number_at(header, 8, 4));
        static_cast<void>(receive(number_at(header, 12, 4)));
        if (option == kOptionStructuredReply) {
            reply_to_option(option, kReplyAck, "");
        } else if (option != kOptionGo) {
            reply_to_option(option, kReplyUnsupported, "");
        } else {
            break;
        }
    }
    reply_to_option(kOptionGo, kReplyInfo,
                    big_endian(0, 2) + big_endian(claims.size, 8) + big_endian(claims.flags, 2));
    if (claims.smallest != 0) {
        reply_to_option(kOptionGo, kReplyInfo,
                        big_endian(3, 2) + big_endian(claims.smallest, 4) +
                            big_endian(claims.preferred, 4) + big_endian(claims.largest, 4));
    }
    reply_to_option(kOptionGo, kReplyAck, "");
}

NbdAsked NbdPeer::next_request() {
    const std::string header = receive(28);
    const NbdAsked asked = {.type = static_cast<std::uint16_t>(number_at(header, 6, 2)),
                            .cookie = number_at(header, 8, 8),
                            .offset = number_at(header, 16, 8),
                            .length = static_cast<std::uint32_t>(number_at(header, 24, 4))};
    if (asked.type == 1) static_cast<void>(receive(asked.length));
    return asked;
}

void NbdPeer::simple_reply(std::uint64_t cookie, std::uint32_t os_errno) {
    send(big_endian(kSimpleReplyMagic, 4) + big_endian(os_errno, 4) + big_endian(cookie, 8));
}

void NbdPeer::chunk(std::uint64_t cookie, std::uint16_t type, std::string_view payload,
                    std::uint16_t flags) {
    send(big_endian(kStructuredReplyMagic, 4) + big_endian(flags, 2) + big_endian(type, 2) +
         big_endian(cookie, 8) + big_endian(payload.size(), 4));
    send(payload);
}

void NbdPeer::data_chunk(const NbdAsked& asked, std::uint64_t at, std::size_t length) {
    chunk(asked.cookie, 1, big_endian(at, 8) + std::string(length, 'x'));
}

void NbdPeer::data_piece(const NbdAsked& asked, std::uint64_t at, std::size_t length) {
    chunk(asked.cookie, 1, big_endian(at, 8) + std::string(length, 'x'), 0);
}

void NbdPeer::error_chunk(std::uint64_t cookie, std::uint32_t os_errno, std::string_view text) {
    chunk(cookie, 32769, big_endian(os_errno, 4) + big_endian(text.size(), 2) + std::string(text));
}

void NbdPeer::wait_for_end() {
    while (!is_gone_) static_cast<void>(receive(1));
}

// --- The server ---------------------------------------------------------------------------------

ScriptedNbd::ScriptedNbd(Script script)
    : listener_(listening_port("127.0.0.1")),
      script_(std::move(script)),
      thread_([this] { run(); }) {}

ScriptedNbd::~ScriptedNbd() {
    {
        const std::lock_guard lock(mutex_);
        is_ending_ = true;
        ::shutdown(listener_.get(), SHUT_RDWR);
        if (connection_ >= 0) ::shutdown(connection_, SHUT_RDWR);
    }
    thread_.join();
}

std::string ScriptedNbd::uri() const {
    return "nbd://127.0.0.1:" + std::to_string(port_of(listener_)) + "/";
}

bool ScriptedNbd::take(const UniqueFd& connection) {
    const std::lock_guard lock(mutex_);
    if (is_ending_ || !connection) return false;
    connection_ = connection.get();
    return true;
}

bool ScriptedNbd::give_back() {
    const std::lock_guard lock(mutex_);
    connection_ = -1;
    return !is_ending_;
}

void ScriptedNbd::run() {
    bool goes_on = true;
    while (goes_on) {
        const UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!take(connection)) return;
        NbdPeer peer(connection.get());
        script_(peer);
        goes_on = give_back();
    }
}

}  // namespace zbdkit::test
