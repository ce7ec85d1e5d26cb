// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/rbd_node.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <coroutine>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "base/log.h"
#include "base/text.h"
#include "io/file_io.h"
#include "io/run_queue.h"
#include "io/scope.h"
#include "node/protocol/rbd_library.h"

namespace zbdkit {
namespace {

constexpr std::uint32_t kBlockSize = 512;
constexpr std::uint32_t kPhysicalBlockSize = 4096;
/// What one call may zero or discard: librbd starts all objects of it at a time.
constexpr std::uint64_t kMostAtOnce = kGiB;
/// Completions that are fetched with one call.
constexpr int kBatch = 32;

/// Whoever takes an image over first cuts the others off and then takes the lock: how often and how
/// far apart we ask who that is.
constexpr int kOwnerLookups = 5;
constexpr std::uint64_t kOwnerLookupGap = 200'000'000;  // nanoseconds

constexpr const char* kFencedText = "another client has taken the image over";
constexpr const char* kShrunkText = "the image was made smaller: this range is gone";

/// A call of librbd in flight as an awaitable. `co_await` gives what it returns: a number of bytes
/// or 0, or a negative errno. The reactor's thread alone starts and reaps calls, so none can be
/// reaped before its start has returned.
struct RbdCall {
    using Start = int (*)(const RbdLibrary& library, void* image, const Request& request,
                          ByteRange range, void* completion);

    RbdImage& image;
    Start start;
    const Request& request;
    ByteRange range;
    ssize_t result = 0;
    std::coroutine_handle<> handle{};

    [[nodiscard]] bool await_ready() const noexcept { return false; }
    [[nodiscard]] bool await_suspend(std::coroutine_handle<> waiting) {
        const RbdLibrary& library = image.library();
        void* completion = nullptr;
        int started = library.aio_create_completion(this, nullptr, &completion);
        if (started == 0) {
            started = start(library, image.handle(), request, range, completion);
            if (started < 0) library.aio_release(completion);
        }
        result = started;
        handle = waiting;
        return started >= 0;
    }
    [[nodiscard]] ssize_t await_resume() const noexcept { return result; }
};

int start_read(const RbdLibrary& library, void* image, const Request& request, ByteRange range,
               void* completion) {
    return library.aio_readv(image, request.segments.data(),
                             static_cast<int>(request.segments.size()), range.offset, completion);
}
int start_write(const RbdLibrary& library, void* image, const Request& request, ByteRange range,
                void* completion) {
    return library.aio_writev(image, request.segments.data(),
                              static_cast<int>(request.segments.size()), range.offset, completion);
}
int start_zeroes(const RbdLibrary& library, void* image, const Request& /*request*/,
                 ByteRange range, void* completion) {
    return library.aio_write_zeroes(image, range.offset, range.length, completion, 0, 0);
}
// librbd passes over what is smaller than its granularity: good for a hint, never for zeroes.
int start_discard(const RbdLibrary& library, void* image, const Request& /*request*/,
                  ByteRange range, void* completion) {
    return library.aio_discard(image, range.offset, range.length, completion);
}
int start_flush(const RbdLibrary& library, void* image, const Request& /*request*/,
                ByteRange /*range*/, void* completion) {
    return library.aio_flush(image, completion);
}

class RbdNode final : public BlockNode {
  public:
    RbdNode(OpenContext& context, std::unique_ptr<RbdImage> image)
        : BlockNode("rbd"),
          reactor_(context.reactor),
          pool_(context.pool),
          image_(std::move(image)),
          name_(image_->wish().name),
          connection_(image_->connection()),
          events_(reactor_, image_->event_fd()),
          last_size_(image_->size()) {
        set_info({.size = round_down(image_->size(), kBlockSize),
                  .block_size = kBlockSize,
                  .physical_block_size = kPhysicalBlockSize,
                  .read_only = image_->wish().read_only,
                  .ops = {Op::read, Op::write, Op::write_zeroes, Op::discard, Op::flush},
                  .durable_on_completion = !image_->has_cache()});
        if (info().size != image_->size()) {
            spdlog::warn("'{}': {} bytes, of which the last {} are left out: no whole block", name_,
                         image_->size(), image_->size() - info().size);
        }
        scope_.spawn(reap());
    }

