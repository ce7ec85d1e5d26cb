// SPDX-License-Identifier: Apache-2.0
#include "node/format/page_writes.h"

#include <algorithm>

#include "base/buffer.h"
#include "io/scope.h"

namespace zbdkit::zoned {
namespace {

/// A large disk has thousands of pages, and a reset of all its zones changes each.
constexpr std::size_t kMostAtOnce = 64;

Task<void> write_page(BlockNode& child, const PageWrite& write, Result<void>& result) {
    const iovec segment = segment_of(write.page);
    Request request = write_request({write.offset, write.page.size()}, IoSegments(&segment, 1));
    const Result<void> written = co_await child.submit(request);
    if (!written) result = written;
}

}  // namespace

Task<Result<void>> write_pages(BlockNode& child, std::span<const PageWrite> writes) {
    Result<void> result;
    TaskScope scope;
    while (result && !writes.empty()) {
        const auto batch = writes.first(std::min(writes.size(), kMostAtOnce));
        for (const PageWrite& write : batch) scope.spawn(write_page(child, write, result));
        co_await scope.join();
        writes = writes.subspan(batch.size());
    }
    co_return result;
}

}  // namespace zbdkit::zoned
