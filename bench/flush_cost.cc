// SPDX-License-Identifier: Apache-2.0
// What a flush of a zoned disk costs, beside a plain fdatasync: rounds of 4 KiB to each of some
// zones and a flush, and in turn the same amount at the same distances to a plain sparse file and
// fdatasync. Both files are on one file system, both get fresh blocks.
//   flush_cost SOCKET PLAIN_FILE ZONES ROUNDS
// The disk must be new: host-managed, with ZONES empty zones at least, of ROUNDS blocks each.
// Prints one line: zones, median of the flushes and of the fdatasyncs in us, their ratio, and the
// same of what a tenth of them were faster than, which a busy machine disturbs less.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/unique_fd.h"
#include "tests/support/export/test_guest.h"
#include "virtio/blk_wire.h"

namespace {

using namespace zbdkit;  // NOLINT: a program of one file
using test::TestGuest;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kBlock = 4096;
constexpr std::uint32_t kRingSize = 512;
constexpr std::uint32_t kMostZones = 512;

[[noreturn]] void die(const std::string& message) {
    std::fprintf(stderr, "flush_cost: %s\n", message.c_str());
    std::exit(1);
}

double microseconds_since(Clock::time_point start) {
    return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

/// @param share  0.5: the median
double quantile(std::vector<double> values, double share) {
    const auto index = static_cast<std::size_t>(share * static_cast<double>(values.size() - 1));
    std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(index));
    return values[index];
}

void print(std::uint32_t zones, const std::vector<double>& flushes,
           const std::vector<double>& syncs) {
    std::printf("%u", zones);
    for (const double share : {0.5, 0.1}) {
        const double flush = quantile(flushes, share);
        const double sync = quantile(syncs, share);
        std::printf(" %.0f %.0f %.2f", flush, sync, flush / sync);
    }
    std::printf("\n");
}

/// The zoned disk, through one polled ring.
class Disk {
  public:
    explicit Disk(const std::string& socket) : guest_(socket, 1) {
        guest_.negotiate(TestGuest::kZoned | TestGuest::kProtocol | TestGuest::kVersion1 |
                         blk_feature::kFlush);
        zone_sectors_ = read_zone_sectors();
        guest_.share_memory();
        guest_.start_queue(0, test::SetupOrder::qemu, kRingSize);
        mark_ = guest_.memory.allocated();
    }

    [[nodiscard]] std::uint64_t zone_size() const { return zone_sectors_ * kSectorSize; }

    /// Appends a block to each of the first `zones` zones, some at a time.
    void append_to_each(std::uint32_t zones) {
        constexpr std::uint32_t kAtOnce = 64;
        const std::vector<std::byte> block(kBlock, std::byte{0x5a});
        for (std::uint32_t first = 0; first < zones; first += kAtOnce) {
            const std::uint32_t end = std::min(zones, first + kAtOnce);
            for (std::uint32_t zone = first; zone < end; ++zone) {
                add(BlkRequestType::zone_append, zone * zone_sectors_, block);
            }
            finish(end - first);
        }
    }

    void flush() {
        add(BlkRequestType::flush, 0, {});
        finish(1);
    }

  private:
    std::uint64_t read_zone_sectors() {
        const std::vector<std::byte> room(sizeof(BlkConfig));
        test::Payload question;
        question.u32(0).u32(sizeof(BlkConfig)).u32(0).add(room);
        guest_.front_end.send(test::request::kGetConfig, question);
        const auto reply = guest_.front_end.receive();
        if (!reply) die("the disk has no configuration");
        return load_le<std::uint32_t>(reply->payload.data() + 12 +
                                      offsetof(BlkConfig, zone_sectors));
    }

    void add(BlkRequestType type, std::uint64_t sector, ConstBytes data) {
        const std::uint32_t reply = type == BlkRequestType::zone_append ? 8 : 0;
        pending_.push_back(guest_.add(0, static_cast<std::uint32_t>(type), sector, data, reply));
    }

    void finish(std::uint32_t count) {
        guest_.kick(0);
        if (guest_.wait_used(0, count) != count) die("a request did not come back");
        for (const TestGuest::Pending& pending : pending_) {
            const auto status = guest_.answer_of(pending).status;
            if (status != 0) die("a request failed with status " + std::to_string(status));
        }
        pending_.clear();
        guest_.memory.release_to(mark_);
    }

    TestGuest guest_;
    std::uint64_t zone_sectors_ = 0;
    std::vector<TestGuest::Pending> pending_;
    std::size_t mark_ = 0;
};

/// The plain file.
class Plain {
  public:
    Plain(const std::string& path, std::uint64_t distance)
        : file_(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)),
          distance_(distance) {
        if (!file_) die("cannot make " + path);
    }

    void write_to_each(std::uint32_t places, std::uint32_t round) {
        const std::vector<std::byte> block(kBlock, std::byte{0x5a});
        for (std::uint32_t place = 0; place < places; ++place) {
            const auto at = static_cast<off_t>(place * distance_ + std::uint64_t{round} * kBlock);
            if (::pwrite(file_.get(), block.data(), kBlock, at) != kBlock) die("a write failed");
        }
    }

    void sync() {
        if (::fdatasync(file_.get()) != 0) die("fdatasync failed");
    }

  private:
    UniqueFd file_;
    std::uint64_t distance_;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) die("usage: flush_cost SOCKET PLAIN_FILE ZONES ROUNDS");
    const auto zones = static_cast<std::uint32_t>(std::atoi(argv[3]));
    const auto rounds = static_cast<std::uint32_t>(std::atoi(argv[4]));
    if (zones < 1 || zones > kMostZones || rounds < 1) die("ZONES is 1 to 512, ROUNDS not 0");
    Disk disk(argv[1]);
    Plain plain(argv[2], disk.zone_size());
    std::vector<double> flushes;
    std::vector<double> syncs;
    for (std::uint32_t round = 0; round < rounds; ++round) {
        // In turns also within a round: who comes second finds the file system's journal tidier.
        for (std::uint32_t half = 0; half < 2; ++half) {
            if ((round + half) % 2 == 0) {
                disk.append_to_each(zones);
                const Clock::time_point start = Clock::now();
                disk.flush();
                flushes.push_back(microseconds_since(start));
            } else {
                plain.write_to_each(zones, round);
                const Clock::time_point start = Clock::now();
                plain.sync();
                syncs.push_back(microseconds_since(start));
            }
        }
    }
    print(zones, flushes, syncs);
    return 0;
}
