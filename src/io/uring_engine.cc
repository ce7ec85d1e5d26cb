// SPDX-License-Identifier: Apache-2.0
#include "io/uring_engine.h"

#include <fmt/format.h>
#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/unique_fd.h"
#include "io/op_fifo.h"
#include "io/wake_signal.h"

namespace zbdkit {
namespace {

constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
constexpr unsigned kMaxQueueDepth = 4096;
constexpr unsigned kCompletionsPerSubmission = 8;
/// Completion slots that operations leave free: one for the wake poll, one so that a
/// cancellation always finds a way in.
constexpr unsigned kReservedCompletions = 2;
/// What Linux transfers at most in one call, and what fits into IoOp::result.
constexpr std::uint64_t kMaxTransfer = 0x7ffff000;

/// user_data of completions that belong to no operation. An IoOp is never at these addresses.
constexpr std::uint64_t kWakeTag = 1;
constexpr std::uint64_t kCancelTag = 2;
constexpr std::uint64_t kClearTag = 3;

/// The forms of a ring, best first; the first that the kernel knows is taken. The best runs
/// completion work only when we ask for it and needs Linux 6.1.
constexpr std::array<unsigned, 2> kRingForms = {
    IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |
        IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    IORING_SETUP_R_DISABLED,
};

/// A ring with its lifetime.
class Ring {
  public:
    Ring() = default;
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;
    ~Ring() {
        if (is_open_) ::io_uring_queue_exit(&ring_);
    }

    /// @return 0 or a negative errno
    [[nodiscard]] int open(unsigned queue_depth) {
        int code = -EINVAL;
        for (const unsigned form : kRingForms) {
            io_uring_params params{};
            params.flags = form | IORING_SETUP_CQSIZE;
            params.cq_entries = queue_depth * kCompletionsPerSubmission;
            code = ::io_uring_queue_init_params(queue_depth, &ring_, &params);
            if (code == -EINVAL) continue;  // an older kernel: the next form
            is_open_ = code == 0;
            features_ = params.features;
            capacity_ = params.cq_entries;
            return code;
        }
        return code;
    }

