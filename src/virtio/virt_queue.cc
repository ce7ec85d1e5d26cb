// SPDX-License-Identifier: Apache-2.0
#include "virtio/virt_queue.h"

#include <fmt/format.h>

#include "virtio/packed_queue.h"
#include "virtio/split_queue.h"

namespace zbdkit {
namespace {

constexpr std::uint32_t kMaxQueueSize = 32768;

}  // namespace

Outcome<std::unique_ptr<VirtQueue>> VirtQueue::make(const Setup& setup) {
    if (setup.size == 0 || setup.size > kMaxQueueSize) {
        return failure(fmt::format("queue size {}: expected 1 to {}", setup.size, kMaxQueueSize),
                       Errc::out_of_range);
    }
    if (!setup.features.packed && !is_power_of_two(setup.size)) {
        return failure(fmt::format("queue size {}: a split ring needs a power of two", setup.size),
                       Errc::misaligned);
    }
    if (setup.max_chain == 0 || setup.memory == nullptr) {
        return failure("a queue needs memory and a longest chain");
    }
    return setup.features.packed ? PackedQueue::make(setup) : SplitQueue::make(setup);
}

}  // namespace zbdkit
