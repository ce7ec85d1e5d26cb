// SPDX-License-Identifier: Apache-2.0
// The disk that `zbdkit io` works on: a graph of nodes with qemu-io's modes on top. It takes any
// offset and length where the nodes want whole blocks, reads across zones, and may make each write
// durable. All calls on the reactor of the workshop it was opened with.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "app/io_disk_options.h"
#include "app/workshop.h"
#include "base/error.h"
#include "base/iovec.h"
#include "base/options.h"
#include "graph/backend.h"
#include "io/sync.h"
#include "io/task.h"

namespace zbdkit::app {

class IoDisk {
  public:
    struct Modes {
        bool durable_writes = false;  ///< each write ends when it is durable
        bool flushes = true;          ///< flushes reach the disk
        bool discards = true;         ///< discards reach the disk
    };
    [[nodiscard]] static Modes modes_of(const IoOpening& opening);

    /// Opens the nodes. Errors: as open_node().
    [[nodiscard]] static Outcome<std::unique_ptr<IoDisk>> open(Workshop& workshop,
                                                               OptionValues options, Modes modes);

    IoDisk(std::unique_ptr<BlockNode> root, Modes modes)
        : backend_(std::move(root)), modes_(modes) {}

    [[nodiscard]] const NodeInfo& info() const { return backend_.info(); }
    /// The root node's.
    [[nodiscard]] const std::string& driver() { return backend_.root().driver(); }

    /// Errors: out_of_range, if the range passes the end. For refusing before memory is allocated.
    [[nodiscard]] Result<void> check_range(ByteRange range) const;

    /// @param range  any; the part of a block is read with its block, a zone by zone
    [[nodiscard]] Task<Result<void>> read(ByteRange range, IoSegments segments);
    /// @param range  any; a part of a block is written with what is around it, unless the disk is
    ///               zoned: then misaligned
    [[nodiscard]] Task<Result<void>> write(ByteRange range, IoSegments segments, bool fua);
    /// As write(), of zeroes, by the disk's own operation for that.
    /// @param may_write  write them as data where the disk has no such operation
    [[nodiscard]] Task<Result<void>> write_zeroes(ByteRange range, bool fua, bool may_write);
    /// A hint: a disk that cannot do it succeeds, and parts of blocks stay as they are.
    [[nodiscard]] Task<Result<void>> discard(ByteRange range);
    [[nodiscard]] Task<Result<void>> flush();

    /// Errors: not_supported, misaligned, out_of_range. For refusing before memory is allocated.
    /// @param data  starts at a zone; as long as the data
    [[nodiscard]] Result<void> check_append(ByteRange data) const;
    /// @param zone_start  bytes; checked
    /// @return absolute byte where the data is
    /// Errors: what the zone says.
    [[nodiscard]] Task<Result<std::uint64_t>> append(std::uint64_t zone_start, IoSegments segments);
    /// The zones from the one that contains `offset` on; none beyond the end of the disk.
    /// @param most  how many at most
    [[nodiscard]] Task<Result<std::vector<ZoneDescriptor>>> report(std::uint64_t offset,
                                                                   std::uint64_t most);
    /// As act_on_zones().
    [[nodiscard]] Task<Result<void>> act(Op action, ByteRange zones);

    /// Drains and closes the graph. Once.
    [[nodiscard]] Task<Outcome<void>> close() { return backend_.close(); }

  private:
    [[nodiscard]] bool is_whole_blocks(ByteRange range) const;
    [[nodiscard]] ByteRange whole_blocks_around(ByteRange range) const;
    Task<Result<void>> read_piece(ByteRange range, IoSegments segments);
    Task<Result<void>> write_zeroes_as_data(ByteRange range, bool fua);
    Task<Result<void>> read_modify_write(ByteRange range, IoSegments segments, bool fua);

    BlockBackend backend_;
    Modes modes_;
    AsyncMutex modifying_;  // one read-modify-write at a time, so that none undoes another
};

}  // namespace zbdkit::app
