// SPDX-License-Identifier: Apache-2.0
// The limit to compare a server with: a vhost-user-blk server with the least possible between the
// rings and the data. One thread looks at the split rings, copies, and writes what is used; there
// is no graph, no coroutine and no check. It trusts its front end in everything, which must share
// one memory region: for `zbdkit bench`, never for a guest.
//   ring_loop SOCKET [--size BYTES] [--queues N] [--null | --file PATH [--direct]] [--event]
//             [--batch N]
// Data is in flat memory; --null moves none; --file answers each request by one preadv2 or
// pwritev2. --batch: requests answered before the front end is shown them (default 8). It never
// sleeps while a front end is there; with --event it sleeps on empty rings until a kick. Ends on
// SIGTERM and SIGINT.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/unique_fd.h"
#include "base/units.h"
#include "bench/peers/split_ring.h"
#include "export/vhost_user/listener.h"
#include "export/vhost_user/wire.h"
#include "virtio/blk_wire.h"
#include "virtio/guest_memory.h"

namespace {

using namespace zbdkit;              // NOLINT: a program of one file
using namespace zbdkit::vhost_user;  // NOLINT
using namespace zbdkit::ring_loop;   // NOLINT

/// Looks at all rings between two at the socket.
constexpr std::uint32_t kSweeps = 4096;
constexpr std::uint64_t kFeatures = feature::kProtocolFeatures | ring_feature::kVersion1 |
                                    ring_feature::kEventIdx | blk_feature::kMultiQueue;
constexpr std::uint64_t kProtocolFeatures =
    protocol_feature::kMultiQueue | protocol_feature::kConfig | protocol_feature::kReplyAck;

template <class T>
T must(Outcome<T> outcome) {
    if (!outcome) die(outcome.error().message);
    return std::move(*outcome);
}

struct Options {
    std::string socket;
    std::string file;
    std::uint64_t size = 256 * kMiB;
    std::uint32_t queues = 1;
    std::uint32_t batch = 8;
    bool null = false;
    bool direct = false;
    bool event = false;
};

// --- the connection ------------------------------------------------------------------------------

class Server {
  public:
    explicit Server(const Options& options)
        : options_(options), listener_(must(Listener::open(options.socket))) {
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        ::sigprocmask(SIG_BLOCK, &signals, nullptr);
        signals_ = UniqueFd(::signalfd(-1, &signals, SFD_CLOEXEC));
        rings_.resize(options.queues);
    }

    template <class Storage>
    void run(const Storage& storage) {
        for (std::uint32_t sweep = 0; !is_stopped_; ++sweep) {
            std::uint32_t served = 0;
            bool is_running = false;
            for (Ring& ring : rings_) {
                if (!ring.is_running) continue;
                is_running = true;
                served += ring.serve(storage, options_.batch);
            }
            const bool may_sleep = !is_running || (options_.event && served == 0);
            if (may_sleep && all_are_empty()) {
                look(-1);
            } else if (sweep % kSweeps == 0) {
                look(0);
            }
        }
    }

  private:
    using Reply = std::vector<std::byte>;

    [[nodiscard]] bool all_are_empty() {
        bool are_empty = true;
        for (Ring& ring : rings_) {
            if (ring.is_running && !ring.ask_for_kick()) are_empty = false;
        }
        return are_empty;
    }

    /// Serves the socket, and takes kicks. @param timeout_ms  -1: sleeps until there is something
    void look(int timeout_ms) {
        std::vector<pollfd> waits = {
            {.fd = signals_.get(), .events = POLLIN, .revents = 0},
            {.fd = peer_ ? peer_.get() : listener_.fd(), .events = POLLIN, .revents = 0}};
        for (const Ring& ring : rings_) {
            if (ring.is_running && ring.kick) waits.push_back({ring.kick.get(), POLLIN, 0});
        }
        if (::poll(waits.data(), waits.size(), timeout_ms) <= 0) return;
        for (std::size_t i = 2; i < waits.size(); ++i) {
            eventfd_t count = 0;
            if (waits[i].revents != 0) ::eventfd_read(waits[i].fd, &count);
        }
        is_stopped_ = waits[0].revents != 0;
        if (waits[1].revents == 0 || is_stopped_) return;
        if (peer_) {
            if (!take_message()) hang_up();
        } else {
            peer_ = listener_.accept();
            ::fcntl(peer_.get(), F_SETFL, 0);  // blocking, as messages are read whole
        }
    }

    void hang_up() {
        peer_.reset();
        rings_.clear();
        rings_.resize(options_.queues);
    }

    /// @return false if the front end is gone
    bool take_message() {
        Header head;
        iovec segment{&head, sizeof head};
        alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * kMaxMessageFds)> control;
        msghdr message{};
        message.msg_iov = &segment;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        if (::recvmsg(peer_.get(), &message, MSG_WAITALL | MSG_CMSG_CLOEXEC) != sizeof head) {
            return false;
        }
        fds_.clear();
        if (const cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr) {
            for (std::size_t at = CMSG_LEN(0); at < part->cmsg_len; at += sizeof(int)) {
                int fd = -1;
                std::memcpy(&fd, CMSG_DATA(part) + at - CMSG_LEN(0), sizeof fd);
                fds_.emplace_back(fd);
            }
        }
        const auto header = parse_header(bytes_of(head));
        if (!header) die(header.error().text);
        std::vector<std::byte> payload(head.size);
        if (head.size != 0 && ::recv(peer_.get(), payload.data(), head.size, MSG_WAITALL) !=
                                  static_cast<ssize_t>(head.size)) {
            return false;
        }
        const auto parsed = parse_message(*header, payload, fds_.size());
        if (!parsed) die(parsed.error().text);
        Reply reply = std::visit([this](const auto& one) { return on(one); }, *parsed);
        if (reply.empty() && head.needs_reply()) reply = encode_number_reply(head.request, 0);
        return reply.empty() || ::send(peer_.get(), reply.data(), reply.size(), MSG_NOSIGNAL) ==
                                    static_cast<ssize_t>(reply.size());
    }

