// SPDX-License-Identifier: Apache-2.0
// A front end for a disk that a daemon serves: requests go through one ring, and answers come
// back in the order in which the disk gave them (with several rings there would be none). It is
// what a VMM is, as far as a crash test needs one, and it is still there when the daemon is not.
// One thread. A daemon that fails it ends the program.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "tests/support/export/test_guest.h"
#include "virtio/blk_wire.h"
#include "zone/zone.h"

namespace zbdkit::crash {

struct DiskRequest {
    BlkRequestType type = BlkRequestType::in;
    std::uint64_t offset = 0;        ///< bytes, a multiple of 512
    std::vector<std::byte> data{};   ///< what the disk reads
    std::uint32_t reply_length = 0;  ///< bytes that the disk writes, the status apart
};

struct DiskAnswer {
    std::uint32_t slot = 0;  ///< what submit() returned
    BlkStatus status = BlkStatus::io_error;
    std::vector<std::byte> reply{};
    std::uint64_t appended_at = 0;  ///< bytes; of an append
};

class DiskClient {
  public:
    using Clock = std::chrono::steady_clock;
    /// Requests on their way at a time.
    static constexpr std::uint32_t kDepth = 32;
    /// The longest data and the longest reply of one request, in bytes.
    static constexpr std::uint32_t kLongestData = 64 * 1024;

    /// How the driver in the guest is.
    struct Options {
        bool packed = false;         ///< the ring is a packed one, else a split one
        bool write_through = false;  ///< it switches the write cache off
    };

    /// Connects, as soon as somebody serves the socket, and negotiates.
    DiskClient(const std::string& socket_path, const Options& options);

    /// The disk's layout, from its configuration space and a report.
    [[nodiscard]] const ZoneGeometry& geometry() const { return geometry_; }

    [[nodiscard]] bool has_room() const { return !free_.empty(); }
    [[nodiscard]] bool is_idle() const { return free_.size() == kDepth; }
    /// Hands a request to the disk; there must be room. The disk need not look before kick().
    /// @return the slot that the answer will name
    std::uint32_t submit(const DiskRequest& request);
    void kick() { guest_->kick(0); }
    /// The answers that are there; waits for one if there is none.
    [[nodiscard]] std::vector<DiskAnswer> wait(int timeout_ms);
    /// The answers that are there. Works after the daemon's death.
    [[nodiscard]] std::vector<DiskAnswer> take();
    /// One request from begin to end; nothing else may be on its way.
    [[nodiscard]] DiskAnswer ask(const DiskRequest& request);
    /// One zone, as the disk reports it.
    [[nodiscard]] ZoneDescriptor report(std::uint32_t zone);
    /// The zones in a reply to a report.
    [[nodiscard]] std::vector<ZoneDescriptor> decode_report(ConstBytes reply) const;

  private:
    /// A request's memory.
    struct Slot {
        std::uint64_t header = 0;  ///< guest addresses
        std::uint64_t data = 0;
        std::uint64_t tail = 0;  ///< append_sector, and the status behind it
        BlkRequestType type = BlkRequestType::in;
        std::uint32_t reply_length = 0;
    };

    [[nodiscard]] test::RingDriver& driver() { return *guest_->queues[0].driver; }
    void start_ring(const Options& options);
    void switch_write_cache_off();
    void read_layout();
    [[nodiscard]] BlkConfig read_config();
    void await_event(Clock::time_point deadline);
    [[nodiscard]] DiskAnswer answer_of(std::uint32_t slot_index) const;

    std::unique_ptr<test::TestGuest> guest_;
    ZoneGeometry geometry_;
    std::vector<Slot> slots_;
    std::vector<std::uint32_t> free_;
    std::vector<std::uint32_t> slot_of_;  ///< by chain id
};

/// Ends the program, as a test that could not be done.
[[noreturn]] void give_up(const std::string& why);

}  // namespace zbdkit::crash
