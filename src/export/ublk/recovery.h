// SPDX-License-Identifier: Apache-2.0
// Requests that a server left in flight when it died, as the kernel hands them to the next one: not
// marked as such, among new ones, maybe under other tags. Each is recognised by the note that was
// taken of it, so that nothing is done twice. One reactor.
//
//   a write   stands where its note says. Linux has one write of a zone in flight, so what the
//             zone's pointer has passed beyond its start is its own
//   an append of the same zone and length may be several: it is the one whose data is on the disk.
//             If that is two it does not matter which; if none, it was not written
//   a close   of the same zone
#pragma once

#include <cstddef>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "block/earlier_write.h"
#include "export/ublk/inflight.h"
#include "export/ublk/parse.h"
#include "graph/backend.h"
#include "graph/resume.h"
#include "io/task.h"

namespace zbdkit::ublk {

class Recovery {
  public:
    /// @param inflight  taken over; both outlive this
    Recovery(BlockBackend& backend, Inflight& inflight);

    /// Finds out what became of the requests. To be awaited before any request is served: later the
    /// zones' pointers tell of new writes as well.
    /// Errors: zones cannot be reported.
    [[nodiscard]] Task<Result<void>> judge();

    /// How many requests have not come back yet.
    [[nodiscard]] std::size_t pending() const { return pending_; }

    /// Whether the request is one that came back. If so its note is the tag's from now on.
    /// @param data  of a write or append
    /// @return what is known of it; is_again says whether it came back
    /// Errors: what was written cannot be read for comparison.
    [[nodiscard]] Task<Result<RequestHistory>> recognise(const IoRequest& request, TagId id,
                                                         ConstBytes data);

    /// The request failed before its data was known: if it may be one that came back, a note goes
    /// with it. A note that nobody comes back for would be taken for that of a later request.
    void give_up(const IoRequest& request, TagId id);

  private:
    [[nodiscard]] bool fits(const Note& note, const IoRequest& request) const;
    [[nodiscard]] std::vector<std::size_t> candidates(const IoRequest& request, TagId id) const;
    [[nodiscard]] Task<Result<EarlierWrite>> judge_write(WriteSlot& slot);
    [[nodiscard]] Task<Result<EarlierWrite>> judge_append(WriteSlot& slot);
    [[nodiscard]] Task<Result<bool>> is_on_disk(const EarlierWrite& earlier, ConstBytes data);
    [[nodiscard]] RequestHistory claim(std::size_t index, TagId id, EarlierWrite earlier);

    BlockBackend& backend_;
    Inflight& inflight_;
    std::vector<EarlierWrite> earlier_;  // by the index of left()
    std::size_t pending_ = 0;
};

}  // namespace zbdkit::ublk
