// SPDX-License-Identifier: Apache-2.0
// The device as the kernel's requests see it: turns a descriptor into a request to a BlockBackend,
// moves its data, and says what the kernel is to be answered. One reactor.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/error.h"
#include "base/iovec.h"
#include "base/log.h"
#include "block/request.h"
#include "export/ublk/inflight.h"
#include "export/ublk/params.h"
#include "export/ublk/parse.h"
#include "export/ublk/recovery.h"
#include "graph/backend.h"
#include "io/task.h"
#include "zone/zone.h"

namespace zbdkit::ublk {

/// Moves a request's data between the kernel's pages and our memory. Never waits for storage.
class DataPort {
  public:
    DataPort() = default;
    DataPort(const DataPort&) = delete;
    DataPort& operator=(const DataPort&) = delete;
    virtual ~DataPort() = default;

    /// The data of a write or append. Errors: io.
    [[nodiscard]] virtual Result<void> fetch(TagId id, MutableBytes to) = 0;
    /// The data of a read, or a report. Errors: io.
    [[nodiscard]] virtual Result<void> deliver(TagId id, ConstBytes from) = 0;
};

/// What the kernel is told of a request.
struct Answer {
    std::int32_t result = 0;          ///< bytes or 0; a negative errno
    std::uint64_t append_sector = 0;  ///< of a successful append
};

/// Where a tag's data can be.
struct TagMemory {
    MutableBytes buffer;  ///< ours, max_io_bytes
    MutableBytes lent{};  ///< stands for the request's pages (io/lent_buffers.h); empty: not lent
};

class Device {
  public:
    /// Monotonic nanoseconds, for the limits of the log.
    using Clock = std::move_only_function<std::uint64_t() const>;

    /// @param backend, inflight, port  outlive the device
    Device(BlockBackend& backend, const DiskOptions& options, Inflight& inflight, DataPort& port,
           Clock now_ns);

    /// Finds out what became of the requests that an earlier server left. To be awaited before the
    /// first handle(), if there was one.
    /// Errors: zones cannot be reported.
    [[nodiscard]] Task<Result<void>> recover();

    /// Handles the request that has come with a tag.
    /// @param descriptor  a copy: the kernel's own may change once the request is answered
    /// Never fails: what went wrong is in the answer.
    [[nodiscard]] Task<Answer> handle(IoDescriptor descriptor, TagId id, TagMemory memory);

    [[nodiscard]] BlockBackend& backend() { return backend_; }
    /// For the exit summary: requests that were refused because of their form, and those that an
    /// earlier server left and that came back.
    [[nodiscard]] std::uint64_t refused() const { return refused_; }
    [[nodiscard]] std::uint64_t came_back() const { return came_back_; }

  private:
    [[nodiscard]] bool is_lent(const IoRequest& request, const TagMemory& memory) const;
    [[nodiscard]] Request make_request(const IoRequest& request, IoSegments data) const;
    [[nodiscard]] Task<Result<void>> perform(Request& request, const IoRequest& asked, TagId id,
                                             bool is_lent);
    [[nodiscard]] Task<Result<void>> report(const IoRequest& request, TagId id,
                                            MutableBytes buffer);
    [[nodiscard]] bool is_noted(const IoRequest& request) const;
    /// Whether requests of an earlier server are still to come back.
    [[nodiscard]] bool is_recovering() const {
        return recovery_ != nullptr && recovery_->pending() != 0;
    }
    [[nodiscard]] Task<Result<RequestHistory>> recognise(const IoRequest& request, TagId id,
                                                         ConstBytes data);
    [[nodiscard]] Answer refuse(const IoDescriptor& descriptor, const IoRefusal& refusal);
    [[nodiscard]] Answer failed(const IoRequest& request, const Error& error);
    [[nodiscard]] std::string disk_name() const;

    BlockBackend& backend_;
    DiskOptions options_;
    IoRules rules_;
    Inflight& inflight_;
    DataPort& port_;
    Clock now_ns_;
    std::unique_ptr<Recovery> recovery_;  // if there was an earlier server
    std::uint64_t refused_ = 0;
    std::uint64_t came_back_ = 0;
    LogLimiter refusals_log_;
    LogLimiter failures_log_;
};

/// A zone as the kernel wants it reported.
[[nodiscard]] ReportedZone to_wire(const ZoneDescriptor& zone);

/// What the kernel is answered for an error: a negative errno that says the same to a program, and
/// none that makes the kernel send the request again.
[[nodiscard]] std::int32_t answer_of(const Error& error);

}  // namespace zbdkit::ublk
