// SPDX-License-Identifier: Apache-2.0
// The node of an RBD image. librbd's threads do the work and make an eventfd readable, by which the
// reactor reaps what has ended: no thread of librbd touches the node.
#pragma once

#include <memory>

#include "block/driver.h"
#include "block/node.h"
#include "node/protocol/rbd_image.h"

namespace zbdkit {

[[nodiscard]] std::unique_ptr<BlockNode> make_rbd_node(OpenContext& context,
                                                       std::unique_ptr<RbdImage> image);

}  // namespace zbdkit
