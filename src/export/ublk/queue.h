// SPDX-License-Identifier: Apache-2.0
// Queue: one queue of a device, from its descriptors in the kernel's memory to the answers. Each
// tag is a coroutine that fetches a request, has the device handle it, and answers it with the
// fetch of the next. One reactor, which must be that of all queues of the device.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/bytes.h"
#include "base/error.h"
#include "export/ublk/device.h"
#include "export/ublk/inflight.h"
#include "export/ublk/wire.h"
#include "io/lent_buffers.h"
#include "io/reactor.h"
#include "io/scope.h"
#include "io/task.h"

namespace zbdkit::ublk {

/// What a queue needs of its server. Outlives it.
struct QueueContext {
    Reactor& reactor;
    Device& device;
    Inflight& inflight;
    const char* name = "";  ///< of the disk, for the log: "/dev/ublkb0"
    int fd = -1;            ///< /dev/ublkcN
    int zeroes = -1;        ///< /dev/zero
    /// A place for each tag, queue by queue, if the device lends its requests' buffers; else null.
    const LentRange* lent = nullptr;
};

class Queue {
  public:
    /// Maps the descriptors and makes the tags' buffers.
    /// @param max_io_bytes  of each buffer
    /// Errors: not enough memory.
    [[nodiscard]] static Outcome<std::unique_ptr<Queue>> make(QueueContext context,
                                                              std::uint16_t index,
                                                              std::uint16_t depth,
                                                              std::uint64_t max_io_bytes);
    Queue(const Queue&) = delete;
    Queue& operator=(const Queue&) = delete;
    ~Queue();

    /// Fetches all tags, and serves them until the device is stopped. The tasks end then.
    void start(TaskScope& scope);

  private:
    Queue(QueueContext context, std::uint16_t index, std::uint16_t depth)
        : context_(context), index_(index), depth_(depth) {}
    [[nodiscard]] Task<void> serve(std::uint16_t tag);
    [[nodiscard]] MutableBytes buffer(std::uint16_t tag) {
        const std::size_t length = buffers_.size() / depth_;
        return buffers_.subspan(tag * length, length);
    }
    /// Of the tag among those of all queues.
    [[nodiscard]] std::uint16_t place_of(std::uint16_t tag) const {
        return static_cast<std::uint16_t>(index_ * depth_ + tag);
    }
    [[nodiscard]] TagMemory memory_of(std::uint16_t tag);
    [[nodiscard]] CommandOp command_for(IoCode code, const IoCommand& command) const;

    QueueContext context_;
    std::uint16_t index_;
    std::uint16_t depth_;
    std::span<const IoDescriptor> descriptors_;  // mapped; the kernel writes them
    MutableBytes buffers_;                       // mapped; one of equal size for each tag
};

}  // namespace zbdkit::ublk
