// SPDX-License-Identifier: Apache-2.0
// Reading and writing a file or device of the host for a node, whatever the memory of the request
// looks like: what O_DIRECT does not take goes through a buffer that it does.
#pragma once

#include "base/error.h"
#include "block/node.h"
#include "block/request.h"
#include "io/reactor.h"
#include "io/task.h"

namespace zbdkit {

/// Performs a read or write at the same offset of `fd`.
/// @param node     its memory_alignment and block_size are what `fd` asks of memory; 1 asks nothing
/// @param request  read or write; outlives the task
/// @param at_once  as IoOp::at_once; outlives the task
/// Errors: as read_exactly() and write_exactly(). Thread: owner reactor.
[[nodiscard]] Task<Result<void>> transfer(Reactor& reactor, int fd, const NodeInfo& node,
                                          const Request& request, AtOnce* at_once = nullptr);

}  // namespace zbdkit