    static Reply number(RequestCode code, std::uint64_t value) {
        return encode_number_reply(std::to_underlying(code), value);
    }
    template <class Other>
    Reply on(const Other& /*message*/) {
        return {};
    }
    Reply on(const GetFeatures& /*message*/) {
        return number(RequestCode::get_features, kFeatures);
    }
    Reply on(const GetProtocolFeatures& /*message*/) {
        return number(RequestCode::get_protocol_features, kProtocolFeatures);
    }
    Reply on(const GetQueueNum& /*message*/) {
        return number(RequestCode::get_queue_num, rings_.size());
    }
    Reply on(const SetFeatures& message) {
        event_idx_ = (message.features & ring_feature::kEventIdx) != 0;
        return {};
    }
    Reply on(const GetConfig& message) {
        BlkConfig config{};
        config.capacity = options_.size / kSectorSize;
        config.queue_count = static_cast<std::uint16_t>(options_.queues);
        std::vector<std::byte> bytes(message.offset + std::max<std::size_t>(message.size, 256));
        std::memcpy(bytes.data(), &config, sizeof config);
        return encode_config_reply(message,
                                   ConstBytes(bytes).subspan(message.offset, message.size));
    }
    Reply on(const SetMemTable& message) {
        if (message.regions.size() != 1) die("more than one memory region");
        memory_ = must(MemoryRegion::map(message.regions[0], fds_[0].get()));
        return {};
    }
    Reply on(const SetVringNum& message) {
        rings_.at(message.index).size = static_cast<std::uint16_t>(message.size);
        return {};
    }
    Reply on(const SetVringAddr& message) {
        rings_.at(message.index).addresses = message.addresses;
        return {};
    }
    Reply on(const SetVringBase& message) {
        rings_.at(message.index).next = static_cast<std::uint16_t>(message.base);
        return {};
    }
    Reply on(const SetVringFd& message) {
        UniqueFd fd = message.has_fd ? std::move(fds_[0]) : UniqueFd();
        Ring& ring = rings_.at(message.index);
        if (message.kind == VringFdKind::kick) ring.kick = std::move(fd);
        if (message.kind == VringFdKind::call) ring.call = std::move(fd);
        return {};
    }
    Reply on(const SetVringEnable& message) {
        Ring& ring = rings_.at(message.index);
        ring.is_running = false;
        if (message.enable) ring.start(*memory_, event_idx_);
        return {};
    }
    Reply on(const GetVringBase& message) {
        Ring& ring = rings_.at(message.index);
        ring.is_running = false;
        return encode_vring_base_reply(message.index, ring.next);
    }

    const Options& options_;
    Listener listener_;
    UniqueFd signals_;
    UniqueFd peer_;
    std::vector<UniqueFd> fds_;  ///< of the present message
    std::shared_ptr<const MemoryRegion> memory_;
    bool event_idx_ = false;
    std::vector<Ring> rings_;
    bool is_stopped_ = false;
};

// --- the command ---------------------------------------------------------------------------------

Options parse(int argc, char** argv) {
    Options options;
    const auto value = [&](int& i) -> std::string {
        if (++i == argc) die(std::string("no value for ") + argv[i - 1]);
        return argv[i];
    };
    for (int i = 1; i < argc; ++i) {
        const std::string_view word(argv[i]);
        if (word == "--size") {
            options.size = std::stoull(value(i));
        } else if (word == "--queues") {
            options.queues = static_cast<std::uint32_t>(std::stoul(value(i)));
        } else if (word == "--batch") {
            options.batch = static_cast<std::uint32_t>(std::stoul(value(i)));
        } else if (word == "--file") {
            options.file = value(i);
        } else if (word == "--null") {
            options.null = true;
        } else if (word == "--direct") {
            options.direct = true;
        } else if (word == "--event") {
            options.event = true;
        } else if (options.socket.empty() && !word.starts_with("-")) {
            options.socket = word;
        } else {
            die("what is " + std::string(word) + "?");
        }
    }
    if (options.socket.empty()) die("usage: the comment on top of bench/peers/ring_loop.cc");
    return options;
}

}  // namespace

int main(int argc, char** argv) {
    Options options = parse(argc, argv);
    if (!options.file.empty()) {
        struct stat status{};
        if (::stat(options.file.c_str(), &status) != 0) die("no file " + options.file);
        options.size = static_cast<std::uint64_t>(status.st_size);
    }
    Server server(options);
    if (options.null) {
        server.run(NullStorage());
    } else if (options.file.empty()) {
        server.run(FlatStorage(options.size));
    } else {
        server.run(FileStorage(options.file, options.direct));
    }
    return 0;
}
