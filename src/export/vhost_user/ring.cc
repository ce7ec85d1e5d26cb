// SPDX-License-Identifier: Apache-2.0
#include "export/vhost_user/ring.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/trace.h"
#include "export/vhost_user/event_fd.h"
#include "io/next_turn.h"

namespace zbdkit::vhost_user {
namespace {

bool same_parts(const RingAddresses& a, const RingAddresses& b) {
    return a.descriptors == b.descriptors && a.driver == b.driver && a.device == b.device;
}

}  // namespace

Ring::~Ring() { ZBDKIT_ASSERT(!is_running()); }

// --- what the front end says ------------------------------------------------------------------

Task<Outcome<void>> Ring::set_size(std::uint32_t size) {
    if (!environment_.features.packed && !is_power_of_two(size)) {
        co_return failure(
            fmt::format("ring {}: size {} of a split ring, expected a power of two", index_, size));
    }
    if (is_active()) co_return failure(fmt::format("ring {} runs, its size cannot change", index_));
    co_await suspend();
    size_ = size;
    co_return Outcome<void>();
}

Task<Outcome<void>> Ring::set_base(RingBase base) {
    if (is_active()) co_return failure(fmt::format("ring {} runs, its base cannot change", index_));
    co_await suspend();
    base_ = base;
    co_return Outcome<void>();
}

Task<Outcome<void>> Ring::set_addresses(RingAddresses addresses) {
    if (is_active() && !same_parts(addresses, *addresses_)) {
        co_return failure(fmt::format("ring {} runs, its addresses cannot change", index_));
    }
    // The queue learns where it is, and what of it is logged, only when it is made.
    co_await suspend();
    addresses_ = addresses;
    co_return Outcome<void>();
}

void Ring::set_enabled(bool enabled) {
    enabled_ = enabled;
    interrupt();
}

void Ring::set_kick(UniqueFd kick) {
    has_kick_ = true;
    if (is_running()) {
        // The worker may wait for the old one at this moment; it takes the new one itself.
        next_kick_ = std::move(kick);
        interrupt();
    } else {
        kick_ = std::move(kick);
    }
}

void Ring::set_call(UniqueFd call) {
    call_ = std::move(call);
    if (is_running()) signal_event(call_);
}

// --- running and stopping ---------------------------------------------------------------------

Outcome<void> Ring::start_if_ready() {
    const bool is_ready = enabled_ && has_kick_ && size_ != 0 && addresses_ && base_ &&
                          environment_.memory != nullptr;
    if (!is_ready || is_running()) return {};
    const Outcome<void> made = make_queue();
    if (!made) return failure(fmt::format("ring {}: {}", index_, made.error().message));
    poll_interval_ns_ = kShortestPollNs;
    polling_ = RingPolling(service_.poll_bound_ns);
    expects_kicks_ = true;
    ZBDKIT_TRACE(ring_started, service_.name.c_str(), index_, size_);
    // A connection before this one may have pushed without getting its call through.
    signal_event(call_);
    scope_.spawn(flush_used_each_turn());
    serve_left();
    scope_.spawn(work());
    return {};
}

Outcome<void> Ring::make_queue() {
    const std::uint32_t longest_chain = std::max(size_, service_.device.options().seg_max + 2);
    VirtQueue::Setup setup{.features = environment_.features,
                           .size = size_,
                           .addresses = *addresses_,
                           .base = *base_,
                           .memory = environment_.memory,
                           .log = environment_.log,
                           .max_chain = longest_chain};
    std::unique_ptr<InflightQueue> inflight;
    if (environment_.inflight != nullptr) {
        Outcome<std::unique_ptr<InflightQueue>> attached =
            environment_.inflight->attach(index_, setup);
        if (!attached) return std::unexpected(attached.error());
        inflight = std::move(*attached);
        setup.base = inflight->base();
    }
    Outcome<std::unique_ptr<VirtQueue>> queue = VirtQueue::make(setup);
    if (!queue) return std::unexpected(queue.error());
    queue_ = std::move(*queue);
    inflight_ = std::move(inflight);
    return {};
}

Task<void> Ring::suspend() {
    if (!is_running()) co_return;
    stopping_ = true;
    interrupt();
    co_await scope_.join();
    flush_used();
    kick_waiter_.reset();
    if (next_kick_) kick_ = std::move(*std::exchange(next_kick_, std::nullopt));
    base_ = queue_->base();
    queue_.reset();
    inflight_.reset();
    chains_.clear();
    free_chains_.clear();
    stopping_ = false;
    broken_ = false;
    ZBDKIT_TRACE(ring_stopped, service_.name.c_str(), index_);
}

Task<RingBase> Ring::stop() {
    co_await suspend();
    has_kick_ = false;
    kick_.reset();
    call_.reset();
    co_return base_.value_or(0);
}

Task<void> Ring::reset() {
    co_await suspend();
    enabled_ = false;
    has_kick_ = false;
    kick_.reset();
    size_ = 0;
    addresses_.reset();
    base_.reset();
}

Outcome<void> Ring::memory_changed() {
    if (!is_running()) return start_if_ready();
    if (environment_.memory == nullptr) return failure("no guest memory");
    for (DescriptorChain* chain : free_chains_) chain->memory.reset();
    flush_used();
    return queue_->set_memory(environment_.memory);
}

void Ring::log_changed() {
    if (!is_running()) return;
    flush_used();
    queue_->set_log(environment_.log);
}

void Ring::report_fault(const std::string& reason) {
    signal_event(error_);
    service_.warn("{}", reason);
}

void Ring::mark_broken() {
    broken_ = true;
    report_fault(fmt::format("ring {} is broken and stopped: {}", index_, queue_->broken_reason()));
}

/// Makes the worker look at what changed. Whoever waits for a kick stops doing so; the worker then
/// makes a new waiter.
void Ring::interrupt() {
    changed_.wake_all();
    call_wanted_.wake_all();
    if (kick_waiter_) kick_waiter_->stop();
}

// --- the worker -------------------------------------------------------------------------------

Task<void> Ring::work() {
    while (!stopping_) {
        if (!enabled_ || broken_) {
            co_await changed_.wait();
            continue;
        }
        expect_no_kicks();
        const Fetched fetched = fetch();
        switch (fetched) {
            case Fetched::some: co_await NextTurn(); break;
            case Fetched::no_room: co_await changed_.wait(); break;
            case Fetched::broken: mark_broken(); break;
            case Fetched::nothing:
                if (looks_again()) {
                    co_await NextTurn();
                    break;
                }
                expects_kicks_ = true;
                // What came between the look and the request for a kick brings no kick.
                if (queue_->enable_kicks()) {
                    co_await NextTurn();
                } else {
                    co_await wait_for_kick();
                }
                break;
        }
    }
    if (kick_waiter_) {
        kick_waiter_->stop();
        co_await forget_kick_waiter();
    }
}

/// The driver reads on the same cache line, so it is told only when it must be told.
void Ring::expect_no_kicks() {
    if (std::exchange(expects_kicks_, false)) queue_->disable_kicks();
}

/// Whether an empty ring is looked at again at once, instead of waiting for a kick.
bool Ring::looks_again() {
    return !polling_.is_off() && polling_.nothing_found(service_.reactor.now_ns());
}

/// Takes up the chains that an earlier process took and did not return.
void Ring::serve_left() {
    if (inflight_ == nullptr || inflight_->left().empty()) return;
    service_.warn("ring {} goes on with {} requests that an earlier process left in flight", index_,
                  inflight_->left().size());
    in_batch_ = true;
    for (const InflightQueue::Left& left : inflight_->left()) {
        const Job job{.chain = take_chain(), .entry = left.entry};
        const VirtQueue::Pop popped = queue_->pop_again(left.id, left.descriptors, *job.chain);
        if (popped == VirtQueue::Pop::broken) {
            free_chains_.push_back(job.chain);
            mark_broken();
            break;
        }
        ++service_.counters.chains_again;
        const EarlierWrite earlier = environment_.inflight->earlier(index_)[left.entry];
        start_job(popped, job, {.record = {}, .earlier = earlier, .is_again = true});
    }
    in_batch_ = false;
    flush_used();
}

/// @param popped   chain or invalid
/// @param history  without the record, which comes from the job
void Ring::start_job(VirtQueue::Pop popped, Job job, BlkDevice::History history) {
    ++service_.counters.chains;
    if (popped == VirtQueue::Pop::invalid) {
        ZBDKIT_TRACE(ring_chain_refused, service_.name.c_str(), index_, job.chain->id,
                     job.chain->refusal);
        end_job(job, 0);
        return;
    }
    if (inflight_ != nullptr) {
        history.record = WriteRecord(environment_.inflight->slots(index_)[job.entry]);
    }
    scope_.spawn(serve(job, history));
}

/// Takes up to kMaxBatch chains and starts each.
Ring::Fetched Ring::fetch() {
    Fetched fetched = Fetched::some;
    in_batch_ = true;
    unsigned count = 0;
    std::optional<Taken> ahead;  // taken, and started when its data is on the way to the cache
    for (; count < kMaxBatch; ++count) {
        DescriptorChain* chain = take_chain();
        if (chain == nullptr) {
            fetched = Fetched::no_room;
            break;
        }
        const VirtQueue::Pop popped = queue_->pop(*chain);
        if (popped == VirtQueue::Pop::chain || popped == VirtQueue::Pop::invalid) {
            Taken taken{.popped = popped, .job = {.chain = chain}};
            if (inflight_ != nullptr) {
                taken.job.entry = inflight_->took(*chain, queue_->last_descriptors());
            }
            service_.device.prepare(*chain);
            if (ahead) start_job(ahead->popped, ahead->job, BlkDevice::History());
            ahead = taken;
            continue;
        }
        free_chains_.push_back(chain);
        if (popped == VirtQueue::Pop::broken) {
            fetched = Fetched::broken;
        } else if (count == 0) {
            fetched = Fetched::nothing;
        }
        break;
    }
    if (ahead) start_job(ahead->popped, ahead->job, BlkDevice::History());
    in_batch_ = false;
    portion_ = std::clamp(count / kPortionsOfBatch, 1U, kMaxPortion);
    if (fetched == Fetched::some) {
        poll_interval_ns_ = kShortestPollNs;
        if (!polling_.is_off()) {
            polling_.requests_taken(service_.reactor.now_ns(), in_flight());
        }
    }
    flush_used();
    return fetched;
}

Task<void> Ring::serve(Job job, BlkDevice::History history) {
    const std::uint32_t written = co_await service_.device.handle(*job.chain, history);
    end_job(job, written);
}

void Ring::end_job(Job job, std::uint32_t written) {
    if (environment_.log != nullptr) queue_->log_written(*job.chain, written);
    if (inflight_ != nullptr) {
        inflight_->before_push(job.entry);
        unpublished_entries_.push_back(job.entry);
    }
    queue_->put(*job.chain, written);
    ++unpublished_;
    // The region of a packed ring gives an entry to the next chain at once, and knows of one chain
    // that is being returned.
    if (inflight_ != nullptr && environment_.features.packed) publish_used();
    job.chain->clear();
    // The table changed while the request was in flight: what it held is to be unmapped.
    if (job.chain->memory != environment_.memory) job.chain->memory.reset();
    free_chains_.push_back(job.chain);
    // A worker that waits for room; nobody else waits while chains are in flight and the ring
    // runs, so a wake-up too many costs nothing.
    if (free_chains_.size() == 1) changed_.wake_all();
    if (in_batch_) {
        if (unpublished_ < portion_) return;
        // With event indices the driver says when it wants the next call, so an early one is not
        // one more; without them each portion would be called for.
        if (environment_.features.event_idx) {
            flush_used();
        } else {
            publish_used();
        }
    } else if (stopping_) {
        flush_used();
    } else if (!flush_scheduled_) {
        flush_scheduled_ = true;
        call_wanted_.wake_one();
    }
}

/// For chains that end outside of a batch: all that end in one turn of the reactor are put before
/// this coroutine has its turn.
Task<void> Ring::flush_used_each_turn() {
    while (!stopping_) {
        co_await call_wanted_.wait();
        flush_scheduled_ = false;
        if (!polling_.is_off()) look_after_answer();
        flush_used();
    }
}

/// Answers are about to be shown, and what the driver asks for next may come at once. If that pays,
/// the worker that waits for a kick looks for it instead, and no kick is asked for.
void Ring::look_after_answer() {
    if (!polling_.answered(service_.reactor.now_ns(), unpublished_, in_flight()) || !kick_waiter_)
        return;
    expect_no_kicks();
    kick_waiter_->nudge();
}

void Ring::publish_used() {
    if (unpublished_ == 0) return;
    unpublished_ = 0;
    queue_->publish();
    for (const InflightQueue::Entry entry : unpublished_entries_) inflight_->after_push(entry);
    unpublished_entries_.clear();
    call_pending_ = true;
}

/// Makes visible what was put, and sends one call event if the driver wants it.
void Ring::flush_used() {
    publish_used();
    if (!std::exchange(call_pending_, false)) return;
    if (!queue_->take_notification() || !call_) return;
    ++service_.counters.calls;
    ZBDKIT_TRACE(ring_notify, service_.name.c_str(), index_);
    signal_event(call_);
}

Task<void> Ring::wait_for_kick() {
    if (kick_waiter_ && kick_waiter_->is_stopped()) co_await forget_kick_waiter();
    if (next_kick_) {
        kick_ = std::move(*std::exchange(next_kick_, std::nullopt));
        co_return;
    }
    if (!kick_) {
        co_await service_.reactor.sleep_ns(poll_interval_ns_);
        poll_interval_ns_ = std::min(poll_interval_ns_ * 2, kLongestPollNs);
        co_return;
    }
    if (!kick_waiter_) kick_waiter_.emplace(service_.reactor, kick_.get());
    const bool is_ready = co_await kick_waiter_->wait(POLLIN);
    if (!is_ready) co_return;
    if (!clear_event(kick_)) co_return;
    ++service_.counters.kicks;
    ZBDKIT_TRACE(ring_kick, service_.name.c_str(), index_);
}

/// The kernel may still watch the descriptor for a waiter that was stopped.
Task<void> Ring::forget_kick_waiter() {
    const bool is_ready = co_await kick_waiter_->wait(POLLIN);
    ZBDKIT_ASSERT(!is_ready);
    kick_waiter_.reset();
}

/// At most as many chains are in flight as the ring has descriptors: a guest cannot have more.
DescriptorChain* Ring::take_chain() {
    if (free_chains_.empty()) {
        if (chains_.size() == size_) return nullptr;
        chains_.push_back(std::make_unique<DescriptorChain>());
        return chains_.back().get();
    }
    DescriptorChain* chain = free_chains_.back();
    free_chains_.pop_back();
    return chain;
}

}  // namespace zbdkit::vhost_user
