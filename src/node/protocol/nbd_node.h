// SPDX-License-Identifier: Apache-2.0
// The node of an export of an NBD server, over one or several connections. When they are lost it
// goes on with new ones, as long as it may, and says what that has cost: a flush fails after writes
// that were acknowledged have been lost with a server. Drops and makes connections only while
// requests are in flight. One reactor.
#pragma once

#include <cstdint>
#include <memory>

#include "base/error.h"
#include "block/driver.h"
#include "block/node.h"
#include "io/task.h"
#include "node/protocol/nbd_connection.h"

namespace zbdkit {

struct NbdNodeSettings {
    NbdServer server;
    bool read_only = false;
    std::uint64_t most_connections = 1;
    std::uint64_t reconnect_delay_ns = 0;  ///< 0: a lost connection is not made again
};

/// Connects to the server.
/// Errors: those of NbdConnection::open(); an export that can only be read, opened for writing; one
/// with no whole block, or blocks that are none.
[[nodiscard]] Task<Outcome<std::unique_ptr<BlockNode>>> open_nbd_node(OpenContext& context,
                                                                      NbdNodeSettings settings);

}  // namespace zbdkit
