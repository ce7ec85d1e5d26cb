// SPDX-License-Identifier: Apache-2.0
// Requests that an earlier process was given and may have carried out, in whole or in part: what is
// left of them is submitted, so that none is done twice. For exports whose client outlives the
// daemon and hands its requests over again. One reactor. Why this is enough: docs/inflight.md.
#pragma once

#include "base/error.h"
#include "block/earlier_write.h"
#include "block/request.h"
#include "block/write_record.h"
#include "graph/backend.h"
#include "io/task.h"

namespace zbdkit {

/// What an export that survives this process knows of a request.
struct RequestHistory {
    WriteRecord record{};    ///< where to keep the place of its data
    EarlierWrite earlier{};  ///< what an earlier process did of it, if it is a write
    bool is_again = false;   ///< an earlier process took it too, and may have done it
};

/// Submits what is left to do of a request that is_again.
[[nodiscard]] Task<Result<void>> submit_again(BlockBackend& backend, Request& request,
                                              const RequestHistory& history);

/// Submits what an earlier process left to do of a request: for nearly every request, all of it.
/// Fills in the request's results as BlockBackend::submit() does.
/// @param request  its record is replaced by that of the history; both outlive the task
/// Errors: as BlockBackend::submit().
[[nodiscard]] inline Task<Result<void>> submit_rest(BlockBackend& backend, Request& request,
                                                    const RequestHistory& history) {
    request.record = history.record;
    return history.is_again ? submit_again(backend, request, history) : backend.submit(request);
}

/// Compares what a slot of an earlier process says with its zone, and makes the slot say what came
/// of that: it must stay true when the zone's pointer moves on and this process, too, dies. To be
/// called before the first request of this process.
/// Errors: the zone cannot be reported.
[[nodiscard]] Task<Result<EarlierWrite>> judge_slot(BlockBackend& backend, WriteSlot& slot);

}  // namespace zbdkit
