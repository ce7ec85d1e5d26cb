// SPDX-License-Identifier: Apache-2.0
#include "io/reactor.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "base/assert.h"
#include "io/run_queue.h"

namespace zbdkit {

Reactor::Reactor(std::unique_ptr<IoEngine> engine) : engine_(std::move(engine)) {
    ZBDKIT_ASSERT(engine_ != nullptr);
}

Reactor::~Reactor() {
    // A coroutine that still sleeps would never be resumed, and its frame never freed.
    ZBDKIT_ASSERT(timers_.empty());
}

void Reactor::run() {
    while (!stop_.load(std::memory_order_acquire)) turn(true);
    stop_.store(false, std::memory_order_relaxed);
}

void Reactor::stop() {
    stop_.store(true, std::memory_order_release);
    engine_->wake();
}

void Reactor::post(std::move_only_function<void()> work) {
    {
        const std::lock_guard lock(posted_mutex_);
        posted_.push_back(std::move(work));
        has_posted_.store(true, std::memory_order_release);
    }
    engine_->wake();
}

// The poll comes first: so what the turn before has submitted goes to the kernel in the same system
// call that waits, and a loop that watches for something to be done sees it before it waits again.
void Reactor::turn(bool may_wait) {
    engine_->poll(poll_deadline(may_wait));
    run_posted();
    run_scheduled();
    run_due_timers();
}

std::uint64_t Reactor::poll_deadline(bool may_wait) const {
    if (!may_wait || has_scheduled()) return 0;
    // Work posted from now on needs no look here: its wake() keeps the engine from waiting.
    if (has_posted_.load(std::memory_order_acquire)) return 0;
    return timers_.empty() ? IoEngine::kForever : timers_.front().due_ns;
}

void Reactor::run_posted() {
    if (!has_posted_.load(std::memory_order_acquire)) return;
    std::vector<std::move_only_function<void()>> batch;
    {
        const std::lock_guard lock(posted_mutex_);
        batch.swap(posted_);
        has_posted_.store(false, std::memory_order_relaxed);
    }
    for (std::move_only_function<void()>& work : batch) work();
}

Reactor::Sleep Reactor::sleep_ns(std::uint64_t duration_ns) {
    const std::uint64_t now = now_ns();
    const std::uint64_t longest = IoEngine::kForever - 1 - now;
    return Sleep{*this, now + std::min(duration_ns, longest)};
}

void Reactor::add_timer(std::uint64_t due_ns, std::coroutine_handle<> handle) {
    timers_.push_back({due_ns, timer_order_, handle});
    ++timer_order_;
    std::ranges::push_heap(timers_, std::greater());
}

void Reactor::remove_timer(std::coroutine_handle<> handle) {
    const auto found = std::ranges::find(timers_, handle, &Timer::handle);
    ZBDKIT_ASSERT(found != timers_.end());
    timers_.erase(found);
    std::ranges::make_heap(timers_, std::greater());
}

/// Timers that are set meanwhile wait for the next turn, due or not: a coroutine that sleeps for
/// 0 ns in a loop must not keep the reactor here.
void Reactor::run_due_timers() {
    if (timers_.empty()) return;
    const std::uint64_t now = now_ns();
    const std::uint64_t end = timer_order_;
    while (!timers_.empty() && timers_.front().due_ns <= now && timers_.front().order < end) {
        const std::coroutine_handle<> handle = timers_.front().handle;
        std::ranges::pop_heap(timers_, std::greater());
        timers_.pop_back();
        run_chain(handle);
    }
}

}  // namespace zbdkit
