// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/nbd_node.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/buffer.h"
#include "base/log.h"
#include "base/text.h"
#include "io/sync.h"

namespace zbdkit {
namespace {

/// Of a server that names none: some end the connection when they are sent more.
constexpr std::uint64_t kLargestTransfer = 32 * kMiB;
/// Of trims and zeroes, which carry no data.
constexpr std::uint64_t kLargestRange = 256 * kMiB;
/// Pieces that are zeroed by writing, where the server can do nothing better.
constexpr std::uint64_t kZeroChunk = kMiB;
/// What to take for granted where the server names no block size.
constexpr std::uint64_t kDefaultBlock = 512;
constexpr std::uint64_t kDefaultPreferred = 4096;
constexpr std::uint64_t kLargestBlock = 64 * kKiB;
/// How often one request is sent anew. A server that dies of it would die of it for ever.
constexpr unsigned kMostResends = 8;
/// The wait between two attempts to connect: it doubles from the first to the second.
constexpr std::uint64_t kShortestPauseNs = 50'000'000;
constexpr std::uint64_t kLongestPauseNs = 1'000'000'000;
/// What the attempt at the end of the delay has, however little of it is left.
constexpr std::uint64_t kLastAttemptNs = 1'000'000'000;

constexpr const char* kLost = "the connection to the NBD server is lost";
constexpr const char* kLostWrites = "writes that were not flushed are lost with the NBD server";
constexpr const char* kDeadlyRequest =
    "the NBD server ends the connection whenever it gets this request";

using Connections = std::vector<std::unique_ptr<NbdConnection>>;

/// What the node makes of an export.
struct Shape {
    std::uint64_t size = 0;
    std::uint64_t block_size = 0;
    std::uint64_t physical_block_size = 0;
    std::uint64_t largest_transfer = 0;
};

Shape shape_of(const NbdExport& facts) {
    Shape shape;
    shape.block_size = facts.block_size == 0 ? kDefaultBlock : facts.block_size;
    const std::uint64_t preferred =
        facts.preferred_size == 0 ? kDefaultPreferred : facts.preferred_size;
    shape.physical_block_size =
        std::max(shape.block_size, is_power_of_two(preferred) ? std::min(preferred, kLargestBlock)
                                                              : kDefaultPreferred);
    shape.size = round_down(facts.size, shape.block_size);
    const std::uint64_t told =
        facts.largest_transfer == 0 ? kLargestTransfer : facts.largest_transfer;
    shape.largest_transfer = round_down(std::min(told, kLargestTransfer), shape.block_size);
    return shape;
}

/// The protocol's errors that mean something else at the top of the graph are plain failures.
Error error_of_server(int os_errno, const char* text) {
    const bool is_misleading = os_errno == EOVERFLOW || os_errno == ETOOMANYREFS;
    return is_misleading ? Error{Errc::io, EIO, text} : error_from_errno(os_errno, text);
}

const char* failure_text(NbdOp op) {
    switch (op) {
        case NbdOp::read: return "NBD read failed";
        case NbdOp::write: return "NBD write failed";
        case NbdOp::flush: return "NBD flush failed";
        case NbdOp::trim: return "NBD trim failed";
        case NbdOp::zero: return "NBD zero failed";
    }
    std::unreachable();
}

/// Makes as many connections as the settings and the server allow. The first must be made; without
/// the others it is slower and nothing worse.
Task<Outcome<Connections>> connect_all(Reactor& reactor, BlockingPool& pool,
                                       const NbdNodeSettings& settings) {
    Connections connections;
    std::unique_ptr<NbdConnection> first =
        co_await ok(NbdConnection::open(reactor, pool, settings.server));
    connections.push_back(std::move(first));
    const NbdExport facts = connections.front()->facts();
    const std::uint64_t wanted = facts.can_multi_conn ? settings.most_connections : 1;
    while (connections.size() < wanted) {
        Outcome<std::unique_ptr<NbdConnection>> more =
            co_await NbdConnection::open(reactor, pool, settings.server);
        if (!more || (*more)->facts() != facts) {
            spdlog::warn("nbd '{}': {} of {} connections: {}", settings.server.name(),
                         connections.size(), wanted,
                         more ? "the next one shows another export" : more.error().message);
            break;
        }
        connections.push_back(std::move(*more));
    }
    co_return connections;
}

class NbdNode final : public BlockNode {
  public:
    NbdNode(OpenContext& context, NbdNodeSettings settings, Connections connections);

