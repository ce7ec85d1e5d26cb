// SPDX-License-Identifier: Apache-2.0
#include "virtio/descriptor_chain.h"

#include <algorithm>

namespace zbdkit {

void mark_written(const DirtyLog& log, const DescriptorChain& chain, std::uint64_t written) {
    for (const ByteRange& range : chain.writable_guest) {
        if (written == 0) return;
        const std::uint64_t length = std::min(written, range.length);
        log.mark({range.offset, length});
        written -= length;
    }
}

}  // namespace zbdkit
