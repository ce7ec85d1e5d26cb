// SPDX-License-Identifier: Apache-2.0
#include "export/vhost_user/session.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "base/trace.h"
#include "export/vhost_user/event_fd.h"
#include "graph/resume.h"
#include "io/next_turn.h"

namespace zbdkit::vhost_user {
namespace {

/// Feature bits that change how rings work. [virtio 1.3, 6]
constexpr std::uint64_t kIndirectDesc = std::uint64_t{1} << 28;
constexpr std::uint64_t kEventIdx = std::uint64_t{1} << 29;
constexpr std::uint64_t kRingPacked = std::uint64_t{1} << 34;
/// What the transport itself understands; the device never sees these.
constexpr std::uint64_t kTransportBits = feature::kLogAll | feature::kProtocolFeatures;

RingFeatures ring_features(std::uint64_t features) {
    return {.indirect = (features & kIndirectDesc) != 0,
            .event_idx = (features & kEventIdx) != 0,
            .packed = (features & kRingPacked) != 0};
}

/// Whether a refusal could be taken for the reply. SET_LOG_BASE is no such: its reply is an
/// acknowledgement.
bool has_own_reply(RequestCode request) {
    return request == RequestCode::get_features || request == RequestCode::get_protocol_features ||
           request == RequestCode::get_queue_num || request == RequestCode::get_vring_base ||
           request == RequestCode::get_max_mem_slots || request == RequestCode::get_inflight_fd;
}

bool is_socket(const UniqueFd& fd) {
    struct stat status{};
    return ::fstat(fd.get(), &status) == 0 && S_ISSOCK(status.st_mode);
}

}  // namespace

Session::Session(Service& service, UniqueFd socket)
    : service_(service), socket_(service.reactor, std::move(socket)) {
    for (unsigned i = 0; i < service_.device.options().queue_count; ++i) {
        rings_.push_back(std::make_unique<Ring>(service_, environment_, i));
    }
}

Session::~Session() = default;

// --- the connection ---------------------------------------------------------------------------

Task<void> Session::run() {
    const Outcome<void> served = co_await serve_messages();
    if (!served) {
        ++service_.counters.protocol_errors;
        service_.warn("connection of {} closed: {}", peer(), served.error().message);
    }
    co_await reset_rings();
    service_.device.reset();
}

/// All stop fetching before the first is waited for.
Task<void> Session::reset_rings() {
    for (const std::unique_ptr<Ring>& ring : rings_) ring->set_enabled(false);
    for (const std::unique_ptr<Ring>& ring : rings_) co_await ring->reset();
    drop_inflight();
}

Task<Outcome<void>> Session::serve_messages() {
    while (true) {
        Outcome<std::optional<Received>> received = co_await socket_.receive();
        if (!received) co_return std::unexpected(received.error());
        if (!*received) co_return Outcome<void>();
        const bool goes_on = co_await ok(handle(**received));
        if (!goes_on) co_return Outcome<void>();
        // A front end that never stops sending must not keep the reactor to itself.
        co_await NextTurn();
    }
}

/// @return false if the front end is gone
Task<Outcome<bool>> Session::handle(Received& received) {
    const Header& header = received.header;
    const bool wants_ack =
        header.needs_reply() && (protocol_features_ & protocol_feature::kReplyAck) != 0;
    Outcome<Answer> answer = co_await carry_out(received);
    std::vector<std::byte> reply;
    UniqueFd fd;
    if (answer) {
        reply = std::move(answer->reply);
        fd = std::move(answer->fd);
        if (reply.empty() && wants_ack) reply = encode_number_reply(header.request, answer->ack);
    } else if (RequestCode{header.request} == RequestCode::get_config) {
        // An empty reply is how the protocol says no to this one; some VMMs abort on anything
        // worse. [vhost-user, VHOST_USER_GET_CONFIG]
        service_.warn("refused a message of {}: {}", peer(), answer.error().message);
        reply = encode_reply(RequestCode::get_config, {});
    } else if (wants_ack && !has_own_reply(RequestCode{header.request})) {
        service_.warn("refused a message of {}: {}", peer(), answer.error().message);
        reply = encode_number_reply(header.request, 1);
    } else {
        co_return std::unexpected(std::move(answer.error()));
    }
    const ConstBytes bytes(reply);
    const Outcome<bool> sent = co_await socket_.send(bytes, fd.get());
    co_return sent;
}

Session::Answered Session::carry_out(Received& received) {
    const std::expected<Message, Refusal> message =
        parse_message(received.header, received.payload, received.fds.size());
    if (!message) co_return failure(message.error().text);
    Answered task =
        std::visit([this, &received](const auto& one) { return on(one, received.fds); }, *message);
    Outcome<Answer> answer = co_await std::move(task);
    co_return answer;
}

// --- features ---------------------------------------------------------------------------------

std::uint64_t Session::offered_features() const {
    return service_.device.offered_features() | kTransportBits;
}

Session::Answered Session::on(const GetFeatures& /*message*/, Fds& /*fds*/) {
    constexpr auto kRequest = std::to_underlying(RequestCode::get_features);
    co_return Answer{.reply = encode_number_reply(kRequest, offered_features())};
}

Session::Answered Session::on(const SetFeatures& message, Fds& /*fds*/) {
    const std::uint64_t unknown = message.features & ~offered_features();
    if (unknown != 0) {
        co_return failure(fmt::format("SET_FEATURES: bits {:#x} were not offered", unknown));
    }
    const std::uint64_t changed = (message.features ^ features_) & ~kTransportBits;
    if (changed != 0 && any_ring_is_active()) {
        co_return failure(
            fmt::format("SET_FEATURES: bits {:#x} change while a ring runs; only "
                        "logging may",
                        changed));
    }
    if (changed != 0) {
        for (const std::unique_ptr<Ring>& ring : rings_) co_await ring->suspend();
    }
    negotiate(message.features);
    // Without the bit there is no SET_VRING_ENABLE. [vhost-user, "Ring states"]
    const bool enables_rings = (features_ & feature::kProtocolFeatures) == 0;
    std::uint64_t ack = 0;
    for (const std::unique_ptr<Ring>& ring : rings_) {
        if (enables_rings) ring->set_enabled(true);
        ack |= try_start(*ring);
    }
    co_return Answer{.ack = ack};
}

/// Takes over accepted features. That a host-managed disk is left without ZONED is said and
/// counted once for each negotiation: a driver of it gets nothing but errors, but firmware does so
/// before every boot and the next negotiation may be right. [virtio 1.3, 5.2.5.2]
void Session::negotiate(std::uint64_t features) {
    const bool only_transport = ((features ^ features_) & ~kTransportBits) == 0 && features_ != 0;
    features_ = features;
    ZBDKIT_TRACE(session_features, service_.name.c_str(), features);
    service_.device.set_features(features & ~kTransportBits);
    environment_.features = ring_features(features);
    log_changed();
    if (only_transport || !service_.device.refuses_all()) return;
    ++service_.counters.refused_without_zoned;
    service_.warn(
        "{} negotiated without ZONED (feature bit 17): the disk is host-managed, so all "
        "requests fail; expected of firmware, otherwise the VMM or the guest does not "
        "support zoned disks",
        peer());
}

Session::Answered Session::on(const GetProtocolFeatures& /*message*/, Fds& /*fds*/) {
    constexpr auto kRequest = std::to_underlying(RequestCode::get_protocol_features);
    co_return Answer{.reply = encode_number_reply(kRequest, kProtocolFeatures)};
}

Session::Answered Session::on(const SetProtocolFeatures& message, Fds& /*fds*/) {
    const std::uint64_t unknown = message.features & ~kProtocolFeatures;
    if (unknown != 0) {
        co_return failure(
            fmt::format("SET_PROTOCOL_FEATURES: bits {:#x} were not offered", unknown));
    }
    protocol_features_ = message.features;
    co_return Answer{};
}

Session::Answered Session::on(const SetOwner& /*message*/, Fds& /*fds*/) { co_return Answer{}; }

/// Deprecated; the protocol suggests to disable the rings. It is how Cloud Hypervisor resets a
/// device: all is negotiated and set up again afterwards.
Session::Answered Session::on(const ResetOwner& /*message*/, Fds& /*fds*/) {
    co_await reset_rings();
    co_return Answer{};
}

/// The memory table stays: QEMU goes on from the slots that it added.
Session::Answered Session::on(const ResetDevice& /*message*/, Fds& /*fds*/) {
    co_await reset_rings();
    service_.device.reset();
    features_ = 0;
    environment_.features = {};
    log_changed();
    co_return Answer{};
}

Session::Answered Session::on(const GetQueueNum& /*message*/, Fds& /*fds*/) {
    constexpr auto kRequest = std::to_underlying(RequestCode::get_queue_num);
    co_return Answer{.reply = encode_number_reply(kRequest, rings_.size())};
}

// --- memory and the dirty log -----------------------------------------------------------------

Session::Answered Session::on(const GetMaxMemSlots& /*message*/, Fds& /*fds*/) {
    constexpr auto kRequest = std::to_underlying(RequestCode::get_max_mem_slots);
    co_return Answer{.reply = encode_number_reply(kRequest, MemoryTable::kMaxSlots)};
}

Session::Answered Session::on(const SetMemTable& message, Fds& fds) {
    const Outcome<void> replaced = memory_table_.replace(message.regions, fds);
    if (!replaced) co_return failure("SET_MEM_TABLE: " + replaced.error().message);
    co_await memory_changed();
    co_return Answer{};
}

Session::Answered Session::on(const AddMemReg& message, Fds& fds) {
    const Outcome<void> added = memory_table_.add(message.region, fds.front());
    if (!added) co_return failure("ADD_MEM_REG: " + added.error().message);
    co_await memory_changed();
    co_return Answer{};
}

Session::Answered Session::on(const RemMemReg& message, Fds& /*fds*/) {
    const Outcome<void> removed = memory_table_.remove(message.region);
    if (!removed) co_return failure("REM_MEM_REG: " + removed.error().message);
    co_await memory_changed();
    co_return Answer{};
}

/// Hands the new table to the rings. One that is no longer in it pauses until it is again: front
/// ends change tables step by step. Requests in flight keep the memory that they started with.
Task<void> Session::memory_changed() {
    environment_.memory = memory_table_.memory();
    for (const std::unique_ptr<Ring>& ring : rings_) {
        const Outcome<void> moved = ring->memory_changed();
        if (moved) continue;
        spdlog::debug("vhost-user: {}", moved.error().message);
        co_await ring->suspend();
    }
}

Session::Answered Session::on(const SetLogBase& message, Fds& fds) {
    Outcome<std::shared_ptr<DirtyLog>> log = DirtyLog::map(fds.front().get(), message.range);
    if (!log) co_return failure("SET_LOG_BASE: " + log.error().message);
    log_ = std::move(*log);
    log_changed();
    // QEMU waits for an answer, wanted or not, and ignores what is in it.
    constexpr auto kRequest = std::to_underlying(RequestCode::set_log_base);
    co_return Answer{.reply = encode_number_reply(kRequest, 0)};
}

/// The descriptor would be signalled when the log changes. Nobody listens to it; it is closed.
Session::Answered Session::on(const SetLogFd& /*message*/, Fds& /*fds*/) { co_return Answer{}; }

void Session::log_changed() {
    environment_.log = (features_ & feature::kLogAll) != 0 ? log_ : nullptr;
    for (const std::unique_ptr<Ring>& ring : rings_) ring->log_changed();
}

// --- requests that outlive the process --------------------------------------------------------

Outcome<void> Session::check_shape(InflightShape shape) const {
    if (shape.queue_count <= rings_.size()) return {};
    return failure(fmt::format("inflight region for {} queues, there are {}", shape.queue_count,
                               rings_.size()));
}

Session::Answered Session::on(const GetInflightFd& message, Fds& /*fds*/) {
    co_await ok(check_shape(message.shape));
    UniqueFd file = co_await ok(make_inflight_file(message.shape));
    std::vector<std::byte> reply = encode_inflight_reply(message, inflight_size(message.shape));
    co_return Answer{.reply = std::move(reply), .fd = std::move(file)};
}

/// A region that comes back from an earlier process says what was in flight. What became of it is
/// found out here, before any ring runs: later the zones' pointers tell of new writes as well.
Session::Answered Session::on(const SetInflightFd& message, Fds& fds) {
    co_await ok(check_shape(message.shape));
    if (any_ring_is_active()) co_return failure("SET_INFLIGHT_FD: a ring runs");
    for (const std::unique_ptr<Ring>& ring : rings_) co_await ring->suspend();
    auto region = co_await ok(InflightRegion::map(message, fds.front().get()));
    co_await ok(judge_inflight(*region));
    inflight_ = std::move(region);
    environment_.inflight = inflight_.get();
    co_return Answer{};
}

void Session::drop_inflight() {
    environment_.inflight = nullptr;
    inflight_.reset();
}

Task<Outcome<void>> Session::judge_inflight(InflightRegion& region) {
    const InflightShape shape = region.shape();
    for (unsigned queue = 0; queue < shape.queue_count; ++queue) {
        for (std::size_t entry = 0; entry < shape.queue_size; ++entry) {
            const Result<EarlierWrite> judged =
                co_await judge_slot(service_.device.backend(), region.slots(queue)[entry]);
            if (!judged) {
                co_return failure("SET_INFLIGHT_FD: cannot tell what was written", judged.error());
            }
            region.earlier(queue)[entry] = *judged;
        }
    }
    co_return Outcome<void>();
}

// --- rings ------------------------------------------------------------------------------------

Outcome<Ring*> Session::find_ring(std::uint32_t index) {
    if (index >= rings_.size()) {
        return failure(fmt::format("ring {} does not exist, there are {}", index, rings_.size()));
    }
    return rings_[index].get();
}

/// @return what to acknowledge with. A ring that cannot run does not end the connection.
std::uint64_t Session::try_start(Ring& ring) {
    const Outcome<void> started = ring.start_if_ready();
    if (started) return 0;
    ring.report_fault(started.error().message);
    return 1;
}

bool Session::any_ring_is_active() const {
    return std::ranges::any_of(rings_, [](const auto& ring) { return ring->is_active(); });
}

Session::Answered Session::on(const SetVringNum& message, Fds& /*fds*/) {
    Ring* ring = co_await ok(find_ring(message.index));
    co_await ok(ring->set_size(message.size));
    co_return Answer{.ack = try_start(*ring)};
}

Session::Answered Session::on(const SetVringAddr& message, Fds& /*fds*/) {
    Ring* ring = co_await ok(find_ring(message.index));
    co_await ok(ring->set_addresses(message.addresses));
    co_return Answer{.ack = try_start(*ring)};
}

Session::Answered Session::on(const SetVringBase& message, Fds& /*fds*/) {
    Ring* ring = co_await ok(find_ring(message.index));
    co_await ok(ring->set_base(message.base));
    co_return Answer{.ack = try_start(*ring)};
}

Session::Answered Session::on(const GetVringBase& message, Fds& /*fds*/) {
    Ring* ring = co_await ok(find_ring(message.index));
    const RingBase base = co_await ring->stop();
    co_return Answer{.reply = encode_vring_base_reply(message.index, base)};
}

Session::Answered Session::on(const SetVringFd& message, Fds& fds) {
    Ring* ring = co_await ok(find_ring(message.index));
    UniqueFd fd;
    if (message.has_fd) fd = co_await ok(take_event_fd(std::move(fds.front())));
    switch (message.kind) {
        case VringFdKind::kick: ring->set_kick(std::move(fd)); break;
        case VringFdKind::call: ring->set_call(std::move(fd)); break;
        case VringFdKind::error: ring->set_error(std::move(fd)); break;
    }
    co_return Answer{.ack = try_start(*ring)};
}

Session::Answered Session::on(const SetVringEnable& message, Fds& /*fds*/) {
    Ring* ring = co_await ok(find_ring(message.index));
    ring->set_enabled(message.enable);
    co_return Answer{.ack = try_start(*ring)};
}

// --- configuration ----------------------------------------------------------------------------

Session::Answered Session::on(const GetConfig& message, Fds& /*fds*/) {
    std::vector<std::byte> bytes(message.size);
    service_.device.read_config(message.offset, bytes);
    co_return Answer{.reply = encode_config_reply(message, bytes)};
}

Session::Answered Session::on(const SetConfig& message, Fds& /*fds*/) {
    const Outcome<void> written = service_.device.write_config(message.offset, message.bytes);
    if (!written) co_return failure("SET_CONFIG: " + written.error().message);
    co_return Answer{};
}

Session::Answered Session::on(const SetBackendReqFd& /*message*/, Fds& fds) {
    if (!is_socket(fds.front())) {
        co_return failure("SET_BACKEND_REQ_FD: the file descriptor is no socket");
    }
    backend_channel_ = std::move(fds.front());
    co_return Answer{};
}

bool Session::notify_config_change() {
    if (!backend_channel_ || !any_ring_is_active()) return false;
    const std::vector<std::byte> message = encode_config_change();
    const ssize_t sent =
        ::send(backend_channel_.get(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent == static_cast<ssize_t>(message.size())) return true;
    service_.warn("{} does not take CONFIG_CHANGE, it is not told any more", peer());
    backend_channel_.reset();
    return false;
}

// --- the rest ---------------------------------------------------------------------------------

Session::Answered Session::on(const Unknown& message, Fds& /*fds*/) {
    service_.warn("{} sent request {}, which a block device does not know; ignored", peer(),
                  message.request);
    co_return Answer{.ack = 1};
}

std::string Session::peer() const { return fmt::format("front end (process {})", peer_pid()); }

}  // namespace zbdkit::vhost_user