    [[nodiscard]] std::string describe() const override { return settings_.server.name(); }
    [[nodiscard]] Task<Outcome<void>> close() override;

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        switch (request.op) {
            case Op::read:
            case Op::write:
            case Op::write_zeroes:
            case Op::discard: return carry_out(request);
            case Op::flush: return flush();
            case Op::append:
            case Op::report_zones:
            case Op::zone_open:
            case Op::zone_close:
            case Op::zone_finish:
            case Op::zone_reset:
            case Op::zone_reset_all: break;
        }
        return no_zones();
    }

  private:
    static Task<Result<void>> no_zones() {
        co_return fail(Errc::not_supported, "NBD has no zones");
    }

    Task<Result<void>> carry_out(const Request& request);
    Task<Result<void>> flush();

    // One attempt, on the connections of one epoch. What comes of it counts only if that is still
    // the present one at its end.
    Task<Result<void>> attempt(const Request& request, std::uint64_t epoch);
    Task<Result<void>> move_data(const Request& request, std::uint64_t epoch);
    Task<Result<void>> move_part(const Request& request, ByteRange part, std::uint64_t epoch);
    Task<Result<void>> change_range(NbdOp op, const Request& request, std::uint64_t epoch);
    Task<Result<void>> write_as_zeroes(const Request& request, std::uint64_t epoch);
    Task<Result<void>> flush_server(std::uint64_t epoch);
    Task<Result<void>> send(NbdCommand command, std::uint64_t epoch);

    Task<Result<void>> be_connected();
    Task<Result<void>> reconnect();
    Task<Outcome<Connections>> connect_again();
    void lose(std::uint64_t epoch, NbdConnection& lost);
    Error die(const char* why);
    [[nodiscard]] bool leaves_unflushed(const Request& request) const;

    Reactor& reactor_;
    BlockingPool& pool_;
    NbdNodeSettings settings_;
    NbdExport facts_;
    std::uint64_t largest_transfer_;
    Connections connections_;
    std::size_t next_connection_ = 0;

    std::uint64_t epoch_ = 0;  ///< counts losses of the connections
    bool is_connected_ = true;
    std::optional<Error> death_;  ///< from then on every request fails with this
    AsyncMutex reconnecting_;
    /// The last epoch that a server ended which did not answer, and so may be alive.
    std::optional<std::uint64_t> silent_epoch_;

