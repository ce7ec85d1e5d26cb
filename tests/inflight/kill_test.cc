// SPDX-License-Identifier: Apache-2.0
// Kills the daemon under load again and again and keeps a ledger of what it acknowledged: appends
// to some zones, writes in order to others, resets, finishes, reads and flushes, many at a time
// over two rings. Between rings there is no order, so a zone's writes in order keep to one. After
// each kill a new daemon gets the inflight region. Then every request must
// have been answered once, and what the ledger has of a zone must cover it from its start to its
// write pointer: each piece once, with its data, and nothing in between that nobody was told of.
//   inflight_test --zbdkit PROGRAM [--ring split|packed] [--kills N] [--seed N] [--write-through]
// With --forget-places the region loses what was noted of the writes, which must be found.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "tests/support/export/server_thread.h"
#include "tests/support/export/test_guest.h"
#include "tests/support/seed.h"
#include "virtio/blk_wire.h"

extern char** environ;  // NOLINT: as posix_spawn wants it

namespace {

using namespace zbdkit;  // NOLINT: a program of one file
using test::TestGuest;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kBlock = 4096;
constexpr std::uint64_t kZoneSize = 4 * kMiB;
constexpr std::uint32_t kZoneCount = 16;
constexpr std::uint32_t kAppendZones = 10;  // the first; the others take writes in order
constexpr std::uint32_t kMaxBlocks = 12;    // of one request
constexpr std::uint32_t kDepth = 48;
constexpr std::uint16_t kRingSize = 256;
constexpr std::uint32_t kRingCount = 2;
constexpr auto kPatience = std::chrono::seconds(30);
constexpr std::uint64_t kFlushFeature = std::uint64_t{1} << 9;

struct Arguments {
    std::string zbdkit;
    std::string ring = "split";
    unsigned kills = 10;
    std::uint64_t seed = test::seed();
    bool write_through = false;
    bool forget_places = false;
};

/// The program that runs, 0 if none does: it must not stay behind.
pid_t& running() {
    static pid_t pid = 0;
    return pid;
}

[[noreturn]] void die(const std::string& message) {
    if (running() != 0) ::kill(running(), SIGKILL);
    fmt::print(stderr, "kill_test: {}\n", message);
    std::exit(1);
}

// --- the daemon ---------------------------------------------------------------------------------

/// One at a time.
class Program {
  public:
    explicit Program(std::vector<std::string> command) {
        std::vector<char*> words;
        for (std::string& word : command) words.push_back(word.data());
        words.push_back(nullptr);
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        if (::posix_spawn(&running(), words.front(), &actions, nullptr, words.data(), environ) !=
            0) {
            die("cannot start " + command.front());
        }
        ::posix_spawn_file_actions_destroy(&actions);
    }
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;
    ~Program() { kill(); }

    /// @return the exit status
    int wait() {
        int status = 0;
        if (running() != 0) ::waitpid(std::exchange(running(), 0), &status, 0);
        return status;
    }
    void kill() {
        if (running() == 0) return;
        ::kill(running(), SIGKILL);
        wait();
    }
    [[nodiscard]] bool has_ended() {
        if (running() != 0 && ::waitpid(running(), nullptr, WNOHANG) == running()) running() = 0;
        return running() == 0;
    }
};

// --- data that tells where it belongs -----------------------------------------------------------

std::uint64_t word_of(std::uint64_t id, std::uint64_t block, std::uint64_t word) {
    return (id << 24) ^ (block << 12) ^ word ^ 0x9e37'79b9'7f4a'7c15;
}

void fill_blocks(MutableBytes bytes, std::uint64_t id) {
    for (std::uint64_t i = 0; i < bytes.size() / 8; ++i) {
        store_le(bytes.data() + i * 8, word_of(id, i * 8 / kBlock, i * 8 % kBlock));
    }
}

void check_blocks(ConstBytes bytes, std::uint64_t id, const std::string& where) {
    for (std::uint64_t i = 0; i < bytes.size() / 8; ++i) {
        if (load_le<std::uint64_t>(bytes.data() + i * 8) ==
            word_of(id, i * 8 / kBlock, i * 8 % kBlock)) {
            continue;
        }
        die(fmt::format("{}: byte {} is not of request {}", where, i * 8, id));
    }
}

// --- the ledger ---------------------------------------------------------------------------------

struct Piece {
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
    std::uint64_t id = 0;
};

struct Zone {
    std::vector<Piece> pieces;    ///< acknowledged
    std::uint64_t issued = 0;     ///< bytes of them and of what is on its way
    std::uint32_t in_flight = 0;  ///< but for flushes, which are of no zone
    bool acts = false;            ///< a zone action is on its way: nothing else may be
    bool is_finished = false;
};

/// A request's memory, used again and again.
struct Slot {
    std::uint64_t header = 0;
    std::uint64_t data = 0;
    std::uint64_t tail = 0;  ///< status, and append_sector before it
};

struct Flight {
    std::uint32_t ring = 0;
    Slot slot;
    BlkRequestType type = BlkRequestType::flush;
    std::uint32_t zone = 0;
    Piece piece;
};

// --- the load -----------------------------------------------------------------------------------

class Load {
  public:
    Load(TestGuest& guest, std::uint64_t seed) : guest_(guest), random_(seed), zones_(kZoneCount) {
        for (std::uint32_t i = 0; i < kDepth; ++i) {
            free_.push_back({guest.memory.allocate(16),
                             guest.memory.allocate(kMaxBlocks * kBlock, kBlock),
                             guest.memory.allocate(16)});
        }
    }

