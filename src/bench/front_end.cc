// SPDX-License-Identifier: Apache-2.0
#include "bench/front_end.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "base/text.h"

namespace zbdkit::bench {
namespace {

using vhost_user::Header;
using vhost_user::RequestCode;
namespace feature = vhost_user::feature;
namespace protocol_feature = vhost_user::protocol_feature;

/// What a client makes use of. FLUSH: without it every write is synced.
constexpr std::uint64_t kUseful = blk_feature::kReadOnly | blk_feature::kBlockSize |
                                  blk_feature::kFlush | blk_feature::kMultiQueue |
                                  blk_feature::kZoned | ring_feature::kEventIdx |
                                  ring_feature::kVersion1 | feature::kProtocolFeatures;
constexpr std::uint64_t kUsefulProtocol =
    protocol_feature::kMultiQueue | protocol_feature::kReplyAck | protocol_feature::kConfig;
/// The configuration space up to the end of WRITE_ZEROES: servers refuse to give more than they
/// know, and only those who know zones are asked for the rest.
constexpr std::uint32_t kPlainConfigSize = 60;

/// Integers of a payload one after the other, in native order as the protocol has them.
class Payload {
  public:
    Payload& u32(std::uint32_t value) { return add(bytes_of(value)); }
    Payload& u64(std::uint64_t value) { return add(bytes_of(value)); }
    Payload& add(ConstBytes bytes) {
        bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
        return *this;
    }
    operator ConstBytes() const { return bytes_; }  // NOLINT: it is its bytes

  private:
    std::vector<std::byte> bytes_;
};

Payload number(std::uint64_t value) {
    Payload payload;
    payload.u64(value);
    return payload;
}

Payload state(std::uint32_t index, std::uint32_t value) {
    Payload payload;
    payload.u32(index).u32(value);
    return payload;
}

Payload addresses_of(const FrontEnd::QueueSetup& setup) {
    const RingAddresses& at = setup.addresses;
    Payload payload;
    payload.u32(setup.index)
        .u32(0)
        .u64(SharedMemory::user_address(at.descriptors))
        .u64(SharedMemory::user_address(at.device))
        .u64(SharedMemory::user_address(at.driver))
        .u64(0);
    return payload;
}

const char* name_of(RequestCode code) { return vhost_user::request_name(std::to_underlying(code)); }

timeval time_of(std::uint64_t duration_ns) {
    constexpr std::uint64_t kSecond = 1'000'000'000;
    timeval time{};
    time.tv_sec = static_cast<time_t>(duration_ns / kSecond);
    // Zero would be no limit at all.
    time.tv_usec = static_cast<suseconds_t>(duration_ns % kSecond / 1000 + 1);
    return time;
}

}  // namespace

// --- messages ---------------------------------------------------------------------------------

Outcome<FrontEnd> FrontEnd::connect(const std::string& path, std::uint64_t timeout_ns) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        return failure(fmt::format("socket '{}': a path of {} bytes, expected at most {}", path,
                                   path.size(), sizeof address.sun_path - 1));
    }
    std::memcpy(address.sun_path, path.data(), path.size());
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval limit = time_of(timeout_ns);
    const void* generic = &address;
    if (!socket || ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0 ||
        ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0 ||
        ::connect(socket.get(), static_cast<const sockaddr*>(generic), sizeof address) != 0) {
        return failure(fmt::format("cannot connect to '{}'", path),
                       error_from_errno(errno, "expected the socket of a vhost-user-blk server"));
    }
    return FrontEnd(std::move(socket), path, timeout_ns);
}

std::unexpected<Failure> FrontEnd::hung_up(Code code) const {
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return failure(
            fmt::format("'{}': no answer to {} within {}; is it no vhost-user server, or "
                        "busy with another front end?",
                        path_, name_of(code), format_duration(timeout_ns_)));
    }
    return failure(fmt::format("'{}': the server hung up at {}", path_, name_of(code)));
}

Outcome<void> FrontEnd::send(Code code, ConstBytes payload, int fd, std::uint32_t flags) {
    const Header header{.request = std::to_underlying(code),
                        .flags = Header::kVersion | flags,
                        .size = static_cast<std::uint32_t>(payload.size())};
    Payload message;
    message.add(bytes_of(header)).add(payload);
    const ConstBytes bytes(message);
    iovec segment{const_cast<std::byte*>(bytes.data()), bytes.size()};
    msghdr envelope{};
    envelope.msg_iov = &segment;
    envelope.msg_iovlen = 1;
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof fd)> control{};
    if (fd >= 0) {
        envelope.msg_control = control.data();
        envelope.msg_controllen = control.size();
        cmsghdr* part = CMSG_FIRSTHDR(&envelope);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(sizeof fd);
        std::memcpy(CMSG_DATA(part), &fd, sizeof fd);
    }
    const ssize_t sent = ::sendmsg(socket_.get(), &envelope, MSG_NOSIGNAL);
    if (sent != static_cast<ssize_t>(bytes.size())) return hung_up(code);
    return {};
}

