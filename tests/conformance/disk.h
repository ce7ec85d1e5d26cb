// SPDX-License-Identifier: Apache-2.0
// A zoned disk for the conformance cases: real graph, real reactor, blocking calls with short
// answers, over storage that the case's parameter names.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/options.h"
#include "graph/backend.h"
#include "graph/graph.h"
#include "io/reactor.h"
#include "tests/conformance/stacks.h"
#include "tests/support/node/nbdkit.h"

namespace zbdkit::test {

/// What a call answered: nothing for success.
using Answer = std::optional<Errc>;
inline constexpr Answer kOk = std::nullopt;

enum class Storage : std::uint8_t { memory, file, file_direct, nbd, rbd };

/// What a disk stands on, and what is put over it.
struct DiskSetup {
    Storage storage = Storage::memory;
    Stack stack;
};
[[nodiscard]] std::string setup_name(const testing::TestParamInfo<DiskSetup>& info);

/// No stack over each kind of storage; over NBD only where there is a server for it, and in Ceph
/// only beside a cluster, whose configuration ZBDKIT_TEST_CEPH_CONF names.
[[nodiscard]] std::vector<DiskSetup> all_storages();
/// Each stack over memory.
[[nodiscard]] std::vector<DiskSetup> over_memory(const std::vector<Stack>& stacks);

/// Memory that takes up room only where it was written.
class SparseMemory {
  public:
    explicit SparseMemory(std::size_t size);
    SparseMemory(const SparseMemory&) = delete;
    SparseMemory& operator=(const SparseMemory&) = delete;
    ~SparseMemory();
    [[nodiscard]] MutableBytes bytes() const { return bytes_; }

  private:
    MutableBytes bytes_;
};

class Disk {
  public:
    /// Makes an image of `size` with the `zone.*` options and opens it, and the stack over it. What
    /// the stack leaves out of the image is added to it.
    Disk(DiskSetup setup, std::uint64_t size, const std::string& options);
    Disk(Storage storage, std::uint64_t size, const std::string& options)
        : Disk(DiskSetup{.storage = storage, .stack = {}}, size, options) {}
    Disk(const Disk&) = delete;
    Disk& operator=(const Disk&) = delete;
    ~Disk();

    Answer read(std::uint64_t offset, std::uint64_t length, std::vector<std::uint8_t>* out);
    /// @return the value of every byte read, or nothing if they differ or the read failed
    std::optional<std::uint8_t> read_fill(std::uint64_t offset, std::uint64_t length);
    Answer write(std::uint64_t offset, std::uint64_t length, std::uint8_t fill, bool fua = false);
    /// @param zone_start  bytes
    /// @param placed      where the data went
    Answer append(std::uint64_t zone_start, std::uint64_t length, std::uint8_t fill,
                  std::uint64_t* placed = nullptr);
    Answer act(Op op, std::uint64_t zone_start);
    Answer flush();
    [[nodiscard]] std::vector<ZoneDescriptor> report(std::uint64_t offset = 0,
                                                     std::size_t most = 1024);
    [[nodiscard]] ZoneDescriptor zone(std::uint32_t index);
    [[nodiscard]] ZoneState state(std::uint32_t index) { return zone(index).state; }
    /// The write pointer relative to the zone's start.
    [[nodiscard]] std::uint64_t pointer(std::uint32_t index);

    /// Closes in good order and opens again.
    void reopen();
    /// Leaves everything as it is, as if the daemon had been killed, and opens again.
    void kill_and_reopen();

    [[nodiscard]] const NodeInfo& info() { return backend_->info(); }
    [[nodiscard]] Reactor& reactor() { return *reactor_; }
    [[nodiscard]] BlockBackend& backend() { return *backend_; }

    /// Closes, and opens another stack over the same image, which must leave out as many zones.
    /// Does not return if that fails.
    void change_stack(const Stack& stack);
    /// Closes, and tries to open a stack over the image.
    Answer try_stack(const Stack& stack);

  private:
    Answer submit(Request& request);
    [[nodiscard]] std::unique_ptr<BlockNode> make_storage(std::uint64_t size);
    [[nodiscard]] OptionValues storage_options() const;
    [[nodiscard]] std::unique_ptr<BlockNode> open_image();
    void open();
    void close();
    void cut_off_and_reopen();

    DiskSetup setup_;
    std::unique_ptr<Reactor> reactor_;
    std::filesystem::path folder_;
    std::unique_ptr<Nbdkit> server_;  ///< of Storage::nbd, on the file in the folder
    std::string rbd_image_;           ///< of Storage::rbd, its name
    bool takes_over_ = false;         ///< the next open cuts off who has the image, of Storage::rbd
    /// Of Storage::memory: outlives the graph, so that it can be reopened.
    std::unique_ptr<SparseMemory> memory_;
    std::unique_ptr<BlockBackend> backend_;
};

}  // namespace zbdkit::test
