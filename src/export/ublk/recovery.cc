// SPDX-License-Identifier: Apache-2.0
#include "export/ublk/recovery.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/buffer.h"
#include "base/iovec.h"
#include "block/write_record.h"

namespace zbdkit::ublk {
namespace {

std::uint64_t word_of(IoOperation operation) { return 1 + static_cast<std::uint64_t>(operation); }

}  // namespace

Recovery::Recovery(BlockBackend& backend, Inflight& inflight)
    : backend_(backend), inflight_(inflight), earlier_(inflight.left().size()) {}

Task<Result<void>> Recovery::judge() {
    const std::span<Note> left = inflight_.left();
    for (std::size_t i = 0; i < left.size(); ++i) {
        if (left[i].word == 0) continue;
        ++pending_;
        if (left[i].word == word_of(IoOperation::write)) {
            earlier_[i] = co_await ok(judge_write(left[i].slot));
        } else if (left[i].word == word_of(IoOperation::zone_append)) {
            earlier_[i] = co_await ok(judge_append(left[i].slot));
        }
    }
    co_return Result<void>();
}

/// How far the zone's pointer has passed the write's start: that may be beyond the noted end, if
/// the request grew while it waited to come back and a second server died over it.
Task<Result<EarlierWrite>> Recovery::judge_write(WriteSlot& slot) {
    WriteSlot endless{.place = slot.place, .length = std::numeric_limits<std::uint64_t>::max()};
    co_return co_await judge_slot(backend_, endless);
}

/// What was written in part is not gone on with: other appends may come to stand behind it. Its
/// place is forgotten now, or a later server would take their data for the rest.
Task<Result<EarlierWrite>> Recovery::judge_append(WriteSlot& slot) {
    const EarlierWrite earlier = co_await ok(judge_slot(backend_, slot));
    if (earlier.landed == EarlierWrite::kAll) co_return earlier;
    WriteRecord(slot).withdrawn();
    co_return EarlierWrite();
}

bool Recovery::fits(const Note& note, const IoRequest& request) const {
    if (note.word != word_of(request.operation)) return false;
    if (note.offset != request.range.offset) return false;
    // A write that waits may be joined with what follows it; an append never is.
    return request.operation == IoOperation::write || note.length == request.range.length;
}

/// That of the same tag first: requests keep their tags unless the disk has an I/O scheduler.
std::vector<std::size_t> Recovery::candidates(const IoRequest& request, TagId id) const {
    std::vector<std::size_t> found;
    const std::span<Note> left = inflight_.left();
    const std::size_t own = inflight_.index_of(id);
    if (fits(left[own], request)) found.push_back(own);
    for (std::size_t i = 0; i < left.size(); ++i) {
        if (i != own && fits(left[i], request)) found.push_back(i);
    }
    return found;
}

Task<Result<bool>> Recovery::is_on_disk(const EarlierWrite& earlier, ConstBytes data) {
    AlignedBuffer written(data.size());
    const std::array<iovec, 1> segments = {iovec{written.data(), written.size()}};
    Request request = read_request({earlier.offset, data.size()}, segments);
    co_await ok(backend_.submit(request));
    co_return std::ranges::equal(written.bytes(), data);
}

RequestHistory Recovery::claim(std::size_t index, TagId id, EarlierWrite earlier) {
    inflight_.claim(inflight_.left()[index], id);
    --pending_;
    return {.record = WriteRecord(inflight_.note(id).slot), .earlier = earlier, .is_again = true};
}

void Recovery::give_up(const IoRequest& request, TagId id) {
    const std::vector<std::size_t> found = candidates(request, id);
    if (!found.empty()) static_cast<void>(claim(found.front(), id, EarlierWrite()));
}

Task<Result<RequestHistory>> Recovery::recognise(const IoRequest& request, TagId id,
                                                 ConstBytes data) {
    const std::vector<std::size_t> found = candidates(request, id);
    if (found.empty()) co_return RequestHistory();
    if (request.operation != IoOperation::zone_append) {
        co_return claim(found.front(), id, earlier_[found.front()]);
    }
    for (const std::size_t i : found) {
        if (earlier_[i].landed != EarlierWrite::kAll) continue;
        const Result<bool> is_there = co_await is_on_disk(earlier_[i], data);
        // While the comparison waited, another request may have claimed it.
        if (!fits(inflight_.left()[i], request)) continue;
        if (!is_there || *is_there) {
            // What cannot be read goes with the request that fails for it: a note that no request
            // comes back for would be taken for that of a later one.
            const RequestHistory history = claim(i, id, earlier_[i]);
            if (!is_there) co_return std::unexpected(is_there.error());
            co_return history;
        }
    }
    for (const std::size_t i : found) {
        const bool is_unwritten = earlier_[i].landed != EarlierWrite::kAll;
        if (is_unwritten && fits(inflight_.left()[i], request)) {
            co_return claim(i, id, EarlierWrite());
        }
    }
    co_return RequestHistory();
}

}  // namespace zbdkit::ublk