    [[nodiscard]] io_uring* get() { return &ring_; }
    [[nodiscard]] unsigned features() const { return features_; }
    /// Completions that the ring holds.
    [[nodiscard]] unsigned capacity() const { return capacity_; }
    /// True if the kernel has completion work that it does only when it is entered.
    [[nodiscard]] bool has_kernel_work() const {
        return (IO_URING_READ_ONCE(*ring_.sq.kflags) &
                (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
    }

  private:
    io_uring ring_{};
    unsigned features_ = 0;
    unsigned capacity_ = 0;
    bool is_open_ = false;
};

/// True for what passes by itself: the caller polls again.
bool is_transient(int code) {
    return code == -ETIME || code == -EINTR || code == -EAGAIN || code == -EBUSY;
}

unsigned first_length(const IoOp& op) {
    return static_cast<unsigned>(std::min<std::uint64_t>(op.segments->iov_len, kMaxTransfer));
}

void prepare_read(io_uring_sqe* sqe, const IoOp& op) {
    if (op.segment_count == 1) {
        ::io_uring_prep_read(sqe, op.fd, op.segments->iov_base, first_length(op), op.range.offset);
    } else {
        ::io_uring_prep_readv(sqe, op.fd, op.segments, op.segment_count, op.range.offset);
    }
}

void prepare_command(io_uring_sqe* sqe, const CommandOp& op) {
    ::io_uring_prep_rw(IORING_OP_URING_CMD, sqe, op.fd, nullptr, 0, 0);
    sqe->cmd_op = op.code;
    sqe->addr = op.address;
    std::memcpy(sqe->cmd, op.argument.data(), op.argument.size());
}

/// Reads zeroes over a command's word. The kernel does that at once when it takes the entry, before
/// it looks at the next one.
void prepare_clear(io_uring_sqe* sqe, const CommandOp& op) {
    ::io_uring_prep_read(sqe, op.zeroes, op.clears, sizeof *op.clears, 0);
    ::io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
    ::io_uring_sqe_set_data64(sqe, kClearTag);
}

class UringEngine final : public IoEngine {
  public:
    explicit UringEngine(UniqueFd event) : wake_signal_(std::move(event)) {}
    ~UringEngine() override;

    /// @return 0 or a negative errno
    [[nodiscard]] int open(unsigned queue_depth) { return ring_.open(queue_depth); }
    [[nodiscard]] unsigned features() const { return ring_.features(); }

    [[nodiscard]] bool attempt(IoOp& op) override;
    void submit(IoOp& op) override;
    void cancel(IoOp& op) override;
    void poll(std::uint64_t deadline_ns) override;
    void wake() override { wake_signal_.raise(); }
    [[nodiscard]] std::uint64_t now_ns() const override;
    [[nodiscard]] Result<LentRange> take_lent(std::uint16_t count, std::uint64_t each) override;
    void give_back_lent(const LentRange& range) override { lent_.give_back(range); }

  private:
    void check_form(const IoOp& op) const;
    void prepare(io_uring_sqe* sqe, IoOp& op);
    void prepare_write(io_uring_sqe* sqe, const IoOp& op);
    void enable();
    void fill_queue();
    void queue_wake_poll();
    void queue_cancels();
    void queue_waiting();
    [[nodiscard]] bool make_room(IoOp& op);
    io_uring_sqe* next_entry();
    bool has_ended() { return !cancelled_.empty() || ::io_uring_cq_ready(ring_.get()) > 0; }
    void enter(std::uint64_t deadline_ns);
    void enter_and_return();
    void enter_and_wait(std::uint64_t deadline_ns);
    void reap();
    void end_cancelled();
    void end(std::uint64_t tag, void* data, std::int32_t result);
    void complete(IoOp& op, std::int32_t result);

    WakeSignal wake_signal_;
    Ring ring_;
    bool enabled_ = false;
    bool wake_armed_ = false;
    unsigned in_flight_ = 0;        // entries queued whose completion has not been reaped
    OpFifo waiting_;                // not queued yet
    std::vector<IoOp*> to_cancel_;  // in flight, cancellation not queued yet
    OpFifo cancelled_;              // cancelled before they were queued
    LentBuffers lent_{kMaxCommands};
    bool has_table_ = false;  // the ring has places for lent buffers
};

UringEngine::~UringEngine() {
    // What is in flight writes into memory that its owner is about to free.
    ZBDKIT_ASSERT(waiting_.empty() && cancelled_.empty());
    ZBDKIT_ASSERT(in_flight_ == (wake_armed_ ? 1U : 0U));
}

Result<LentRange> UringEngine::take_lent(std::uint16_t count, std::uint64_t each) {
    if (!has_table_) {
        const int code = ::io_uring_register_buffers_sparse(ring_.get(), kMaxCommands);
        if (code != 0) {
            return std::unexpected(error_from_errno(-code, "the ring takes no lent buffers"));
        }
        has_table_ = true;
    }
    return lent_.take(count, each);
}

void UringEngine::prepare_write(io_uring_sqe* sqe, const IoOp& op) {
    if (const auto place = lent_.find(op.segments->iov_base)) {
        // The kernel counts from the start of its own buffer.
        ::io_uring_prep_write_fixed(sqe, op.fd, nullptr, first_length(op), op.range.offset,
                                    place->index);
        sqe->addr = place->offset;
    } else if (op.segment_count == 1) {
        ::io_uring_prep_write(sqe, op.fd, op.segments->iov_base, first_length(op), op.range.offset);
    } else {
        ::io_uring_prep_writev(sqe, op.fd, op.segments, op.segment_count, op.range.offset);
    }
}

void UringEngine::prepare(io_uring_sqe* sqe, IoOp& op) {
    switch (op.kind) {
        case IoKind::read: prepare_read(sqe, op); break;
        case IoKind::write: prepare_write(sqe, op); break;
        case IoKind::sync_data: ::io_uring_prep_fsync(sqe, op.fd, IORING_FSYNC_DATASYNC); break;
        case IoKind::fallocate:
            ::io_uring_prep_fallocate(sqe, op.fd, op.fallocate_mode,
                                      static_cast<off_t>(op.range.offset),
                                      static_cast<off_t>(op.range.length));
            break;
        case IoKind::poll: ::io_uring_prep_poll_add(sqe, op.fd, op.poll_events); break;
        case IoKind::command: prepare_command(sqe, static_cast<CommandOp&>(op)); break;
    }
    ::io_uring_sqe_set_data(sqe, &op);
}

void UringEngine::check_form(const IoOp& op) const {
    ZBDKIT_ASSERT(op.complete != nullptr);
    ZBDKIT_ASSERT(op.range.is_sane());
    if (op.kind == IoKind::read || op.kind == IoKind::write) {
        ZBDKIT_ASSERT(op.segments != nullptr);
        ZBDKIT_ASSERT(op.segment_count >= 1 && op.segment_count <= kMaxSegments);
        const bool is_lent = lent_.find(op.segments->iov_base).has_value();
        ZBDKIT_ASSERT(!is_lent || (op.kind == IoKind::write && op.segment_count == 1));
    }
    if (op.kind == IoKind::command) {
        const CommandOp& command = static_cast<const CommandOp&>(op);
        ZBDKIT_ASSERT(command.clears == nullptr || command.zeroes >= 0);
    }
}

bool UringEngine::attempt(IoOp& op) {
    if (op.at_once == nullptr || *op.at_once == AtOnce::never) return false;
    check_form(op);
    if (lent_.find(op.segments->iov_base)) return false;
    const int flags = *op.at_once == AtOnce::if_ready ? RWF_NOWAIT : 0;
    const auto count = static_cast<int>(op.segment_count);
    const auto offset = static_cast<off_t>(op.range.offset);
    const ssize_t moved = op.kind == IoKind::read
                              ? ::preadv2(op.fd, op.segments, count, offset, flags)
                              : ::pwritev2(op.fd, op.segments, count, offset, flags);
    if (moved >= 0) {
        op.result = static_cast<std::int32_t>(moved);
        return true;
    }
    // Whatever else is wrong shows again when the operation is submitted, and is told then.
    if (errno == EOPNOTSUPP) *op.at_once = AtOnce::never;
    return false;
}

void UringEngine::submit(IoOp& op) {
    check_form(op);
    waiting_.push(op);
}

void UringEngine::cancel(IoOp& op) {
    ZBDKIT_ASSERT(op.kind == IoKind::poll);
    if (waiting_.remove(op)) {
        cancelled_.push(op);
    } else {
        to_cancel_.push_back(&op);
    }
}

void UringEngine::poll(std::uint64_t deadline_ns) {
    if (!enabled_) enable();
    fill_queue();
    enter(deadline_ns);
    reap();
}

/// The ring is made disabled, so that its one issuer is the thread that polls first.
void UringEngine::enable() {
    // Not io_uring_enable_rings(): liburing 2.3 declares it and does not export it.
    const int code = ::io_uring_register(static_cast<unsigned>(ring_.get()->ring_fd),
                                         IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
    ZBDKIT_ASSERT(code == 0);
    enabled_ = true;
}

void UringEngine::fill_queue() {
    if (!wake_armed_) queue_wake_poll();
    if (!to_cancel_.empty()) queue_cancels();
    if (!waiting_.empty()) queue_waiting();
}

void UringEngine::queue_wake_poll() {
    io_uring_sqe* sqe = next_entry();
    if (sqe == nullptr) return;
    ::io_uring_prep_poll_add(sqe, wake_signal_.fd(), POLLIN);
    ::io_uring_sqe_set_data64(sqe, kWakeTag);
    wake_armed_ = true;
    ++in_flight_;
}

void UringEngine::queue_cancels() {
    std::size_t queued = 0;
    while (queued < to_cancel_.size() && in_flight_ < ring_.capacity()) {
        io_uring_sqe* sqe = next_entry();
        if (sqe == nullptr) break;
        // SAFETY: user_data is the operation's address, as io_uring_sqe_set_data() stored it; it
        // is compared, not followed.
        ::io_uring_prep_poll_remove(sqe, reinterpret_cast<std::uint64_t>(to_cancel_[queued]));
        ::io_uring_sqe_set_data64(sqe, kCancelTag);
        ++queued;
        ++in_flight_;
    }
    to_cancel_.erase(to_cancel_.begin(), to_cancel_.begin() + static_cast<std::ptrdiff_t>(queued));
}

void UringEngine::queue_waiting() {
    while (!waiting_.empty() && in_flight_ + kReservedCompletions <= ring_.capacity()) {
        if (!make_room(waiting_.front())) return;
        io_uring_sqe* sqe = next_entry();
        if (sqe == nullptr) return;
        prepare(sqe, waiting_.pop());
        ++in_flight_;
    }
}

/// Queues what goes before the operation and must be taken by the kernel in the same call.
/// @return false if the kernel takes nothing now
bool UringEngine::make_room(IoOp& op) {
    if (op.kind != IoKind::command) return true;
    const CommandOp& command = static_cast<CommandOp&>(op);
    if (command.clears == nullptr) return true;
    ZBDKIT_ASSERT(ring_.get()->sq.ring_entries >= 2);  // or it would wait for room for ever
    if (::io_uring_sq_space_left(ring_.get()) < 2) {
        const int code = ::io_uring_submit(ring_.get());
        ZBDKIT_ASSERT(code >= 0 || is_transient(code));
        if (::io_uring_sq_space_left(ring_.get()) < 2) return false;
    }
    prepare_clear(::io_uring_get_sqe(ring_.get()), command);
    return true;
}

/// @return a free entry of the submission queue, or nullptr if it is full and the kernel takes
///         nothing now
io_uring_sqe* UringEngine::next_entry() {
    io_uring_sqe* sqe = ::io_uring_get_sqe(ring_.get());
    if (sqe != nullptr) return sqe;
    const int code = ::io_uring_submit(ring_.get());
    ZBDKIT_ASSERT(code >= 0 || is_transient(code));
    return ::io_uring_get_sqe(ring_.get());
}

void UringEngine::enter(std::uint64_t deadline_ns) {
    const bool may_wait = deadline_ns != 0 && !has_ended();
    if (may_wait && wake_signal_.begin_wait()) {
        enter_and_wait(deadline_ns);
    } else {
        enter_and_return();
    }
    wake_signal_.end_wait();
}

/// Always asks for events when it enters: the kernel runs deferred completions only then, and a
/// busy owner that submits in every turn would starve them.
void UringEngine::enter_and_return() {
    if (::io_uring_sq_ready(ring_.get()) == 0 && !ring_.has_kernel_work()) return;
    const int code = ::io_uring_submit_and_get_events(ring_.get());
    ZBDKIT_ASSERT(code >= 0 || is_transient(code));
}

void UringEngine::enter_and_wait(std::uint64_t deadline_ns) {
    io_uring_cqe* first = nullptr;
    __kernel_timespec limit{};
    if (deadline_ns != kForever) {
        const std::uint64_t now = now_ns();
        if (deadline_ns <= now) return enter_and_return();
        limit.tv_sec = static_cast<std::int64_t>((deadline_ns - now) / kNsPerSecond);
        limit.tv_nsec = static_cast<std::int64_t>((deadline_ns - now) % kNsPerSecond);
    }
    const int code = ::io_uring_submit_and_wait_timeout(
        ring_.get(), &first, 1, deadline_ns == kForever ? nullptr : &limit, nullptr);
    // -EEXIST: poll() was called on another thread than the first time.
    ZBDKIT_ASSERT(code >= 0 || is_transient(code));
}

/// Completes what has ended. The callbacks may submit and cancel: that only fills our own lists,
/// so there are at most in_flight_ completions to reap.
void UringEngine::reap() {
    end_cancelled();
    unsigned head = 0;
    unsigned count = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(ring_.get(), head, cqe) {
        ++count;
        end(cqe->user_data, ::io_uring_cqe_get_data(cqe), cqe->res);
    }
    ::io_uring_cq_advance(ring_.get(), count);
}

void UringEngine::end_cancelled() {
    while (!cancelled_.empty()) complete(cancelled_.pop(), -ECANCELED);
}

void UringEngine::end(std::uint64_t tag, void* data, std::int32_t result) {
    // It was not counted, as it completes only if it failed. Then nothing that is written of
    // requests in flight can be relied on any more.
    ZBDKIT_ASSERT(tag != kClearTag);
    --in_flight_;
    if (tag == kCancelTag) return;
    if (tag == kWakeTag) {
        wake_armed_ = false;
        wake_signal_.drain();
        return;
    }
    complete(*static_cast<IoOp*>(data), result);
}

void UringEngine::complete(IoOp& op, std::int32_t result) {
    // It ended by itself before its cancellation was queued; its address may be used again.
    if (!to_cancel_.empty()) std::erase(to_cancel_, &op);
    op.result = result;
    op.complete(op);
}

std::uint64_t UringEngine::now_ns() const {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * kNsPerSecond +
           static_cast<std::uint64_t>(now.tv_nsec);
}

std::string_view hint_for(int os_errno) {
    switch (os_errno) {
        case EPERM:
        case EACCES:
            return ": io_uring is forbidden here; expected sysctl kernel.io_uring_disabled=0 and "
                   "a container profile that allows io_uring";
        case ENOSYS: return ": this kernel has no io_uring, or a container profile hides it";
        case ENOMEM:
            return ": not enough memory for its queues; try a larger RLIMIT_MEMLOCK (ulimit -l)";
        case EMFILE:
        case ENFILE: return ": too many open files; try a larger RLIMIT_NOFILE (ulimit -n)";
        default: return "";
    }
}

std::unexpected<Failure> cannot_make(std::string_view what, int os_errno) {
    return failure(
        fmt::format("cannot make an {}: {}{}", what, std::strerror(os_errno), hint_for(os_errno)),
        error_from_errno(os_errno, "").code);
}

}  // namespace

Outcome<std::unique_ptr<IoEngine>> make_uring_engine(unsigned queue_depth) {
    ZBDKIT_ASSERT(queue_depth >= 1 && queue_depth <= kMaxQueueDepth);
    UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event) return cannot_make("eventfd", errno);
    auto engine = std::make_unique<UringEngine>(std::move(event));
    const int code = engine->open(queue_depth);
    if (code < 0) return cannot_make("io_uring", -code);
    constexpr unsigned kNeeded = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP;
    if ((engine->features() & kNeeded) != kNeeded) {
        return failure("io_uring of this kernel is too old: expected Linux 5.11 or newer",
                       Errc::not_supported);
    }
    return engine;
}

}  // namespace zbdkit
