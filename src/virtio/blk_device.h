// SPDX-License-Identifier: Apache-2.0
// The virtio-blk device, whatever transport carries it: turns descriptor chains into requests to a
// BlockBackend and their results into status bytes. It holds what the driver negotiated and can be
// reset to nothing negotiated. One reactor. [virtio 1.3, 5.2]
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "graph/backend.h"
#include "graph/resume.h"
#include "io/task.h"
#include "virtio/blk_config.h"
#include "virtio/blk_parse.h"
#include "virtio/descriptor_chain.h"

namespace zbdkit {

class BlkDevice {
  public:
    struct Options {
        std::string serial;             ///< GET_ID, cut to 20 bytes
        std::uint16_t queue_count = 1;  ///< 1 to kMaxQueues
        std::uint32_t seg_max = 126;    ///< data segments per request; queue size - 2 at most
        bool writable = true;
        bool packed = true;       ///< offer VIRTIO_F_RING_PACKED
        bool write_cache = true;  ///< initial state of CONFIG_WCE's writeback
    };
    static constexpr std::uint16_t kMaxQueues = 64;

    /// Whether virtio-blk can describe the disk; to be asked before a device is made of it.
    /// Errors: what about the disk or the options does not fit, and what would.
    [[nodiscard]] static Outcome<void> check(const NodeInfo& info, const Options& options);

    /// Monotonic nanoseconds, for the limits of the log.
    using Clock = std::move_only_function<std::uint64_t() const>;

    BlkDevice(BlockBackend& backend, const Options& options, Clock now_ns);

    /// Device and ring feature bits that are offered; transports add their own (30, 26).
    [[nodiscard]] std::uint64_t offered_features() const;

    /// What the driver accepted. Bits that were not offered are ignored (the transport refuses
    /// them where it can). The same features once more change nothing.
    void set_features(std::uint64_t features);
    [[nodiscard]] std::uint64_t features() const { return features_; }
    /// Back to nothing negotiated, write cache at its initial state.
    void reset();

    /// A host-managed disk whose driver did not accept ZONED: every request is failed. [5.2.5.2]
    [[nodiscard]] bool refuses_all() const;

    /// Copies `to.size()` bytes of the configuration space from `offset` on; beyond its end: zero.
    void read_config(std::uint32_t offset, MutableBytes to) const;
    /// A write by the driver: only the writeback byte may change, to 0 or 1, if CONFIG_WCE was
    /// negotiated; a range that repeats the present bytes elsewhere is fine.
    /// Errors: a message that names the first byte that differs.
    [[nodiscard]] Outcome<void> write_config(std::uint32_t offset, ConstBytes from);

    /// What a transport that survives this process knows of a chain's request.
    using History = RequestHistory;

    /// Handles one chain: parses, submits, writes the results and the status byte.
    /// @param chain  its lists of segments are cut to the data on the way; id, writable_guest and
    ///               memory stay as they are
    /// @return bytes of the writable memory that the answer spans, for VirtQueue::push and the
    ///         dirty log: all of it, as the status is the last byte. At most 2^32 - 1.
    /// Never fails: what the guest did wrong is answered in the status byte; a chain without room
    /// for one is answered with 0 bytes.
    [[nodiscard]] Task<std::uint32_t> handle(DescriptorChain& chain) {
        return handle(chain, History());
    }
    /// The same for one that may have been handled before.
    [[nodiscard]] Task<std::uint32_t> handle(DescriptorChain& chain, History history);

    /// Says that the chain is handled soon. Where its data lies in memory, the processor begins to
    /// bring it into its cache. Changes nothing, whatever the chain.
    void prepare(const DescriptorChain& chain) const {
        if (!backend_.info().resident.empty()) prefetch_data(chain);
    }

    [[nodiscard]] const Options& options() const { return options_; }
    [[nodiscard]] BlockBackend& backend() { return backend_; }

    /// Requests that were refused because of their form. For the exit summary.
    [[nodiscard]] std::uint64_t refused() const { return refused_; }

  private:
    [[nodiscard]] bool has(std::uint64_t feature) const { return (features_ & feature) != 0; }
    /// Begins a negotiation anew with these features.
    void negotiate(std::uint64_t features);
    /// Whether a completed write must be durable without a flush. [5.2.6.2]
    [[nodiscard]] bool is_write_through() const;

    void prefetch_data(const DescriptorChain& chain) const;
    /// The request to the graph that a request is. Cuts the chain's lists to the data.
    [[nodiscard]] Request make_request(const BlkRequest& request, DescriptorChain& chain) const;
    [[nodiscard]] Task<Result<void>> perform(const BlkRequest& request, DescriptorChain& chain);
    [[nodiscard]] Task<Result<void>> perform_ranges(const BlkRequest& request);
    [[nodiscard]] Task<Result<void>> perform_report(const BlkRequest& request,
                                                    DescriptorChain& chain);
    [[nodiscard]] Task<Result<void>> write_id(const BlkRequest& request, DescriptorChain& chain);

    /// Writes the status of a refusal, counts and logs it.
    /// @return as handle()
    [[nodiscard]] std::uint32_t refuse(const DescriptorChain& chain, const BlkRefusal& refusal);
    /// Logs an error that the storage is to blame for.
    /// @return the error, to be passed up
    [[nodiscard]] std::unexpected<Error> failed(Op op, ByteRange range, const Error& error);
    [[nodiscard]] std::string disk_name() const;

    BlockBackend& backend_;
    Options options_;
    Clock now_ns_;
    BlkDisk disk_;
    std::uint64_t features_ = 0;  // negotiated; 0 = nothing
    BlkRules rules_;              // of disk_ and features_
    bool writeback_ = true;
    std::uint64_t refused_ = 0;
    LogLimiter refusals_log_;
    LogLimiter failures_log_;
};

}  // namespace zbdkit
