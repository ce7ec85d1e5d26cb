// SPDX-License-Identifier: Apache-2.0
#include "node/format/live_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "node/format/page_writes.h"

namespace zbdkit::zoned {
namespace {

constexpr std::uint32_t kWordsPerPage = kPageSize / sizeof(std::uint64_t);

}  // namespace

Task<Outcome<void>> LiveTable::open(const Layout& layout, bool read_only) {
    const ByteRange range = {layout.live_table_offset, layout.live_table_length};
    offset_ = range.offset;
    // Read in any case: a bad sector under a mapping would kill the process.
    copy_ = AlignedBuffer(range.length);
    words_ = copy_.bytes();
    const iovec segment = segment_of(words_);
    Request request = read_request(range, IoSegments(&segment, 1));
    const Result<void> read = co_await child_.submit(request);
    if (!read) {
        co_return failure(fmt::format("cannot read the live table of '{}': zbdkit check says what "
                                      "mends it",
                                      child_.describe()),
                          read.error());
    }
    if (read_only) co_return Outcome<void>{};
    Result<NodeMapping> mapping = child_.map(range);
    if (mapping) {
        mapping_ = std::move(*mapping);
        words_ = mapping_.bytes();
        copy_ = AlignedBuffer();
    } else {
        is_written_ = true;
        is_changed_.resize(range.length / kPageSize);
    }
    co_return Outcome<void>{};
}

std::uint64_t LiveTable::get(std::uint32_t zone) const {
    return load_le<std::uint64_t>(words_.data() + std::size_t{zone} * sizeof(std::uint64_t));
}

void LiveTable::set(std::uint32_t zone, std::uint64_t bits) {
    store_le(words_.data() + std::size_t{zone} * sizeof bits, bits);
    if (is_written_) mark_changed(zone / kWordsPerPage);
}

void LiveTable::mark_changed(std::uint32_t page) {
    if (is_changed_.at(page)) return;
    is_changed_.at(page) = true;
    changed_pages_.push_back(page);
}

/// Words may change again while their page is on its way, so what is written is a copy of it.
Task<Result<void>> LiveTable::write_changed_pages() {
    const std::vector<std::uint32_t> pages = std::exchange(changed_pages_, {});
    AlignedBuffer images(pages.size() * kPageSize);
    std::vector<PageWrite> writes;
    for (const std::uint32_t page : pages) {
        is_changed_.at(page) = false;
        const std::uint64_t start = std::uint64_t{page} * kPageSize;
        const MutableBytes image = images.bytes().subspan(writes.size() * kPageSize, kPageSize);
        std::ranges::copy(words_.subspan(start, kPageSize), image.begin());
        writes.push_back({.offset = offset_ + start, .page = image});
    }
    const Result<void> result = co_await write_pages(child_, writes);
    if (!result) {
        for (const std::uint32_t page : pages) mark_changed(page);
    }
    co_return result;
}

}  // namespace zbdkit::zoned
