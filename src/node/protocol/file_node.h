// SPDX-License-Identifier: Apache-2.0
// The node of storage without zones behind a descriptor: a regular file or a block device, through
// io_uring. Drivers "file" and "host_device" open it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/unique_fd.h"
#include "block/node.h"
#include "io/engine.h"
#include "io/reactor.h"
#include "node/protocol/image_lock.h"

namespace zbdkit {

/// What a file or block device is, found out once.
struct FileShape {
    std::uint64_t size = 0;                   ///< bytes
    std::uint32_t block_size = 1;             ///< bytes; what offsets and lengths are multiples of
    std::uint32_t physical_block_size = 512;  ///< bytes
    std::uint32_t memory_alignment = 1;       ///< bytes; of segments' addresses
    bool is_block_device = false;
    bool is_direct = false;          ///< O_DIRECT
    AtOnce at_once = AtOnce::never;  ///< reads and writes, as far as can be told beforehand
};

/// @param filename  for messages
/// @param direct    whether `fd` was opened with O_DIRECT, which asks for alignment
/// Errors: neither a regular file nor a block device; what the host says.
[[nodiscard]] Outcome<FileShape> file_shape(int fd, const std::string& filename, bool direct);

struct FileNodeParts {
    std::string driver;
    std::string filename;
    UniqueFd fd;
    ImageLock lock;  ///< of fd, if it is locked
    FileShape shape;
    bool read_only = false;
};

[[nodiscard]] std::unique_ptr<BlockNode> make_file_node(Reactor& reactor, FileNodeParts parts);

}  // namespace zbdkit
