// SPDX-License-Identifier: Apache-2.0
#include "bench/load.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <string>
#include <utility>

#include "base/text.h"
#include "base/units.h"
#include "bench/packed_driver_ring.h"
#include "bench/random.h"
#include "bench/shared_memory.h"
#include "bench/split_driver_ring.h"
#include "virtio/blk_status.h"

namespace zbdkit::bench {
namespace {

/// Requests taken back at one look at the clock, before the next ones are made visible.
constexpr std::uint32_t kBatch = 32;
/// Empty looks at all rings before the clock and the connection are looked at.
constexpr std::uint32_t kLooks = 1024;
constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();
/// A slot's header and tail share a cache line: the server takes both, and one line goes over.
constexpr std::uint64_t kSlotLine = 64;
constexpr std::uint64_t kTailInLine = 32;
constexpr std::uint64_t kPage = 4096;
constexpr std::uint32_t kAppendTail = 16;  // append_sector and, as Linux has it, a padded status
constexpr std::byte kNoStatus{0xff};

void relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

const char* name_of(BlkRequestType type) {
    switch (type) {
        case BlkRequestType::in: return "read";
        case BlkRequestType::out: return "write";
        case BlkRequestType::zone_append: return "append";
        case BlkRequestType::zone_reset: return "zone reset";
        case BlkRequestType::zone_report: return "zone report";
        case BlkRequestType::flush:
        case BlkRequestType::get_id:
        case BlkRequestType::get_lifetime:
        case BlkRequestType::discard:
        case BlkRequestType::write_zeroes:
        case BlkRequestType::secure_erase:
        case BlkRequestType::zone_open:
        case BlkRequestType::zone_close:
        case BlkRequestType::zone_finish:
        case BlkRequestType::zone_reset_all: break;
    }
    return "request";
}

/// What went wrong at a request, with its place.
Failure failure_at(BlkRequestType type, std::uint64_t offset, const std::string& what) {
    return {fmt::format("{} at sector {} (byte {}): {}", name_of(type), offset / kSectorSize,
                        offset, what)};
}

std::string status_text(std::byte status) {
    if (status == kNoStatus) return "the server returned it without a status";
    const auto number = std::to_integer<std::uint8_t>(status);
    return fmt::format("the server answered {} ({})", blk_status_name(BlkStatus{number}), number);
}

template <class Ring>
class RingLoad final : public Load {
  public:
    RingLoad(FrontEnd& front_end, const Setup& setup, SharedMemory memory);
    [[nodiscard]] Outcome<void> start_queues();

    [[nodiscard]] Outcome<void> drive(Workload& workload, const Course& course) override;
    [[nodiscard]] Outcome<std::vector<std::byte>> request(BlkRequestType type, std::uint64_t offset,
                                                          std::uint32_t reply_length) override;
    [[nodiscard]] Outcome<void> stop() override;