    [[nodiscard]] std::string describe() const override { return name_; }
    [[nodiscard]] Task<Outcome<void>> close() override;

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        switch (request.op) {
            case Op::read: return read(request);
            case Op::write: return write(request);
            case Op::write_zeroes: return write_zeroes(request);
            case Op::discard: return in_pieces(request, &start_discard);
            case Op::flush: return flush(request);
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
        co_return fail(Errc::not_supported, "the storage has no zones");
    }

    Task<Result<void>> read(const Request& request);
    Task<Result<void>> write(const Request& request);
    Task<Result<void>> write_zeroes(const Request& request);
    Task<Result<void>> flush(const Request& request);
    Task<Result<void>> in_pieces(const Request& request, RbdCall::Start start);

    [[nodiscard]] Result<void> check_usable(ByteRange range);
    [[nodiscard]] Result<void> outcome_of(ssize_t result);

    Task<void> reap();
    void reap_ended();
    void look_at_size();
    Task<void> compare_size();
    void note_fenced();
    Task<void> tell_new_owner();

    Reactor& reactor_;
    BlockingPool& pool_;
    std::unique_ptr<RbdImage> image_;  // null once it is closed
    std::string name_;
    RbdConnection& connection_;
    ReadinessWaiter events_;
    TaskScope scope_;
    std::uint64_t last_size_;  // bytes, as far as we know
    bool looks_at_size_ = false;
    bool was_changed_meanwhile_ = false;
    bool has_told_fenced_ = false;
};

// --- Requests -----------------------------------------------------------------------------------

Result<void> RbdNode::check_usable(ByteRange range) {
    if (connection_.is_fenced()) {
        note_fenced();
        return fail(Errc::io, kFencedText);
    }
    // librbd would take a write across the end for done, without the part beyond it.
    if (range.end() > last_size_) return fail(Errc::io, kShrunkText);
    return {};
}

Result<void> RbdNode::outcome_of(ssize_t result) {
    if (result >= 0) return {};
    const auto os_errno = static_cast<std::int32_t>(-result);
    switch (os_errno) {
        case ESHUTDOWN:
            connection_.set_fenced();
            note_fenced();
            return fail(Errc::io, kFencedText);
        case ETIMEDOUT: return fail(Errc::io, "the cluster did not answer in time", os_errno);
        case EROFS: return fail(Errc::read_only, "another client has the lock of the image");
        case ENOENT: return fail(Errc::io, "the image is gone", os_errno);
        default: return std::unexpected(error_from_errno(os_errno, "the cluster failed"));
    }
}

Task<Result<void>> RbdNode::read(const Request& request) {
    if (request.range.length == 0) co_return Result<void>{};
    co_await ok(check_usable(request.range));
    RbdCall call{*image_, &start_read, request, request.range};
    const ssize_t result = co_await call;
    co_await ok(outcome_of(result));
    if (static_cast<std::uint64_t>(result) != request.range.length) {
        co_return fail(Errc::io, kShrunkText);
    }
    co_return Result<void>{};
}

Task<Result<void>> RbdNode::write(const Request& request) {
    if (request.range.length > 0) {
        co_await ok(check_usable(request.range));
        RbdCall call{*image_, &start_write, request, request.range};
        const ssize_t result = co_await call;
        co_await ok(outcome_of(result));
    }
    if (request.fua && !info().durable_on_completion) co_await ok(flush(request));
    co_return Result<void>{};
}

Task<Result<void>> RbdNode::write_zeroes(const Request& request) {
    co_await ok(in_pieces(request, &start_zeroes));
    if (request.fua && !info().durable_on_completion) co_await ok(flush(request));
    co_return Result<void>{};
}

Task<Result<void>> RbdNode::in_pieces(const Request& request, RbdCall::Start start) {
    ByteRange left = request.range;
    while (left.length > 0) {
        const ByteRange piece{left.offset, std::min(left.length, kMostAtOnce)};
        co_await ok(check_usable(request.range));
        RbdCall call{*image_, start, request, piece};
        const ssize_t result = co_await call;
        co_await ok(outcome_of(result));
        left = {piece.end(), left.length - piece.length};
    }
    co_return Result<void>{};
}

Task<Result<void>> RbdNode::flush(const Request& request) {
    co_await ok(check_usable({}));
    RbdCall call{*image_, &start_flush, request, {}};
    const ssize_t result = co_await call;
    co_return outcome_of(result);
}

// --- What librbd's threads tell -----------------------------------------------------------------

Task<void> RbdNode::reap() {
    while (true) {
        const bool is_ready = co_await events_.wait(POLLIN);
        if (!is_ready) co_return;
        // First: what ends from here on makes it readable again.
        eventfd_t count = 0;
        static_cast<void>(::eventfd_read(image_->event_fd(), &count));
        reap_ended();
        if (image_->take_changed()) look_at_size();
    }
}

void RbdNode::reap_ended() {
    const RbdLibrary& library = image_->library();
    std::array<rbd_completion_t, kBatch> ended{};
    while (true) {
        const int count = library.poll_io_events(image_->handle(), ended.data(), kBatch);
        if (count <= 0) return;
        for (int i = 0; i < count; ++i) {
            void* const completion = ended[static_cast<std::size_t>(i)];
            auto& call = *static_cast<RbdCall*>(library.aio_get_arg(completion));
            call.result = library.aio_get_return_value(completion);
            library.aio_release(completion);
            schedule(call.handle);
        }
    }
}

void RbdNode::look_at_size() {
    was_changed_meanwhile_ = true;
    if (!std::exchange(looks_at_size_, true)) scope_.spawn(compare_size());
}

Task<void> RbdNode::compare_size() {
    while (std::exchange(was_changed_meanwhile_, false)) {
        std::optional<Result<std::uint64_t>> size;
        BlockingPool::Call call = pool_.run(reactor_, [this, &size] { size = image_->size_now(); });
        co_await call;
        if (!*size && size->error().os_errno == ESHUTDOWN) {
            // Who breaks a lock changes the image: this is how we hear of it without a request.
            connection_.set_fenced();
            note_fenced();
            break;
        }
        if (!*size) {
            spdlog::warn("'{}': was changed, and does not say how: {}", name_,
                         zbdkit::describe(size->error()));
            continue;
        }
        const std::uint64_t now = **size;
        const std::uint64_t before = std::exchange(last_size_, now);
        if (now == before) continue;  // a snapshot, or something else that is not ours
        if (now < info().size) {
            spdlog::error(
                "'{}': made smaller by somebody, from {} to {}: requests beyond that "
                "fail from now on",
                name_, format_size(before), format_size(now));
        } else {
            spdlog::warn(
                "'{}': resized by somebody, from {} to {}: the disk stays at {} until it "
                "is opened again",
                name_, format_size(before), format_size(now), format_size(info().size));
        }
    }
    looks_at_size_ = false;
}

void RbdNode::note_fenced() {
    if (std::exchange(has_told_fenced_, true)) return;
    spdlog::error(
        "'{}': the cluster has cut this client off: another one has taken over this "
        "image, or one that shares the connection; all requests fail from now on",
        name_);
    scope_.spawn(tell_new_owner());
}

Task<void> RbdNode::tell_new_owner() {
    for (int i = 0; i < kOwnerLookups && !events_.is_stopped(); ++i) {
        if (i > 0) co_await reactor_.sleep_ns(kOwnerLookupGap);
        std::string owner;
        BlockingPool::Call call =
            pool_.run(reactor_, [this, &owner] { owner = rbd_lock_owner(image_->wish()); });
        co_await call;
        if (owner.empty()) continue;
        spdlog::error("'{}': now in use by the client at {}", name_, owner);
        co_return;
    }
}

Task<Outcome<void>> RbdNode::close() {
    events_.stop();
    co_await scope_.join();
    // The connection may go with it, and its threads.
    Outcome<void> closed;
    BlockingPool::Call call = pool_.run(reactor_, [this, &closed] {
        closed = image_->close();
        image_.reset();
    });
    co_await call;
    co_return closed;
}

}  // namespace

std::unique_ptr<BlockNode> make_rbd_node(OpenContext& context, std::unique_ptr<RbdImage> image) {
    return std::make_unique<RbdNode>(context, std::move(image));
}

}  // namespace zbdkit