Outcome<void> FrontEnd::receive_bytes(Code code, MutableBytes to) {
    while (!to.empty()) {
        errno = 0;
        const ssize_t got = ::recv(socket_.get(), to.data(), to.size(), 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return hung_up(code);
        to = to.subspan(static_cast<std::size_t>(got));
    }
    return {};
}

Outcome<std::vector<std::byte>> FrontEnd::receive(Code code) {
    Header header;
    const Outcome<void> got = receive_bytes(code, mutable_bytes_of(header));
    if (!got) return std::unexpected(got.error());
    const bool is_answer = header.request == std::to_underlying(code) &&
                           (header.flags & Header::kVersionMask) == Header::kVersion &&
                           (header.flags & Header::kReply) != 0;
    if (!is_answer || header.size > vhost_user::kMaxPayload) {
        return failure(
            fmt::format("'{}': what answers {} is no vhost-user message (request {}, "
                        "flags {:#x}, {} bytes)",
                        path_, name_of(code), header.request, header.flags, header.size));
    }
    std::vector<std::byte> payload(header.size);
    const Outcome<void> rest = receive_bytes(code, payload);
    if (!rest) return std::unexpected(rest.error());
    return payload;
}

Outcome<std::uint64_t> FrontEnd::ask(Code code, ConstBytes payload) {
    const Outcome<void> sent = send(code, payload, -1, 0);
    if (!sent) return std::unexpected(sent.error());
    const Outcome<std::vector<std::byte>> answer = receive(code);
    if (!answer) return std::unexpected(answer.error());
    std::uint64_t value = 0;
    if (answer->size() == sizeof value) {
        std::memcpy(&value, answer->data(), sizeof value);
        return value;
    }
    return failure(fmt::format("'{}': the answer to {} has {} bytes, expected 8", path_,
                               name_of(code), answer->size()));
}

Outcome<void> FrontEnd::tell(Code code, ConstBytes payload, int fd) {
    const bool has_ack = (protocol_ & protocol_feature::kReplyAck) != 0;
    const Outcome<void> sent = send(code, payload, fd, has_ack ? Header::kNeedReply : 0);
    if (!sent || !has_ack) return sent;
    const Outcome<std::vector<std::byte>> answer = receive(code);
    if (!answer) return std::unexpected(answer.error());
    const auto is_zero = [](std::byte byte) { return byte == std::byte{0}; };
    if (answer->size() == 8 && std::ranges::all_of(*answer, is_zero)) return {};
    return failure(fmt::format("'{}': the server refuses {}", path_, name_of(code)));
}

// --- negotiation ------------------------------------------------------------------------------

Outcome<FrontEnd::Device> FrontEnd::negotiate(const Wishes& wishes) {
    const Outcome<std::uint64_t> offered = ask(RequestCode::get_features);
    if (!offered) return std::unexpected(offered.error());
    const auto lacks = [&](std::uint64_t bit) { return (*offered & bit) == 0; };
    if (lacks(ring_feature::kVersion1) || lacks(feature::kProtocolFeatures)) {
        return failure(
            fmt::format("'{}': the server offers features {:#x}, expected VERSION_1 and "
                        "PROTOCOL_FEATURES (bits 32 and 30)",
                        path_, *offered));
    }
    if (wishes.packed && lacks(ring_feature::kPacked)) {
        return failure(fmt::format("'{}': the server does not offer packed rings", path_));
    }
    Device device;
    device.features = *offered & (kUseful | (wishes.packed ? ring_feature::kPacked : 0));
    const Outcome<void> protocol = negotiate_protocol();
    if (!protocol) return std::unexpected(protocol.error());
    const Outcome<void> queues = check_queues(wishes.queue_count);
    if (!queues) return std::unexpected(queues.error());
    const Outcome<BlkConfig> config = read_config(device.has(blk_feature::kZoned));
    if (!config) return std::unexpected(config.error());
    device.config = *config;
    const Outcome<void> owned = tell(RequestCode::set_owner);
    if (!owned) return std::unexpected(owned.error());
    const Outcome<void> taken = tell(RequestCode::set_features, number(device.features));
    if (!taken) return std::unexpected(taken.error());
    return device;
}

Outcome<void> FrontEnd::negotiate_protocol() {
    const Outcome<std::uint64_t> offered = ask(RequestCode::get_protocol_features);
    if (!offered) return std::unexpected(offered.error());
    const std::uint64_t chosen = *offered & kUsefulProtocol;
    if ((chosen & protocol_feature::kConfig) == 0) {
        return failure(fmt::format("'{}': the server has no configuration space to read", path_));
    }
    const Outcome<void> taken = tell(RequestCode::set_protocol_features, number(chosen));
    protocol_ = chosen;
    return taken;
}

Outcome<void> FrontEnd::check_queues(std::uint32_t wanted) {
    std::uint64_t count = 1;
    if ((protocol_ & protocol_feature::kMultiQueue) != 0) {
        const Outcome<std::uint64_t> offered = ask(RequestCode::get_queue_num);
        if (!offered) return std::unexpected(offered.error());
        count = *offered;
    }
    if (wanted <= count) return {};
    return failure(fmt::format("'{}': {} queues: the server has up to {}", path_, wanted, count),
                   Errc::out_of_range);
}

Outcome<BlkConfig> FrontEnd::read_config(bool zoned) {
    const std::uint32_t size = zoned ? std::uint32_t{sizeof(BlkConfig)} : kPlainConfigSize;
    BlkConfig config{};
    Payload question;
    const std::vector<std::byte> room(size);
    question.u32(0).u32(size).u32(0).add(room);
    const Outcome<void> sent = send(RequestCode::get_config, question, -1, 0);
    if (!sent) return std::unexpected(sent.error());
    const Outcome<std::vector<std::byte>> answer = receive(RequestCode::get_config);
    if (!answer) return std::unexpected(answer.error());
    constexpr std::size_t kHead = 12;  // offset, size, flags
    if (answer->size() != kHead + size) {
        return failure(fmt::format("'{}': the server gives {} bytes of configuration, expected {}",
                                   path_, answer->size(), kHead + size));
    }
    std::memcpy(mutable_bytes_of(config).data(), answer->data() + kHead, size);
    return config;
}

// --- memory and rings -------------------------------------------------------------------------

Outcome<void> FrontEnd::share(const SharedMemory& memory) {
    const MemoryRegion::Place place = memory.place();
    Payload table;
    table.u32(1).u32(0);
    table.u64(place.guest_address).u64(place.size).u64(place.user_address).u64(place.fd_offset);
    return tell(RequestCode::set_mem_table, table, memory.fd());
}

/// In the order of QEMU.
Outcome<void> FrontEnd::start_queue(const QueueSetup& setup) {
    struct Step {
        Code code;
        Payload payload;
        int fd = -1;
    };
    const std::array steps = {
        Step{RequestCode::set_vring_num, state(setup.index, setup.size)},
        Step{RequestCode::set_vring_base, state(setup.index, setup.base)},
        Step{RequestCode::set_vring_addr, addresses_of(setup)},
        Step{RequestCode::set_vring_kick, number(setup.index), setup.kick},
        Step{RequestCode::set_vring_call, number(setup.index), setup.call},
        Step{RequestCode::set_vring_enable, state(setup.index, 1)},
    };
    for (const Step& step : steps) {
        const Outcome<void> told = tell(step.code, step.payload, step.fd);
        if (!told) return told;
    }
    // Without acknowledgements an answer to anything says that all of it was read.
    if ((protocol_ & protocol_feature::kReplyAck) != 0) return {};
    const Outcome<std::uint64_t> alive = ask(RequestCode::get_features);
    if (!alive) return std::unexpected(alive.error());
    return {};
}

Outcome<void> FrontEnd::stop_queue(std::uint32_t index) {
    const Outcome<void> disabled = tell(RequestCode::set_vring_enable, state(index, 0));
    if (!disabled) return disabled;
    const Outcome<std::uint64_t> base = ask(RequestCode::get_vring_base, state(index, 0));
    if (!base) return std::unexpected(base.error());
    return {};
}

// --- the server -------------------------------------------------------------------------------

bool FrontEnd::is_closed() const {
    pollfd look{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&look, 1, 0) <= 0) return false;
    std::byte byte{};
    return ::recv(socket_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

pid_t FrontEnd::server_pid() const {
    ucred credentials{};
    socklen_t length = sizeof credentials;
    const int got = ::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &length);
    return got == 0 ? credentials.pid : 0;
}

}  // namespace zbdkit::bench
