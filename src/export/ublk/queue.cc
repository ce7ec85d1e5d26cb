// SPDX-License-Identifier: Apache-2.0
#include "export/ublk/queue.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "base/text.h"
#include "base/trace.h"
#include "base/units.h"
#include "export/ublk/populate.h"
#include "io/file_io.h"

namespace zbdkit::ublk {
namespace {

std::uint64_t page_size() { return static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)); }

std::uint64_t descriptors_length(std::uint16_t depth) {
    return round_up(std::uint64_t{depth} * sizeof(IoDescriptor), page_size());
}

/// What the kernel wrote before it told of the request.
IoDescriptor copy_of(const IoDescriptor& shared) {
    IoDescriptor copy;
    std::memcpy(&copy, &shared, sizeof copy);
    return copy;
}

}  // namespace

Outcome<std::unique_ptr<Queue>> Queue::make(QueueContext context, std::uint16_t index,
                                            std::uint16_t depth, std::uint64_t max_io_bytes) {
    std::unique_ptr<Queue> queue(new Queue(context, index, depth));
    const std::uint64_t offset = index * queue_stride(page_size());
    void* descriptors = ::mmap(nullptr, descriptors_length(depth), PROT_READ,
                               MAP_SHARED | MAP_POPULATE, context.fd, static_cast<off_t>(offset));
    if (descriptors == MAP_FAILED) {
        return failure(fmt::format("cannot map the requests of ublk queue {}: {}", index,
                                   std::strerror(errno)));
    }
    queue->descriptors_ = std::span(static_cast<const IoDescriptor*>(descriptors), depth);
    const std::uint64_t length = depth * max_io_bytes;
    void* buffers =
        ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffers == MAP_FAILED) {
        return failure(fmt::format("cannot have {} for the data of ublk queue {}: {}",
                                   format_size(length), index, std::strerror(errno)));
    }
    queue->buffers_ = MutableBytes(byte_pointer(buffers), length);
    ::madvise(buffers, length, MADV_DONTDUMP);
    // Present from the start: when the kernel writes to the disk to get memory, the way there must
    // not need any.
    if (Outcome<void> present = populate(queue->buffers_); !present) {
        return std::unexpected(std::move(present.error()));
    }
    return queue;
}

Queue::~Queue() {
    if (!buffers_.empty()) ::munmap(buffers_.data(), buffers_.size());
    if (!descriptors_.empty()) {
        ::munmap(const_cast<IoDescriptor*>(descriptors_.data()), descriptors_length(depth_));
    }
}

void Queue::start(TaskScope& scope) {
    for (std::uint16_t tag = 0; tag < depth_; ++tag) scope.spawn(serve(tag));
}

TagMemory Queue::memory_of(std::uint16_t tag) {
    TagMemory memory{.buffer = buffer(tag)};
    if (context_.lent != nullptr) memory.lent = context_.lent->at(place_of(tag));
    return memory;
}

CommandOp Queue::command_for(IoCode code, const IoCommand& command) const {
    CommandOp op;
    op.fd = context_.fd;
    op.code = static_cast<std::uint32_t>(code);
    std::memcpy(op.argument.data(), &command, sizeof command);
    if (context_.lent != nullptr) {
        op.address =
            buffer_place(static_cast<std::uint16_t>(context_.lent->first + place_of(command.tag)));
    }
    return op;
}

Task<void> Queue::serve(std::uint16_t tag) {
    const TagId id{index_, tag};
    IoCommand command{.queue = index_, .tag = tag};
    CommandAwaiter fetch(context_.reactor.engine(), command_for(IoCode::fetch, command));
    std::int32_t result = co_await fetch;
    while (result == kRequestArrived) {
        const IoDescriptor descriptor = copy_of(descriptors_[tag]);
        ZBDKIT_TRACE(ublk_request, context_.name, index_, tag, descriptor.operation_and_flags,
                     descriptor.start_sector, descriptor.sectors);
        const Answer answer = co_await context_.device.handle(descriptor, id, memory_of(tag));
        ZBDKIT_TRACE(ublk_answer, context_.name, index_, tag,
                     static_cast<std::uint32_t>(std::max(-answer.result, 0)));
        command.result = answer.result;
        command.append_sector = answer.append_sector;
        CommandAwaiter commit(context_.reactor.engine(),
                              command_for(IoCode::commit_and_fetch, command));
        Note& note = context_.inflight.note(id);
        if (note.word != 0) {
            commit.clears = &note.word;
            commit.zeroes = context_.zeroes;
        }
        result = co_await commit;
    }
    // The kernel ends all fetches so when the device is stopped.
    if (result == -ENODEV) co_return;
    spdlog::error("ublk {}: tag {} of queue {} is lost: {}", context_.name, tag, index_,
                  std::strerror(-result));
}

}  // namespace zbdkit::ublk