    /// Keeps the ring full until that many requests came back.
    void run(std::uint64_t count) {
        const std::uint64_t end = completed_ + count;
        const auto deadline = Clock::now() + kPatience;
        while (completed_ < end) {
            fill_ring();
            collect();
            if (Clock::now() > deadline) die("the daemon does not answer");
        }
    }
    /// Waits for all that is on its way.
    void finish() {
        const auto deadline = Clock::now() + kPatience;
        while (!flights_.empty()) {
            collect();
            if (Clock::now() > deadline) {
                die(fmt::format("{} requests were lost", flights_.size()));
            }
        }
    }
    /// Takes what came back.
    void collect() {
        for (std::uint32_t index = 0; index < kRingCount; ++index) collect_from(index);
    }
    void collect_from(std::uint32_t index) {
        while (const auto used = ring(index).take_used()) {
            const auto found = flights_.find({index, used->id});
            if (found == flights_.end()) die("an answer to a request that is not on its way");
            const Flight flight = found->second;
            flights_.erase(found);
            complete(flight);
            free_.push_back(flight.slot);
            ++completed_;
        }
    }
    /// Compares the disk with the ledger. Nothing may be on its way.
    void check();

    [[nodiscard]] std::size_t in_flight() const { return flights_.size(); }
    [[nodiscard]] std::uint64_t completed() const { return completed_; }
    [[nodiscard]] std::uint64_t checked_pieces() const { return checked_pieces_; }
    [[nodiscard]] std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

  private:
    test::RingDriver& ring(std::uint32_t index) { return *guest_.queues[index].driver; }

    void fill_ring() {
        bool any = false;
        for (std::uint32_t tries = 0; tries < 2 * kDepth && !free_.empty(); ++tries) {
            if (issue()) any = true;
        }
        if (!any) return;
        for (std::uint32_t index = 0; index < kRingCount; ++index) guest_.kick(index);
    }

    /// @return false if the zone that chance chose has nothing to do now
    bool issue() {
        const auto number = static_cast<std::uint32_t>(below(kZoneCount));
        Zone& zone = zones_[number];
        if (below(50) == 0) return send({.type = BlkRequestType::flush, .zone = number});
        if (zone.acts) return false;
        if (!zone.pieces.empty() && below(20) == 0) {
            const Piece piece = zone.pieces[below(zone.pieces.size())];
            return send({.type = BlkRequestType::in, .zone = number, .piece = piece});
        }
        const auto length = static_cast<std::uint32_t>(1 + below(kMaxBlocks)) * kBlock;
        if (zone.is_finished || zone.issued + length > kZoneSize) return empty(number);
        const bool is_append = number < kAppendZones;
        const std::uint64_t start = number * kZoneSize;
        const Piece piece{
            .offset = is_append ? start : start + zone.issued, .length = length, .id = ++last_id_};
        zone.issued += length;
        return send({.type = is_append ? BlkRequestType::zone_append : BlkRequestType::out,
                     .zone = number,
                     .piece = piece});
    }
    /// Finishes or resets a zone that has no more room.
    bool empty(std::uint32_t number) {
        Zone& zone = zones_[number];
        if (zone.in_flight != 0) return false;
        zone.acts = true;
        const bool finishes = !zone.is_finished && below(3) == 0;
        return send({.type = finishes ? BlkRequestType::zone_finish : BlkRequestType::zone_reset,
                     .zone = number,
                     .piece = {.offset = number * kZoneSize}});
    }