    // Writes that the server may have in a cache of its own. Each count goes up only.
    std::uint64_t acknowledged_ = 0;     ///< writes that ended, without FUA
    std::uint64_t flushed_ = 0;          ///< how many of them a flush has covered, or a loss
    std::uint64_t losses_ = 0;           ///< losses of connections with writes not flushed
    std::uint64_t reported_losses_ = 0;  ///< how many of them a flush has failed for
};

NbdNode::NbdNode(OpenContext& context, NbdNodeSettings settings, Connections connections)
    : BlockNode("nbd"),
      reactor_(context.reactor),
      pool_(context.pool),
      settings_(std::move(settings)),
      facts_(connections.front()->facts()),
      connections_(std::move(connections)) {
    const Shape shape = shape_of(facts_);
    largest_transfer_ = shape.largest_transfer;
    OpSet ops{Op::read, Op::write, Op::write_zeroes, Op::flush};
    if (facts_.can_trim) ops.add(Op::discard);
    set_info({.size = shape.size,
              .block_size = static_cast<std::uint32_t>(shape.block_size),
              .physical_block_size = static_cast<std::uint32_t>(shape.physical_block_size),
              .read_only = settings_.read_only,
              .ops = ops});
}

Task<Outcome<void>> NbdNode::close() {
    for (const std::unique_ptr<NbdConnection>& connection : connections_) {
        co_await connection->close();
    }
    connections_.clear();
    if (!death_) death_ = Error{Errc::shutting_down, 0, "the node is closed"};
    co_return Outcome<void>{};
}

// --- Requests -----------------------------------------------------------------------------------

/// What a write without FUA leaves in the cache of a server that has one. A server that knows no
/// flush promises that what it acknowledges stays.
bool NbdNode::leaves_unflushed(const Request& request) const {
    const bool is_write = request.op == Op::write || request.op == Op::write_zeroes;
    return is_write && !request.fua && facts_.can_flush;
}

/// A request is sent anew as a whole, never from the middle on: what was acknowledged of it may be
/// lost with the server. That is allowed, because requests in flight have no order, and those that
/// overlap it were not acknowledged either when it was sent first.
Task<Result<void>> NbdNode::carry_out(const Request& request) {
    if (request.range.length == 0) co_return Result<void>{};
    for (unsigned resends = 0; resends <= kMostResends; ++resends) {
        co_await ok(be_connected());
        const std::uint64_t epoch = epoch_;
        const Result<void> result = co_await attempt(request, epoch);
        if (epoch == epoch_) {
            if (result && leaves_unflushed(request)) ++acknowledged_;
            co_return result;
        }
        if (death_) co_return std::unexpected(*death_);
        if (request.op == Op::read) continue;
        // A server that only did not answer may do so after all, when there are newer bytes.
        if (silent_epoch_ && *silent_epoch_ >= epoch) {
            co_return fail(Errc::io, "the NBD server did not answer in time");
        }
    }
    co_return fail(Errc::io, kDeadlyRequest);
}

/// Fails once for writes that were acknowledged, not flushed, and lost with a server; and so does
/// each flush that is in flight at the time, for nobody knows which of them was to cover them.
Task<Result<void>> NbdNode::flush() {
    if (death_) co_return std::unexpected(*death_);
    if (std::exchange(reported_losses_, losses_) != losses_) {
        co_return fail(Errc::io, kLostWrites);
    }
    const std::uint64_t losses = losses_;
    const std::uint64_t covered = acknowledged_;
    if (!facts_.can_flush) co_return Result<void>{};
    for (unsigned resends = 0; resends <= kMostResends; ++resends) {
        co_await ok(be_connected());
        const std::uint64_t epoch = epoch_;
        if (losses_ != losses) co_return fail(Errc::io, kLostWrites);
        const Result<void> result = co_await flush_server(epoch);
        if (losses_ != losses) co_return fail(Errc::io, kLostWrites);
        if (epoch == epoch_) {
            if (result) flushed_ = std::max(flushed_, covered);
            co_return result;
        }
        if (death_) co_return std::unexpected(*death_);
    }
    co_return fail(Errc::io, kDeadlyRequest);
}

Task<Result<void>> NbdNode::attempt(const Request& request, std::uint64_t epoch) {
    switch (request.op) {
        case Op::read:
        case Op::write: co_await ok(move_data(request, epoch)); break;
        case Op::write_zeroes:
            if (facts_.can_zero) {
                co_await ok(change_range(NbdOp::zero, request, epoch));
            } else {
                co_await ok(write_as_zeroes(request, epoch));
            }
            break;
        case Op::discard: co_await ok(change_range(NbdOp::trim, request, epoch)); break;
        case Op::append:
        case Op::flush:
        case Op::report_zones:
        case Op::zone_open:
        case Op::zone_close:
        case Op::zone_finish:
        case Op::zone_reset:
        case Op::zone_reset_all: std::unreachable();
    }
    if (request.fua && !facts_.can_fua && facts_.can_flush) co_await ok(flush_server(epoch));
    co_return Result<void>{};
}

Task<Result<void>> NbdNode::move_data(const Request& request, std::uint64_t epoch) {
    std::uint64_t done = 0;
    while (done < request.range.length) {
        const std::uint64_t length = std::min(request.range.length - done, largest_transfer_);
        const ByteRange part{done, length};
        co_await ok(move_part(request, part, epoch));
        done += length;
    }
    co_return Result<void>{};
}

/// libnbd takes one piece of memory: several go through a buffer, so that the server sees the
/// request whole.
/// @param part  bytes within the request
Task<Result<void>> NbdNode::move_part(const Request& request, ByteRange part, std::uint64_t epoch) {
    const IoVector pieces = slice(request.segments, part);
    const bool is_read = request.op == Op::read;
    NbdCommand command{.op = is_read ? NbdOp::read : NbdOp::write,
                       .range = {request.range.offset + part.offset, part.length},
                       .fua = !is_read && request.fua && facts_.can_fua};
    if (pieces.size() == 1) {
        command.memory = byte_pointer(pieces.front().iov_base);
        co_return co_await send(command, epoch);
    }
    AlignedBuffer buffer(part.length);
    command.memory = buffer.data();
    if (!is_read) copy_from(pieces, 0, buffer.bytes());
    co_await ok(send(command, epoch));
    if (is_read) copy_to(pieces, 0, buffer.bytes());
    co_return Result<void>{};
}

Task<Result<void>> NbdNode::change_range(NbdOp op, const Request& request, std::uint64_t epoch) {
    ByteRange left = request.range;
    while (left.length > 0) {
        const std::uint64_t length = std::min(left.length, kLargestRange);
        const NbdCommand command{
            .op = op, .range = {left.offset, length}, .fua = request.fua && facts_.can_fua};
        co_await ok(send(command, epoch));
        left = {left.offset + length, left.length - length};
    }
    co_return Result<void>{};
}

Task<Result<void>> NbdNode::write_as_zeroes(const Request& request, std::uint64_t epoch) {
    ByteRange left = request.range;
    const std::uint64_t chunk = std::min(kZeroChunk, largest_transfer_);
    AlignedBuffer zeroes(std::min(left.length, chunk));
    while (left.length > 0) {
        const std::uint64_t length = std::min(left.length, chunk);
        const NbdCommand command{.op = NbdOp::write,
                                 .range = {left.offset, length},
                                 .memory = zeroes.data(),
                                 .fua = request.fua && facts_.can_fua};
        co_await ok(send(command, epoch));
        left = {left.offset + length, left.length - length};
    }
    co_return Result<void>{};
}

Task<Result<void>> NbdNode::flush_server(std::uint64_t epoch) {
    const NbdCommand command{.op = NbdOp::flush};
    co_return co_await send(command, epoch);
}

Task<Result<void>> NbdNode::send(NbdCommand command, std::uint64_t epoch) {
    if (epoch != epoch_) co_return fail(Errc::io, kLost);
    NbdConnection& connection = *connections_[next_connection_++ % connections_.size()];
    const NbdConnection::Answer answer = co_await connection.run(command);
    if (answer.end != NbdEnd::none) {
        // Connections are gone only after all their commands have returned, and not before a turn.
        lose(epoch, connection);
        co_return fail(Errc::io, kLost);
    }
    if (answer.os_errno != 0) {
        co_return std::unexpected(error_of_server(answer.os_errno, failure_text(command.op)));
    }
    co_return Result<void>{};
}

// --- Losing the server --------------------------------------------------------------------------

/// With one connection all of them are lost: what one server process acknowledged another one may
/// not know, and which of them have died is not to be seen.
void NbdNode::lose(std::uint64_t epoch, NbdConnection& lost) {
    if (epoch != epoch_) return;
    ++epoch_;
    is_connected_ = false;
    if (lost.end() == NbdEnd::timed_out) silent_epoch_ = epoch;
    if (acknowledged_ != flushed_) {
        ++losses_;
        flushed_ = acknowledged_;
    }
    spdlog::warn("nbd '{}': connection lost: {}", describe(), lost.reason());
    for (const std::unique_ptr<NbdConnection>& connection : connections_) {
        connection->give_up(NbdEnd::broken, "another connection is lost");
    }
    if (settings_.reconnect_delay_ns == 0) die(kLost);
}

Error NbdNode::die(const char* why) {
    death_ = Error{Errc::io, 0, why};
    return *death_;
}

Task<Result<void>> NbdNode::be_connected() {
    if (death_) co_return std::unexpected(*death_);
    if (is_connected_) co_return Result<void>{};
    const AsyncMutex::Guard guard = co_await reconnecting_.lock();
    if (death_) co_return std::unexpected(*death_);
    if (is_connected_) co_return Result<void>{};
    co_return co_await reconnect();
}

/// The first request that finds the connections lost makes new ones; the others wait for it.
Task<Result<void>> NbdNode::reconnect() {
    for (const std::unique_ptr<NbdConnection>& connection : connections_) {
        co_await connection->drain();
    }
    connections_.clear();
    Outcome<Connections> made = co_await connect_again();
    if (!made) {
        spdlog::error("nbd '{}': given up after {}: {}", describe(),
                      format_duration(settings_.reconnect_delay_ns), made.error().message);
        co_return std::unexpected(die("the NBD server has not come back"));
    }
    const NbdExport& facts = made->front()->facts();
    if (facts != facts_) {
        spdlog::error(
            "nbd '{}': given up: the server came back with another export ({} bytes; "
            "before, {} bytes)",
            describe(), facts.size, facts_.size);
        co_return std::unexpected(die("the NBD server came back with another export"));
    }
    spdlog::warn("nbd '{}': connected again", describe());
    connections_ = std::move(*made);
    is_connected_ = true;
    co_return Result<void>{};
}

/// Errors: those of the last attempt, which begins when the delay is over.
Task<Outcome<Connections>> NbdNode::connect_again() {
    const std::uint64_t due_ns = reactor_.now_ns() + settings_.reconnect_delay_ns;
    NbdNodeSettings settings = settings_;
    std::uint64_t pause_ns = kShortestPauseNs;
    while (true) {
        const std::uint64_t left_ns = due_ns - std::min(due_ns, reactor_.now_ns());
        settings.server.connect_timeout_ns =
            std::min(std::max(left_ns, kLastAttemptNs), settings_.server.connect_timeout_ns);
        Outcome<Connections> made = co_await connect_all(reactor_, pool_, settings);
        const std::uint64_t now_ns = reactor_.now_ns();
        if (made || now_ns >= due_ns) co_return made;
        co_await reactor_.sleep_ns(std::min(pause_ns, due_ns - now_ns));
        pause_ns = std::min(2 * pause_ns, kLongestPauseNs);
    }
}

// --- Opening ------------------------------------------------------------------------------------

Outcome<void> check_export(const NbdNodeSettings& settings, const NbdExport& facts) {
    const std::string name = settings.server.name();
    const Shape shape = shape_of(facts);
    if (facts.is_read_only && !settings.read_only) {
        return failure(fmt::format("NBD server '{}' gives the export for reading only: expected "
                                   "read-only=on",
                                   name),
                       Errc::read_only);
    }
    if (!is_power_of_two(shape.block_size) || shape.block_size > kLargestBlock) {
        return failure(fmt::format("NBD server '{}' wants blocks of {} bytes: expected a power of "
                                   "two, up to {}",
                                   name, shape.block_size, kLargestBlock),
                       Errc::not_supported);
    }
    if (shape.size == 0 || shape.largest_transfer == 0) {
        return failure(fmt::format("NBD server '{}': the export of {} bytes has no block of {} "
                                   "bytes",
                                   name, facts.size, shape.block_size),
                       Errc::not_supported);
    }
    // The rest cannot be reached by requests that the server takes. Refusing the whole would not
    // help: what lies in whole blocks is all there.
    if (shape.size != facts.size) {
        spdlog::warn("nbd '{}': the last {} bytes are left out: they are no block of {} bytes",
                     name, facts.size - shape.size, shape.block_size);
    }
    return {};
}

}  // namespace

Task<Outcome<std::unique_ptr<BlockNode>>> open_nbd_node(OpenContext& context,
                                                        NbdNodeSettings settings) {
    Connections connections = co_await ok(connect_all(context.reactor, context.pool, settings));
    co_await ok(check_export(settings, connections.front()->facts()));
    co_return std::make_unique<NbdNode>(context, std::move(settings), std::move(connections));
}

}  // namespace zbdkit