  private:
    /// A request's memory, used again and again, and what it is at present.
    struct Slot {
        std::uint64_t line = 0;  ///< addresses for the server
        std::uint64_t data = 0;
        std::byte* line_memory = nullptr;
        Target target;
        std::uint64_t submitted_ns = 0;
    };
    struct Queue {
        Queue(SharedMemory& memory, const Setup& setup)
            : ring(memory, setup.queue_size, setup.depth, setup.event_idx),
              kick(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
              call(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
        Ring ring;
        UniqueFd kick;
        UniqueFd call;
        std::vector<Slot> slots;
        std::vector<std::uint32_t> idle;  ///< slots that found nothing to do
    };

    void begin(Workload& workload, const Course& course);
    std::uint32_t take_batch(std::uint32_t index);
    bool submit(std::uint32_t queue, std::uint32_t slot, std::uint64_t now_ns);
    void fill(std::uint32_t queue, std::uint64_t now_ns);
    void publish(Queue& queue);
    bool finish(Slot& slot, std::uint64_t now_ns);
    [[nodiscard]] std::optional<std::string> check_answer(const Slot& slot);
    [[nodiscard]] std::optional<std::string> verify(const Slot& slot, std::uint64_t placed);
    void cross(std::uint64_t now_ns);
    void look_around();
    void sleep();
    void take_calls();
    void check_progress(std::uint64_t now_ns);
    void write_header(const Slot& slot, BlkRequestType type, std::uint64_t offset);
    void fail_with(Failure failure) {
        if (!failure_) failure_ = std::move(failure);
    }

    FrontEnd& front_end_;
    Setup setup_;
    SharedMemory memory_;
    std::uint64_t reply_ = 0;  ///< where request() lets the server write
    std::vector<Queue> queues_;

    // Of the present drive():
    Workload* workload_ = nullptr;
    Course course_;
    std::uint64_t boundary_ns_ = kNever;  ///< when measuring begins, then when it ends
    bool is_submitting_ = false;
    std::uint32_t in_flight_ = 0;
    std::uint32_t empty_looks_ = 0;
    std::uint64_t progress_ns_ = 0;   ///< when something came back last
    std::uint64_t next_look_ns_ = 0;  ///< when the connection is looked at again
    std::vector<pollfd> waits_;       ///< of sleep(): the connection, then each call
    std::optional<Failure> failure_;
};

// --- set-up -----------------------------------------------------------------------------------

template <class Ring>
RingLoad<Ring>::RingLoad(FrontEnd& front_end, const Setup& setup, SharedMemory memory)
    : front_end_(front_end), setup_(setup), memory_(std::move(memory)) {
    Random random(setup.seed);
    reply_ = memory_.allocate(kMaxReply, kPage);
    queues_.reserve(setup.queue_count);
    for (std::uint32_t i = 0; i < setup.queue_count; ++i) {
        Queue& queue = queues_.emplace_back(memory_, setup);
        for (std::uint32_t n = 0; n < setup.depth; ++n) {
            Slot slot;
            slot.line = memory_.allocate(kSlotLine, kSlotLine);
            slot.line_memory = memory_.at(slot.line);
            slot.data = memory_.allocate(setup.block_size, kPage);
            // Neither zeros nor anything that compresses: some servers look.
            const MutableBytes data = memory_.span(slot.data, setup.block_size);
            for (std::size_t at = 0; at < data.size(); at += 8) {
                store_le(data.data() + at, random.next());
            }
            queue.slots.push_back(slot);
        }
    }
}

template <class Ring>
Outcome<void> RingLoad<Ring>::start_queues() {
    const Outcome<void> shared = front_end_.share(memory_);
    if (!shared) return shared;
    for (std::uint32_t i = 0; i < queues_.size(); ++i) {
        Queue& queue = queues_[i];
        if (!queue.kick || !queue.call) {
            return failure("cannot make events", error_from_errno(errno, "eventfd"));
        }
        if (setup_.wait == Wait::poll) queue.ring.disable_calls();
        const Outcome<void> started = front_end_.start_queue({.index = i,
                                                              .size = setup_.queue_size,
                                                              .addresses = queue.ring.addresses(),
                                                              .base = Ring::first_base(),
                                                              .kick = queue.kick.get(),
                                                              .call = queue.call.get()});
        if (!started) return started;
    }
    return {};
}

template <class Ring>
Outcome<void> RingLoad<Ring>::stop() {
    for (std::uint32_t i = 0; i < queues_.size(); ++i) {
        const Outcome<void> stopped = front_end_.stop_queue(i);
        if (!stopped) return stopped;
    }
    return {};
}

// --- the loop ---------------------------------------------------------------------------------

template <class Ring>
Outcome<void> RingLoad<Ring>::drive(Workload& workload, const Course& course) {
    begin(workload, course);
    while (in_flight_ != 0 && !failure_) {
        std::uint32_t taken = 0;
        for (std::uint32_t i = 0; i < queues_.size(); ++i) taken += take_batch(i);
        if (taken == 0) {
            look_around();
            continue;
        }
        // What ended in one queue may let slots of another go on.
        for (std::uint32_t i = 0; i < queues_.size(); ++i) {
            if (!queues_[i].idle.empty() && is_submitting_) fill(i, progress_ns_);
        }
    }
    if (failure_) return std::unexpected(*failure_);
    if (is_submitting_ && course_.meter != nullptr) {
        return failure("the workload ran out of requests before the time was over");
    }
    return {};
}

template <class Ring>
void RingLoad<Ring>::begin(Workload& workload, const Course& course) {
    workload_ = &workload;
    course_ = course;
    is_submitting_ = true;
    take_calls();
    if (course_.meter != nullptr && course_.warm_up_ns == 0) course_.meter->begin();
    progress_ns_ = clock_ns();
    boundary_ns_ = kNever;
    if (course_.meter != nullptr) {
        const bool is_measuring = course_.warm_up_ns == 0;
        boundary_ns_ = progress_ns_ + (is_measuring ? course_.run_ns : course_.warm_up_ns);
    }
    for (std::uint32_t i = 0; i < queues_.size(); ++i) {
        queues_[i].idle.clear();
        for (std::uint32_t n = setup_.depth; n > 0; --n) queues_[i].idle.push_back(n - 1);
        fill(i, progress_ns_);
    }
}

/// Takes back what has ended, up to a batch, and puts the next requests into the freed slots. The
/// clock is read once: a request's time is from the look at which it was put to that at which it
/// was found ended.
/// @return how many ended
template <class Ring>
std::uint32_t RingLoad<Ring>::take_batch(std::uint32_t index) {
    Queue& queue = queues_[index];
    Used used = queue.ring.take_used();
    if (used.kind == Used::Kind::nothing) return 0;
    const std::uint64_t now_ns = clock_ns();
    progress_ns_ = now_ns;
    empty_looks_ = 0;
    if (now_ns >= boundary_ns_) cross(now_ns);
    std::uint32_t taken = 0;
    while (used.kind == Used::Kind::slot) {
        ++taken;
        --in_flight_;
        if (!finish(queue.slots[used.slot], now_ns)) return taken;
        if (!is_submitting_ || !submit(index, used.slot, now_ns)) queue.idle.push_back(used.slot);
        if (taken == kBatch) break;
        used = queue.ring.take_used();
    }
    if (used.kind == Used::Kind::wrong) {
        fail_with({fmt::format("queue {}: the server returned id {}, which is not in flight", index,
                               used.slot)});
        return taken;
    }
    queue.ring.disable_calls();
    publish(queue);
    return taken;
}

/// Gives work to the slots of a queue that have none.
template <class Ring>
void RingLoad<Ring>::fill(std::uint32_t index, std::uint64_t now_ns) {
    Queue& queue = queues_[index];
    const std::size_t before = queue.idle.size();
    while (!queue.idle.empty() && submit(index, queue.idle.back(), now_ns)) queue.idle.pop_back();
    if (queue.idle.size() != before) publish(queue);
}

/// @return false if there is nothing to do for the slot now
template <class Ring>
bool RingLoad<Ring>::submit(std::uint32_t index, std::uint32_t number, std::uint64_t now_ns) {
    const std::optional<Target> target = workload_->next(index);
    if (!target) return false;
    Queue& queue = queues_[index];
    Slot& slot = queue.slots[number];
    slot.target = *target;
    slot.submitted_ns = now_ns;
    const bool is_append = target->type == BlkRequestType::zone_append;
    const bool writes = is_append || target->type == BlkRequestType::out;
    if (writes && course_.verifier != nullptr) {
        course_.verifier->stamp(slot.target, memory_.span(slot.data, setup_.block_size));
    }
    write_header(slot, target->type, target->offset);
    const std::uint32_t tail_length = is_append ? kAppendTail : 1;
    slot.line_memory[kTailInLine + tail_length - 1] = kNoStatus;
    const bool has_data = target->type != BlkRequestType::zone_reset;
    queue.ring.put(number, {.header = slot.line,
                            .data = slot.data,
                            .tail = slot.line + kTailInLine,
                            .data_length = has_data ? setup_.block_size : 0,
                            .tail_length = tail_length,
                            .data_is_writable = !writes});
    ++in_flight_;
    return true;
}

template <class Ring>
void RingLoad<Ring>::write_header(const Slot& slot, BlkRequestType type, std::uint64_t offset) {
    store_le(slot.line_memory, std::to_underlying(type));
    store_le<std::uint32_t>(slot.line_memory + 4, 0);
    store_le(slot.line_memory + 8, offset / kSectorSize);
}

template <class Ring>
void RingLoad<Ring>::publish(Queue& queue) {
    queue.ring.publish();
    if (!queue.ring.take_kick()) return;
    if (course_.meter != nullptr) course_.meter->add_kick();
    // A counter that is full has a kick pending; the write cannot fail otherwise.
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(queue.kick.get(), &one, sizeof one);
}

/// @return false after a failure
template <class Ring>
bool RingLoad<Ring>::finish(Slot& slot, std::uint64_t now_ns) {
    const std::optional<std::string> wrong = check_answer(slot);
    if (wrong) {
        fail_with(failure_at(slot.target.type, slot.target.offset, *wrong));
        return false;
    }
    workload_->ended(slot.target);
    if (course_.meter == nullptr) return true;
    if (slot.target.type == BlkRequestType::zone_reset) {
        course_.meter->add_reset();
    } else {
        course_.meter->add(slot.submitted_ns, now_ns);
    }
    return true;
}

/// @return what is wrong with the answer, or nothing
template <class Ring>
std::optional<std::string> RingLoad<Ring>::check_answer(const Slot& slot) {
    const Target& target = slot.target;
    const std::byte* const tail = slot.line_memory + kTailInLine;
    const bool is_append = target.type == BlkRequestType::zone_append;
    const std::byte status = tail[is_append ? kAppendTail - 1 : 0];
    if (status != std::byte{0}) return status_text(status);
    std::uint64_t placed = target.offset;
    if (is_append) {
        placed = load_le<std::uint64_t>(tail) * kSectorSize;
        if (!workload_->is_place_of(target, placed)) {
            return fmt::format("the server put it to byte {}, where none can be", placed);
        }
    }
    if (course_.verifier == nullptr) return {};
    return verify(slot, placed);
}

/// @param placed  where the data of a write is
template <class Ring>
std::optional<std::string> RingLoad<Ring>::verify(const Slot& slot, std::uint64_t placed) {
    const Target& target = slot.target;
    if (target.type == BlkRequestType::zone_reset) return {};
    if (target.type != BlkRequestType::in) return course_.verifier->wrote(target, placed);
    return course_.verifier->check(target.offset, memory_.span(slot.data, setup_.block_size));
}

// --- time -------------------------------------------------------------------------------------

/// Passes the beginning or the end of the measured time.
template <class Ring>
void RingLoad<Ring>::cross(std::uint64_t now_ns) {
    Meter& meter = *course_.meter;
    if (meter.is_running()) {
        take_calls();
        meter.end(now_ns);
        boundary_ns_ = kNever;
        is_submitting_ = false;
    } else {
        take_calls();  // those of the warm-up
        meter.begin();
        boundary_ns_ = clock_ns() + course_.run_ns;
    }
}

template <class Ring>
void RingLoad<Ring>::take_calls() {
    for (Queue& queue : queues_) {
        std::uint64_t count = 0;
        const bool has_some = ::read(queue.call.get(), &count, sizeof count) == sizeof count;
        if (has_some && course_.meter != nullptr) course_.meter->add_calls(count);
    }
}

/// Nothing has ended: waits, and sees now and then whether the server still lives.
template <class Ring>
void RingLoad<Ring>::look_around() {
    if (setup_.wait == Wait::event) {
        sleep();
        return;
    }
    relax();
    if (++empty_looks_ % kLooks == 0) check_progress(clock_ns());
}

/// Sleeps until a call, or the connection has something to say.
template <class Ring>
void RingLoad<Ring>::sleep() {
    bool has_more = false;
    for (Queue& queue : queues_) has_more |= queue.ring.enable_calls();
    if (has_more) return;
    waits_.clear();
    waits_.push_back({.fd = front_end_.fd(), .events = POLLIN, .revents = 0});
    for (const Queue& queue : queues_) {
        waits_.push_back({.fd = queue.call.get(), .events = POLLIN, .revents = 0});
    }
    constexpr int kLongestMs = 100;
    const int ready = ::poll(waits_.data(), waits_.size(), kLongestMs);
    if (ready == 0 || waits_.front().revents != 0) check_progress(clock_ns());
    for (std::size_t i = 1; i < waits_.size(); ++i) {
        if (waits_[i].revents == 0) continue;
        std::uint64_t count = 0;
        const bool has_some = ::read(waits_[i].fd, &count, sizeof count) == sizeof count;
        if (has_some && course_.meter != nullptr) course_.meter->add_calls(count);
    }
}

template <class Ring>
void RingLoad<Ring>::check_progress(std::uint64_t now_ns) {
    if (now_ns >= progress_ns_ + setup_.timeout_ns) {
        fail_with({fmt::format("no request has ended for {}, {} are in flight",
                               format_duration(setup_.timeout_ns), in_flight_)});
        return;
    }
    // A system call: not as long as the server may just be busy.
    constexpr std::uint64_t kPatienceNs = 10'000'000;
    const bool is_quiet = setup_.wait == Wait::event || now_ns >= next_look_ns_;
    if (!is_quiet) return;
    next_look_ns_ = now_ns + kPatienceNs;
    if (!front_end_.is_closed()) return;
    fail_with({fmt::format("the server hung up with {} requests in flight", in_flight_)});
}

// --- single requests --------------------------------------------------------------------------

template <class Ring>
Outcome<std::vector<std::byte>> RingLoad<Ring>::request(BlkRequestType type, std::uint64_t offset,
                                                        std::uint32_t reply_length) {
    Queue& queue = queues_.front();
    Slot& slot = queue.slots.front();
    course_ = {};
    write_header(slot, type, offset);
    slot.line_memory[kTailInLine] = kNoStatus;
    queue.ring.put(0, {.header = slot.line,
                       .data = reply_,
                       .tail = slot.line + kTailInLine,
                       .data_length = reply_length,
                       .tail_length = 1,
                       .data_is_writable = true});
    in_flight_ = 1;
    progress_ns_ = clock_ns();
    publish(queue);
    Used used;
    while (used.kind == Used::Kind::nothing && !failure_) {
        used = queue.ring.take_used();
        if (used.kind == Used::Kind::nothing) look_around();
    }
    in_flight_ = 0;
    if (failure_) return std::unexpected(*failure_);
    const std::byte status = slot.line_memory[kTailInLine];
    if (used.kind == Used::Kind::wrong) {
        return std::unexpected(failure_at(type, offset, "the server returned another request"));
    }
    if (status != std::byte{0}) {
        return std::unexpected(failure_at(type, offset, status_text(status)));
    }
    const MutableBytes reply = memory_.span(reply_, reply_length);
    return std::vector<std::byte>(reply.begin(), reply.end());
}

template <class Ring>
Outcome<std::unique_ptr<Load>> start_with(FrontEnd& front_end, const Load::Setup& setup) {
    const std::uint64_t slot = round_up(setup.block_size, kPage) + kSlotLine + kPage;
    const std::uint64_t queue = Ring::memory_needed(setup.queue_size) + setup.depth * slot + kPage;
    const std::uint64_t size = setup.queue_count * queue + Load::kMaxReply + kPage;
    if (size > Load::kMaxMemory) {
        return failure(
            fmt::format("{} of buffers, expected at most {}: fewer queues, less depth or "
                        "smaller blocks",
                        format_size(size), format_size(Load::kMaxMemory)),
            Errc::out_of_range);
    }
    Outcome<SharedMemory> memory = SharedMemory::make(size);
    if (!memory) return std::unexpected(memory.error());
    auto load = std::make_unique<RingLoad<Ring>>(front_end, setup, std::move(*memory));
    const Outcome<void> started = load->start_queues();
    if (!started) return std::unexpected(started.error());
    return load;
}

}  // namespace

Outcome<std::unique_ptr<Load>> Load::start(FrontEnd& front_end, const Setup& setup) {
    return setup.packed ? start_with<PackedDriverRing>(front_end, setup)
                        : start_with<SplitDriverRing>(front_end, setup);
}

}  // namespace zbdkit::bench