    bool send(Flight flight) {
        flight.slot = free_.back();
        free_.pop_back();
        const MutableBytes header = guest_.memory.at({flight.slot.header, 16});
        store_le(header.data(), static_cast<std::uint32_t>(flight.type));
        store_le(header.data() + 8,
                 flight.type == BlkRequestType::flush ? 0 : flight.piece.offset / kSectorSize);
        std::vector<test::DriverBuffer> buffers{{flight.slot.header, 16, false}};
        const bool reads = flight.type == BlkRequestType::in;
        if (flight.piece.length != 0) {
            const MutableBytes data = guest_.memory.at({flight.slot.data, flight.piece.length});
            if (reads) {
                std::ranges::fill(data, std::byte{0});
            } else {
                fill_blocks(data, flight.piece.id);
            }
            buffers.push_back({flight.slot.data, flight.piece.length, reads});
        }
        const bool is_append = flight.type == BlkRequestType::zone_append;
        guest_.memory.at({flight.slot.tail, 16})[is_append ? 15 : 0] = std::byte{0xee};
        buffers.push_back({flight.slot.tail, is_append ? 16U : 1U, true});
        const bool is_in_order = flight.type == BlkRequestType::out;
        flight.ring =
            is_in_order ? flight.zone % kRingCount : static_cast<std::uint32_t>(below(kRingCount));
        test::RingDriver& driver = ring(flight.ring);
        const bool direct = driver.free_descriptors() > buffers.size() && below(2) == 0;
        const auto id =
            driver.add(buffers, direct ? test::ChainForm::direct : test::ChainForm::indirect);
        if (!id) die("the ring is full");
        if (flight.type != BlkRequestType::flush) ++zones_[flight.zone].in_flight;
        flights_[{flight.ring, *id}] = flight;
        return true;
    }

    void complete(const Flight& flight) {
        const MutableBytes tail = guest_.memory.at({flight.slot.tail, 16});
        const bool is_append = flight.type == BlkRequestType::zone_append;
        const auto status = std::to_integer<int>(tail[is_append ? 15 : 0]);
        Zone& zone = zones_[flight.zone];
        if (status != 0) {
            die(fmt::format("request {} of type {} at {}, {} bytes: status {}", flight.piece.id,
                            static_cast<int>(flight.type), flight.piece.offset, flight.piece.length,
                            status));
        }
        if (flight.type == BlkRequestType::flush) return;
        --zone.in_flight;
        Piece piece = flight.piece;
        if (is_append) piece.offset = load_le<std::uint64_t>(tail.data()) * kSectorSize;
        if (is_append || flight.type == BlkRequestType::out) zone.pieces.push_back(piece);
        if (flight.type == BlkRequestType::in) {
            check_blocks(guest_.memory.at({flight.slot.data, piece.length}), piece.id,
                         fmt::format("read at {}", piece.offset));
        }
        if (flight.type == BlkRequestType::zone_reset) zone = Zone();
        if (flight.type == BlkRequestType::zone_finish) {
            zone.acts = false;
            zone.is_finished = true;
        }
    }

