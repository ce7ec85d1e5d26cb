// SPDX-License-Identifier: Apache-2.0
// Ring: one virtqueue of a connection. It collects what the front end says of it, in any order,
// and runs when it knows all: enabled, a kick descriptor, size, addresses, base, and guest memory
// that holds them. [vhost-user, "Ring states"]
//
// While it runs, one coroutine waits for kicks and takes chains in batches; each chain is a
// coroutine of its own. Chains that end in the same turn of the reactor share one call event. What
// a guest does wrong breaks its ring and nothing else. One reactor.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"
#include "export/vhost_user/inflight.h"
#include "export/vhost_user/poll_window.h"
#include "export/vhost_user/service.h"
#include "io/file_io.h"
#include "io/scope.h"
#include "io/sync.h"
#include "virtio/virt_queue.h"

namespace zbdkit::vhost_user {

/// What all rings of a connection share. The session owns it and tells rings of changes.
struct RingEnvironment {
    RingFeatures features;
    std::shared_ptr<const GuestMemory> memory;  ///< null: no memory table yet
    std::shared_ptr<const DirtyLog> log;        ///< null: nothing is logged
    InflightRegion* inflight = nullptr;         ///< null: nothing outlives this process
};

class Ring {
  public:
    Ring(Service& service, const RingEnvironment& environment, unsigned index)
        : service_(service),
          environment_(environment),
          index_(index),
          polling_(service.poll_bound_ns) {}
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;
    /// The ring is stopped.
    ~Ring();

    // What the front end says. A ring that runs and is enabled refuses another size or base; its
    // addresses may be said again, with or without logging (QEMU does so when a migration starts).
    // One that runs disabled is suspended first: Cloud Hypervisor sets queues up anew after no
    // more than disabling them. All wait for requests in flight if they must.
    [[nodiscard]] Task<Outcome<void>> set_size(std::uint32_t size);
    [[nodiscard]] Task<Outcome<void>> set_base(RingBase base);
    [[nodiscard]] Task<Outcome<void>> set_addresses(RingAddresses addresses);
    void set_enabled(bool enabled);
    /// @param kick  an eventfd, or none: the ring is looked at again and again, at least once in
    ///              kLongestPollNs
    void set_kick(UniqueFd kick);
    /// Replaces the call descriptor. A running ring signals the new one once: the front end may
    /// have missed what went to the old one.
    void set_call(UniqueFd call);
    void set_error(UniqueFd error) { error_ = std::move(error); }

    /// Starts the ring if all is known, first of all with the requests that an earlier process left
    /// in flight. Doing so twice is harmless.
    /// Errors: all is known and the ring cannot be, for example because it is not in guest memory,
    /// or because of what stands in the inflight region.
    [[nodiscard]] Outcome<void> start_if_ready();
    /// Reports why the ring cannot go on: logs it and signals the error descriptor.
    void report_fault(const std::string& reason);

    /// Stops fetching, waits for the requests in flight, sends the last call event and forgets the
    /// queue; start_if_ready() goes on where it was. After it the guest's memory and the call
    /// descriptor are left alone.
    [[nodiscard]] Task<void> suspend();
    /// suspend(), and the kick and call descriptors go: GET_VRING_BASE.
    /// @return where the device is in the ring
    [[nodiscard]] Task<RingBase> stop();
    /// suspend(), and nothing is known any more but the call and error descriptors, which QEMU
    /// sends only once: RESET_DEVICE.
    [[nodiscard]] Task<void> reset();

    [[nodiscard]] bool is_running() const { return queue_ != nullptr; }
    /// Whether it takes requests.
    [[nodiscard]] bool is_active() const { return is_running() && enabled_; }

    /// The memory table changed.
    /// Errors: the ring is no longer in guest memory; it must be suspended.
    [[nodiscard]] Outcome<void> memory_changed();
    void log_changed();

    /// How often a ring without a kick descriptor is looked at: from the first right after work,
    /// doubling to the second while it is idle.
    static constexpr std::uint64_t kShortestPollNs = 20'000;
    static constexpr std::uint64_t kLongestPollNs = 1'000'000;
    /// Chains that are taken in one turn before other rings get theirs.
    static constexpr unsigned kMaxBatch = 32;
    /// What becomes of a batch is shown to the driver in portions, so that it has something to do
    /// while the rest is served: a quarter of what the batch before had, and at most so many. Fewer
    /// stores to the cache line that the driver looks at is what they are for.
    static constexpr unsigned kPortionsOfBatch = 4;
    static constexpr unsigned kMaxPortion = 8;

  private:
    enum class Fetched : std::uint8_t { some, nothing, no_room, broken };

    [[nodiscard]] Task<void> work();
    [[nodiscard]] Task<void> wait_for_kick();
    [[nodiscard]] Task<void> forget_kick_waiter();
    void look_after_answer();
    void expect_no_kicks();
    [[nodiscard]] bool looks_again();
    [[nodiscard]] Task<void> flush_used_each_turn();
    /// A chain on its way.
    struct Job {
        DescriptorChain* chain = nullptr;
        InflightQueue::Entry entry = 0;  ///< if there is an inflight region
    };
    /// A chain that was popped and not started yet.
    struct Taken {
        VirtQueue::Pop popped;  ///< chain or invalid
        Job job;
    };
    [[nodiscard]] Outcome<void> make_queue();
    [[nodiscard]] Task<void> serve(Job job, BlkDevice::History history);
    void serve_left();
    void start_job(VirtQueue::Pop popped, Job job, BlkDevice::History history);
    [[nodiscard]] Fetched fetch();
    void end_job(Job job, std::uint32_t written);
    void publish_used();
    void flush_used();
    void interrupt();
    void mark_broken();
    [[nodiscard]] DescriptorChain* take_chain();
    [[nodiscard]] std::size_t in_flight() const { return chains_.size() - free_chains_.size(); }

    Service& service_;
    const RingEnvironment& environment_;
    unsigned index_;

    // What the front end said.
    bool enabled_ = false;
    bool has_kick_ = false;
    UniqueFd kick_;  // none although has_kick_: polled
    UniqueFd call_;
    UniqueFd error_;
    std::uint32_t size_ = 0;
    std::optional<RingAddresses> addresses_;
    std::optional<RingBase> base_;

    // The running ring.
    std::unique_ptr<VirtQueue> queue_;
    std::unique_ptr<InflightQueue> inflight_;  // null: no region
    bool stopping_ = false;
    bool broken_ = false;
    bool expects_kicks_ = true;  // as far as the guest was told
    RingPolling polling_;
    std::optional<ReadinessWaiter> kick_waiter_;
    std::optional<UniqueFd> next_kick_;  // replaces kick_ when nobody waits for that
    std::uint64_t poll_interval_ns_ = kShortestPollNs;
    WaitQueue changed_;  // enabled, stopping, room for chains
    WaitQueue call_wanted_;
    unsigned portion_ = 1;
    unsigned unpublished_ = 0;                               // put and not yet visible
    std::vector<InflightQueue::Entry> unpublished_entries_;  // of them
    bool call_pending_ = false;                              // visible and not yet notified
    bool flush_scheduled_ = false;
    bool in_batch_ = false;
    TaskScope scope_;

    std::vector<std::unique_ptr<DescriptorChain>> chains_;  // all that were ever needed at a time
    std::vector<DescriptorChain*> free_chains_;             // those of them not in flight
};

}  // namespace zbdkit::vhost_user
