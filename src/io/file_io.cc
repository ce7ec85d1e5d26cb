// SPDX-License-Identifier: Apache-2.0
#include "io/file_io.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "base/assert.h"
#include "io/run_queue.h"

namespace zbdkit {
namespace {

/// How often one transfer is started again after an interruption that moved no byte.
constexpr unsigned kMaxRestarts = 16;

bool is_interruption(std::int32_t result) { return result == -EINTR || result == -EAGAIN; }

/// A read with O_DIRECT that ended at an end of file off the sector grid cannot be continued
/// there: the kernel refuses the offset instead of saying 0.
bool is_refused_at_end(const IoOp& op, std::int32_t result) {
    if (op.kind != IoKind::read || result != -EINVAL || is_aligned(op.range.offset, kSectorSize)) {
        return false;
    }
    struct stat status{};
    if (::fstat(op.fd, &status) != 0 || !S_ISREG(status.st_mode)) return false;
    return op.range.offset >= static_cast<std::uint64_t>(status.st_size);
}

const char* failure_text(IoKind kind) {
    switch (kind) {
        case IoKind::read: return "read failed";
        case IoKind::write: return "write failed";
        case IoKind::sync_data: return "fdatasync failed";
        case IoKind::fallocate: return "fallocate failed";
        case IoKind::poll: return "poll failed";
        case IoKind::command: return "command failed";
    }
    return "";
}

Result<void> result_of(const IoOp& op, std::int32_t result) {
    if (result < 0) return std::unexpected(error_from_errno(-result, failure_text(op.kind)));
    return {};
}

/// Points `op` at what is left after `done` bytes of `segments`.
/// @param rest  keeps the list of what is left, if it is not `segments` itself
void aim(IoOp& op, IoSegments segments, IoVector& rest, ByteRange left) {
    IoSegments remaining = segments;
    if (left.offset > 0) {
        rest = slice(segments, left);
        remaining = rest;
    }
    op.segments = remaining.data();
    op.segment_count = static_cast<unsigned>(std::min<std::size_t>(remaining.size(), kMaxSegments));
}

/// Moves all of `segments`, in as many operations as it takes.
/// @param first  kind, fd, at_once and the offset of the first byte
Task<Result<void>> transfer(Reactor& reactor, IoOp first, IoSegments segments) {
    const std::uint64_t length = total_length(segments);
    std::uint64_t done = 0;
    unsigned restarts = 0;
    IoVector rest;
    while (done < length) {
        const ByteRange left{done, length - done};
        IoAwaiter operation(reactor.engine(), first);
        operation.range = {first.range.offset + done, left.length};
        aim(operation, segments, rest, left);
        const std::int32_t result = co_await operation;
        if (is_interruption(result) && restarts < kMaxRestarts) {
            ++restarts;
            continue;
        }
        if (result == 0 || is_refused_at_end(operation, result)) {
            if (first.kind == IoKind::write) co_return fail(Errc::io, "write made no progress");
            fill(segments, left, std::byte{0});
            co_return Result<void>();
        }
        if (result < 0) co_return result_of(first, result);
        done += static_cast<std::uint64_t>(result);
    }
    co_return Result<void>();
}

/// Performs `op` once.
Task<Result<void>> perform(Reactor& reactor, IoOp op) {
    IoAwaiter operation(reactor.engine(), op);
    const std::int32_t result = co_await operation;
    co_return result_of(op, result);
}

}  // namespace

IoAwaiter::IoAwaiter(IoEngine& owner, const IoOp& op) : IoOp(op), engine(owner) {
    complete = [](IoOp& ended) { schedule(static_cast<IoAwaiter&>(ended).handle); };
}

void IoAwaiter::await_suspend(std::coroutine_handle<> waiting) {
    handle = waiting;
    engine.submit(*this);
}

CommandAwaiter::CommandAwaiter(IoEngine& owner, const CommandOp& op)
    : CommandOp(op), engine(owner) {
    kind = IoKind::command;
    complete = [](IoOp& ended) { schedule(static_cast<CommandAwaiter&>(ended).handle); };
}

void CommandAwaiter::await_suspend(std::coroutine_handle<> waiting) {
    handle = waiting;
    engine.submit(*this);
}

Task<Result<void>> read_exactly(Reactor& reactor, int fd, std::uint64_t offset, IoSegments segments,
                                AtOnce* at_once) {
    return transfer(reactor,
                    {.kind = IoKind::read, .fd = fd, .range = {offset, 0}, .at_once = at_once},
                    segments);
}

Task<Result<void>> write_exactly(Reactor& reactor, int fd, std::uint64_t offset,
                                 IoSegments segments, AtOnce* at_once) {
    return transfer(reactor,
                    {.kind = IoKind::write, .fd = fd, .range = {offset, 0}, .at_once = at_once},
                    segments);
}

Task<Result<void>> sync_data(Reactor& reactor, int fd) {
    return perform(reactor, {.kind = IoKind::sync_data, .fd = fd});
}

Task<Result<void>> fallocate_range(Reactor& reactor, int fd, int mode, ByteRange range) {
    return perform(reactor,
                   {.kind = IoKind::fallocate, .fd = fd, .range = range, .fallocate_mode = mode});
}

ReadinessWaiter::ReadinessWaiter(Reactor& reactor, int fd) : engine_(reactor.engine()) {
    op_.kind = IoKind::poll;
    op_.fd = fd;
    op_.owner = this;
    op_.complete = &completed;
}

ReadinessWaiter::~ReadinessWaiter() { ZBDKIT_ASSERT(!in_flight_); }

void ReadinessWaiter::Awaiter::await_suspend(std::coroutine_handle<> waiting) {
    ZBDKIT_ASSERT(!waiter.handle_);
    waiter.handle_ = waiting;
    if (waiter.in_flight_) return;
    waiter.in_flight_ = true;
    waiter.engine_.submit(waiter.op_);
}

void ReadinessWaiter::nudge() {
    if (handle_) schedule(std::exchange(handle_, {}));
}

void ReadinessWaiter::stop() {
    if (stopped_) return;
    stopped_ = true;
    if (in_flight_) engine_.cancel(op_);
}

void ReadinessWaiter::completed(IoOp& op) {
    ReadinessWaiter& waiter = *static_cast<PollOp&>(op).owner;
    waiter.in_flight_ = false;
    waiter.ended_ = true;
    waiter.nudge();
}

}  // namespace zbdkit
