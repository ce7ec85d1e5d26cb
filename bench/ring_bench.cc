// SPDX-License-Identifier: Apache-2.0
// A closed loop of 4 KiB requests against any vhost-user-blk server, over one split ring that is
// polled: how many requests a second, and how much CPU the server spends on each.
//   ring_bench SOCKET OPERATION DEPTH SECONDS SPAN_MIB     OPERATION: randread, randwrite, append
// Prints one line: operation, depth, IOPS, server CPU in microseconds per request.
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "tests/support/export/test_guest.h"

namespace {

using namespace zbdkit;  // NOLINT: a program of one file
using test::TestGuest;

constexpr std::uint32_t kBlock = 4096;
constexpr std::uint32_t kRingSize = 512;
constexpr std::uint32_t kIn = 0, kOut = 1, kAppend = 15;

[[noreturn]] void die(const std::string& message) {
    std::fprintf(stderr, "ring_bench: %s\n", message.c_str());
    std::exit(1);
}

struct Job {
    std::string operation;
    std::uint32_t type = kIn;
    std::uint32_t depth = 1;
    double seconds = 1;
    std::uint64_t span = 0;  ///< bytes of the disk that are used; append: the zone size
};

/// A request's memory, used again and again.
struct Slot {
    std::uint64_t header = 0;
    std::uint64_t data = 0;
    std::uint64_t tail = 0;  ///< status, and append_sector before it
};

double cpu_seconds_of(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string line;
    std::getline(file, line);
    std::istringstream words(line.substr(line.rfind(')') + 2));
    std::string word;
    double ticks = 0;
    for (int field = 3; words >> word; ++field) {
        if (field == 14 || field == 15) ticks += std::stod(word);
    }
    return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

pid_t peer_of(int socket) {
    ucred credentials{};
    socklen_t length = sizeof credentials;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return 0;
    return credentials.pid;
}

class Load {
  public:
    Load(TestGuest& guest, const Job& job) : guest_(guest), job_(job), random_(1) {
        for (std::uint32_t i = 0; i < job.depth; ++i) {
            slots_.push_back({guest.memory.allocate(16), guest.memory.allocate(kBlock, kBlock),
                              guest.memory.allocate(16)});
        }
    }

    /// @return requests completed
    std::uint64_t run() {
        test::RingDriver& driver = *guest_.queues[0].driver;
        driver.disable_notifications();
        for (const Slot& slot : slots_) submit(slot);
        publish();
        const auto end =
            std::chrono::steady_clock::now() + std::chrono::duration<double>(job_.seconds);
        std::uint64_t completed = 0;
        while (std::chrono::steady_clock::now() < end) completed += turn(true);
        while (driver.in_flight() > 0) completed += turn(false);
        return completed;
    }

  private:
    std::uint64_t turn(bool resubmit) {
        test::RingDriver& driver = *guest_.queues[0].driver;
        std::uint64_t completed = 0;
        while (const auto used = driver.take_used()) {
            const Slot slot = busy_.at(used->id);
            check(slot);
            ++completed;
            if (resubmit) submit(slot);
        }
        if (completed > 0 && resubmit) publish();
        return completed;
    }

    void check(const Slot& slot) const {
        const std::size_t status_at = job_.type == kAppend ? 15 : 0;
        const std::byte status = guest_.memory.at({slot.tail, 16})[status_at];
        if (status != std::byte{0}) {
            die(job_.operation + ": status " + std::to_string(std::to_integer<int>(status)));
        }
    }

    std::uint64_t next_sector() {
        if (job_.type != kAppend) return random_() % (job_.span / kBlock) * (kBlock / kSectorSize);
        // Zone after zone, as many appends as fit into each.
        const std::uint64_t zone = appended_ / (job_.span / kBlock);
        ++appended_;
        return zone * (job_.span / kSectorSize);
    }

    void submit(const Slot& slot) {
        const MutableBytes header = guest_.memory.at({slot.header, 16});
        store_le(header.data(), job_.type);
        store_le(header.data() + 8, next_sector());
        const std::uint32_t tail = job_.type == kAppend ? 16 : 1;
        const auto id = guest_.queues[0].driver->add({{slot.header, 16, false},
                                                      {slot.data, kBlock, job_.type == kIn},
                                                      {slot.tail, tail, true}},
                                                     test::ChainForm::direct);
        if (!id) die("the ring is full");
        busy_[*id] = slot;
    }

    void publish() {
        guest_.queues[0].driver->publish();
        if (!guest_.queues[0].driver->take_kick()) return;
        const std::uint64_t one = 1;
        if (::write(guest_.queues[0].kick.get(), &one, sizeof one) != sizeof one) die("kick");
    }

    TestGuest& guest_;
    Job job_;
    std::mt19937_64 random_;
    std::vector<Slot> slots_;
    std::map<std::uint16_t, Slot> busy_;
    std::uint64_t appended_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 6) die("usage: ring_bench SOCKET randread|randwrite|append DEPTH SECONDS SPAN_MIB");
    Job job{.operation = argv[2],
            .depth = static_cast<std::uint32_t>(std::atoi(argv[3])),
            .seconds = std::atof(argv[4]),
            .span = std::strtoull(argv[5], nullptr, 10) * kMiB};
    if (job.operation == "randwrite") job.type = kOut;
    if (job.operation == "append") job.type = kAppend;
    if (job.depth < 1 || job.depth > 128 || job.span == 0) die("DEPTH is 1 to 128, SPAN_MIB not 0");
    TestGuest guest(argv[1], 1);
    const std::uint64_t offered = guest.front_end.ask(test::request::kGetFeatures);
    constexpr std::uint64_t kFlush = std::uint64_t{1} << 9;  // without it every write is synced
    guest.negotiate(offered &
                    (TestGuest::kZoned | TestGuest::kProtocol | TestGuest::kVersion1 | kFlush));
    guest.share_memory();
    guest.start_queue(0, test::SetupOrder::qemu, kRingSize);
    const pid_t server = peer_of(guest.front_end.fd());
    Load load(guest, job);
    const double cpu_before = cpu_seconds_of(server);
    const auto start = std::chrono::steady_clock::now();
    const std::uint64_t completed = load.run();
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
    const double cpu = cpu_seconds_of(server) - cpu_before;
    std::printf("%s %u %.0f %.2f\n", job.operation.c_str(), job.depth,
                static_cast<double>(completed) / wall.count(),
                1e6 * cpu / static_cast<double>(completed));
    return 0;
}
