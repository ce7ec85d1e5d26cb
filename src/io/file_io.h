// SPDX-License-Identifier: Apache-2.0
// Awaitable operations on file descriptors, over the reactor's engine. Transfers are whole: a
// short read or write is continued where it stopped, so the caller sees all or an error.
#pragma once

#include "base/error.h"
#include "base/iovec.h"
#include "base/units.h"
#include "io/reactor.h"
#include "io/task.h"

namespace zbdkit {

/// An operation in flight as an awaitable. `co_await` gives IoOp::result.
struct IoAwaiter : IoOp {
    IoEngine& engine;
    std::coroutine_handle<> handle;

    IoAwaiter(IoEngine& owner, const IoOp& op);
    bool await_ready() { return engine.attempt(*this); }
    void await_suspend(std::coroutine_handle<> waiting);
    std::int32_t await_resume() const noexcept { return result; }
};

/// A command as an awaitable. `co_await` gives IoOp::result.
struct CommandAwaiter : CommandOp {
    IoEngine& engine;
    std::coroutine_handle<> handle;

    CommandAwaiter(IoEngine& owner, const CommandOp& op);
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting);
    std::int32_t await_resume() const noexcept { return result; }
};

/// Reads exactly `total_length(segments)` bytes; what lies beyond the end of the file reads as
/// zeroes.
/// @param at_once  as IoOp::at_once; outlives the task
/// Errors: io and what error_from_errno says.
[[nodiscard]] Task<Result<void>> read_exactly(Reactor& reactor, int fd, std::uint64_t offset,
                                              IoSegments segments, AtOnce* at_once = nullptr);

/// Writes all of `segments`.
/// @param at_once  as IoOp::at_once; outlives the task
/// Errors: no_space, read_only, io.
[[nodiscard]] Task<Result<void>> write_exactly(Reactor& reactor, int fd, std::uint64_t offset,
                                               IoSegments segments, AtOnce* at_once = nullptr);

/// fdatasync: when it returns, everything written before it is durable.
[[nodiscard]] Task<Result<void>> sync_data(Reactor& reactor, int fd);

/// fallocate with `mode`, e.g. FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE.
[[nodiscard]] Task<Result<void>> fallocate_range(Reactor& reactor, int fd, int mode,
                                                 ByteRange range);

/// Waits until `fd` is ready, and can be told to stop: the way a loop over a socket or an eventfd
/// waits. At most one wait at a time. After stop() a last wait() must have returned before it is
/// destroyed.
class ReadinessWaiter {
  public:
    ReadinessWaiter(Reactor& reactor, int fd);
    ReadinessWaiter(const ReadinessWaiter&) = delete;
    ReadinessWaiter& operator=(const ReadinessWaiter&) = delete;
    ~ReadinessWaiter();

    struct Awaiter {
        ReadinessWaiter& waiter;
        bool await_ready() const noexcept {
            return waiter.ended_ || (waiter.stopped_ && !waiter.in_flight_);
        }
        void await_suspend(std::coroutine_handle<> waiting);
        /// @return true if ready (a broken fd is ready: the next call on it says what is wrong),
        ///         false if stopped or nudged
        bool await_resume() const noexcept {
            return std::exchange(waiter.ended_, false) && !waiter.stopped_;
        }
    };
    /// @param events  POLLIN, POLLOUT
    [[nodiscard]] Awaiter wait(unsigned events) {
        op_.poll_events = events;
        return Awaiter{*this};
    }
    /// Ends a present wait with false. What the kernel was asked for stays asked for: the next wait
    /// goes on with it, and costs nothing.
    void nudge();
    /// Ends a present wait with false, and every later one.
    void stop();
    [[nodiscard]] bool is_stopped() const { return stopped_; }

  private:
    struct PollOp : IoOp {
        ReadinessWaiter* owner = nullptr;
    };
    static void completed(IoOp& op);

    IoEngine& engine_;
    PollOp op_;
    std::coroutine_handle<> handle_;
    bool in_flight_ = false;
    bool ended_ = false;  // the kernel has answered, and nobody was told
    bool stopped_ = false;
};

}  // namespace zbdkit