    TestGuest& guest_;
    std::mt19937_64 random_;
    std::vector<Zone> zones_;
    std::vector<Slot> free_;
    std::map<std::pair<std::uint32_t, std::uint16_t>, Flight> flights_;  ///< by ring and chain id
    std::uint64_t last_id_ = 0;
    std::uint64_t completed_ = 0;
    std::uint64_t checked_pieces_ = 0;
};

void Load::check() {
    const std::size_t mark = guest_.memory.allocated();
    constexpr std::uint32_t kReportSize = 64 + 64 * kZoneCount;
    const auto report =
        guest_.request(static_cast<std::uint32_t>(BlkRequestType::zone_report), 0, {}, kReportSize);
    if (report.status != 0) die("no zone report");
    for (std::uint32_t number = 0; number < kZoneCount; ++number) {
        Zone& zone = zones_[number];
        std::ranges::sort(zone.pieces, {}, &Piece::offset);
        std::uint64_t end = number * kZoneSize;
        for (const Piece& piece : zone.pieces) {
            if (piece.offset != end) {
                die(fmt::format("zone {}: request {} is at {}, expected {}", number, piece.id,
                                piece.offset, end));
            }
            guest_.memory.release_to(mark);
            const auto read = guest_.read(piece.offset / kSectorSize, piece.length);
            if (read.status != 0) die(fmt::format("zone {}: unreadable", number));
            check_blocks(read.data, piece.id, fmt::format("zone {} at {}", number, piece.offset));
            end += piece.length;
            ++checked_pieces_;
        }
        guest_.memory.release_to(mark);
        const std::byte* const wire = report.data.data() + 64 + 64 * std::size_t{number};
        const std::uint64_t pointer = load_le<std::uint64_t>(wire + 16) * kSectorSize;
        const bool is_full = zone.is_finished || end == (number + 1) * kZoneSize;
        if (pointer != (is_full ? (number + 1) * kZoneSize : end)) {
            die(fmt::format("zone {}: the write pointer is {}, acknowledged is up to {}", number,
                            pointer, end));
        }
    }
}

// --- lives --------------------------------------------------------------------------------------

/// Starts the daemon, as often as it takes: the image is in use until the last I/O of the one that
/// was killed has ended. Till then the kernel may also accept connections for that, to hang up.
std::unique_ptr<Program> start(TestGuest& guest, const std::vector<std::string>& command,
                               const std::string& socket) {
    const auto deadline = Clock::now() + kPatience;
    auto daemon = std::make_unique<Program>(command);
    do {
        if (Clock::now() > deadline) die("zbdkit serve does not take connections");
        if (daemon->has_ended()) {
            daemon.reset();
            daemon = std::make_unique<Program>(command);
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        guest.reconnect(socket);
    } while (guest.front_end.fd() < 0 || !guest.front_end.is_alive());
    return daemon;
}

/// @return features for a ring of the kind that is wanted
std::uint64_t wanted_features(const Arguments& arguments) {
    std::uint64_t features = TestGuest::kUsual | TestGuest::kEventIdx;
    if (!arguments.write_through) features |= kFlushFeature;
    if (arguments.ring == "packed") features |= TestGuest::kPacked;
    return features;
}

/// The canary: what the daemon noted of its writes is lost, which must be noticed.
void forget_places(const TestGuest::Inflight& inflight) {
    // The end of the region.
    const std::vector<std::byte> nothing(std::size_t{16} * kRingSize * kRingCount);
    const auto at = static_cast<off_t>(inflight.size - nothing.size());
    if (::pwrite(inflight.fd.get(), nothing.data(), nothing.size(), at) < 0) die("pwrite");
}

void set_up(TestGuest& guest, const Arguments& arguments) {
    guest.negotiate(wanted_features(arguments));
    if (!guest.inflight.fd) guest.get_inflight(kRingSize);
    if (arguments.forget_places) forget_places(guest.inflight);
    if (guest.set_inflight() != 0) die("SET_INFLIGHT_FD was refused");
    guest.share_memory();
    // The base is that of a new ring: only the region knows better.
    for (std::uint32_t index = 0; index < kRingCount; ++index) {
        guest.start_queue(index, test::SetupOrder::qemu, kRingSize);
        guest.queues[index].driver->disable_notifications();
    }
}

void run(const Arguments& arguments) {
    const test::TempFolder folder;
    const std::string image = folder.file("disk.zbd");
    const std::string socket = folder.file("disk.sock");
    const std::string size = std::to_string(kZoneCount * kZoneSize);
    const std::string zone_size = fmt::format("zone.size={}", kZoneSize);
    Program create({arguments.zbdkit, "create", image, size, "-o", zone_size});
    if (create.wait() != 0) die("zbdkit create failed");
    const std::vector<std::string> serve = {
        arguments.zbdkit,           "serve",       image,  "--vhost-user", socket, "--num-queues",
        std::to_string(kRingCount), "--log-level", "error"};
    TestGuest guest("", kRingCount);
    Load load(guest, arguments.seed);
    std::uint64_t taken_over = 0;
    for (unsigned life = 0; life <= arguments.kills; ++life) {
        const std::unique_ptr<Program> daemon = start(guest, serve, socket);
        set_up(guest, arguments);
        load.finish();
        guest.queues[0].driver->enable_notifications();
        load.check();
        guest.queues[0].driver->disable_notifications();
        if (life == arguments.kills) break;
        load.run(50 + load.below(600));
        std::this_thread::sleep_for(std::chrono::microseconds(load.below(100)));
        daemon->kill();
        load.collect();
        taken_over += load.in_flight();
    }
    if (testing::UnitTest::GetInstance()->ad_hoc_test_result().Failed()) die("see above");
    fmt::print(
        "{} {} rings, seed {}: {} kills, {} requests, {} of them in flight at a kill, {} pieces "
        "compared, no violation\n",
        kRingCount, arguments.ring, arguments.seed, arguments.kills, load.completed(), taken_over,
        load.checked_pieces());
    if (arguments.kills != 0 && taken_over == 0) die("no kill found anything in flight");
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    CLI::App app("Kills zbdkit serve under load and checks that nothing is lost or done twice");
    app.add_option("--zbdkit", arguments.zbdkit, "the program under test")->required();
    app.add_option("--ring", arguments.ring, "split (default) or packed")
        ->check(CLI::IsMember({"split", "packed"}));
    app.add_option("--kills", arguments.kills, "how many (default 10)");
    app.add_option("--seed", arguments.seed, "of the load and of the moments of the kills");
    app.add_flag("--write-through", arguments.write_through, "without a write cache");
    app.add_flag("--forget-places", arguments.forget_places, "break the region: must be found");
    CLI11_PARSE(app, argc, argv);
    run(arguments);
    return 0;
}
