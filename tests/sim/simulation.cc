// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/assert.h"
#include "graph/backend.h"
#include "graph/graph.h"
#include "io/blocking_pool.h"
#include "node/format/zoned_create.h"
#include "tests/sim/direct_user.h"
#include "tests/sim/guest.h"
#include "tests/sim/inspection.h"
#include "tests/sim/random.h"
#include "tests/sim/sim_engine.h"
#include "tests/sim/sim_node.h"
#include "tests/sim/truth.h"
#include "tests/sim/workload.h"

namespace zbdkit::sim {
namespace {

constexpr unsigned kMostQueues = 3;
constexpr std::uint64_t kMostLives = 14;

/// A small disk, so that limits, full zones, capacities and the short last zone are met all the
/// time. Some have so many zones that a commit page's words span sectors, and can be torn.
zoned::NewImage random_image(Random& random) {
    const bool has_many = random.one_in(4);
    const std::uint64_t zone = has_many ? 4 * kKiB : (std::uint64_t{8} << random.below(3)) * kKiB;
    const std::uint64_t capacity = zone - random.below(3) * kKiB;
    const std::uint64_t zones = has_many ? random.between(60, 150) : random.between(3, 9);
    const std::uint64_t conventional = random.below(3);
    const std::uint64_t short_last =
        random.coin() ? random.between(1, zone / kUnit - 1) * kUnit : 0;
    const std::uint64_t max_active = random.coin() ? random.between(2, 5) : 0;
    const std::uint64_t most_open = max_active == 0 ? 5 : max_active;
    const std::uint64_t max_open = random.coin() ? random.between(1, most_open) : 0;
    const Outcome<OptionValues> options = OptionValues::parse(
        fmt::format("block_size=512,zone.size={},zone.capacity={},zone.conventional_zones={},"
                    "zone.max_open_zones={},zone.max_active_zones={},zone.max_append_bytes={}",
                    zone, capacity, conventional, max_open, max_active,
                    random.between(1, std::min<std::uint64_t>(8, capacity / kUnit)) * kUnit),
        "", "simulated image");
    ZBDKIT_ASSERT(options.has_value());
    const Outcome<zoned::NewImage> image =
        zoned::plan_image((zones + conventional) * zone + short_last, *options);
    if (!image) fmt::print(stderr, "{}\n", image.error().message);
    ZBDKIT_ASSERT(image.has_value());
    return *image;
}

/// One life in three is without faults, so that every error in it is our own.
SimFaults random_faults(Random& random) {
    if (random.one_in(3)) return {};
    return {.read_error = random.coin() ? 400U : 0U,
            .write_error = random.coin() ? random.between(30, 300) : 0U,
            .sync_error = random.one_in(4) ? random.between(20, 200) : 0U,
            .short_transfer = random.coin() ? 20U : 0U,
            .slow = random.coin() ? 100U : 0U};
}

/// Where the superblock is that counts.
std::uint64_t newest_superblock(const SimDisk& disk) {
    const auto sequence_at = [&disk](std::uint64_t offset) -> std::uint64_t {
        const auto found = zoned::decode_superblock(disk.bytes().subspan(offset, zoned::kPageSize));
        return found ? found->sequence : 0;
    };
    const std::uint64_t second = zoned::kSecondSuperblockOffset;
    return sequence_at(second) > sequence_at(0) ? second : 0;
}

/// Whether the daemon could still say that no boot's live table is to be trusted.
bool says_that_a_sync_failed(const SimDisk& disk) {
    const auto found =
        zoned::decode_superblock(disk.bytes().subspan(newest_superblock(disk), zoned::kPageSize));
    return found && found->condition == zoned::Condition::in_use && found->boot_id == zoned::Uuid{};
}

bool names_every_boot_or_none(const zoned::Superblock& superblock) {
    return superblock.boot_id == zoned::kEveryBoot || superblock.boot_id == zoned::Uuid{};
}

/// Whether the image is in use by every boot.
bool is_of_every_boot(const SimDisk& disk) {
    const auto found =
        zoned::decode_superblock(disk.bytes().subspan(newest_superblock(disk), zoned::kPageSize));
    return found && found->condition == zoned::Condition::in_use &&
           found->boot_id == zoned::kEveryBoot;
}

/// Makes an image look as if another boot or host had used it: the one thing that tells a power
/// loss from the daemon's death.
void change_boot(SimDisk& disk, Place place) {
    constexpr std::array<std::uint64_t, 2> kCopies = {0, zoned::kSecondSuperblockOffset};
    for (const std::uint64_t offset : kCopies) {
        const ConstBytes bytes = disk.bytes().subspan(offset, zoned::kPageSize);
        auto superblock = zoned::decode_superblock(bytes);
        if (!superblock) continue;  // torn by the power cut
        if (place == Place::elsewhere && names_every_boot_or_none(*superblock)) continue;
        superblock->boot_id.fill(std::byte{0xb0});  // no boot of a host has such an id
        disk.write(offset, zoned::encode_superblock(*superblock));
    }
    disk.sync(disk.now());
}

/// What the host may make of a disk after a sync failed, as long as it runs: any of the data that
/// was not synced may be dropped, but what was written last is still there, the superblock that
/// says so.
SimDisk after_dropped_writes(const SimDisk& disk, Random& random) {
    SimDisk left = disk.after_power_cut(random);
    const std::uint64_t offset = newest_superblock(disk);
    left.write(offset, disk.bytes().subspan(offset, zoned::kPageSize));
    left.sync(left.now());
    return left;
}

/// What says everything of a disk, for the one who wants it again.
struct Origin {
    std::uint64_t seed = 0;
    Place place = Place::host;
};

[[noreturn]] void report_and_end(void* context, const std::string& text) {
    const Origin origin = *static_cast<Origin*>(context);
    fmt::print("seed {}: {}reproduce with --seed {}{}\n", origin.seed, text, origin.seed,
               origin.place == Place::elsewhere ? " --elsewhere" : "");
    std::fflush(stdout);
    std::_Exit(1);
}

class Simulation {
  public:
    Simulation(std::uint64_t seed, Place place, Canary canary, test::DriverMemory& memory,
               Tally& tally)
        : origin_{seed, place},
          place_(place),
          random_(seed),
          canary_(canary),
          memory_(memory),
          tally_(tally),
          storage_(random_.one_in(3) ? Storage::unmapped : Storage::mapped),
          image_(random_image(random_)),
          disk_(round_up(zoned::layout_of(image_.geometry).image_size, SimDisk::kSector)),
          truth_(image_.geometry) {
        truth_.set_complaint(report_and_end, &origin_);
        if (place_ == Place::elsewhere || storage_ != Storage::mapped) {
            truth_.expect_failed_writes_to_go();
        }
    }

    void run() {
        make_image();
        const std::uint64_t lives = random_.between(2, kMostLives);
        for (std::uint64_t life = 0; life < lives; ++life) one_life();
        inspect_disk();
        tally_.units += truth_.units_judged();
    }

  private:
    void make_image();
    void inspect_disk();
    void one_life();
    void serve(Reactor& reactor, SimEngine& engine, std::unique_ptr<BlockNode> root);
    /// How far a daemon got before its life ended.
    enum class Closing : std::uint8_t { not_begun, failed, done };
    void end_life(SimEngine& engine, Closing closing);
    void end_elsewhere(const SimEngine& engine, bool while_closing);
    [[nodiscard]] Crash crash_elsewhere(bool moves) const;
    [[nodiscard]] Outcome<std::unique_ptr<BlockNode>> open(Reactor& reactor);

    Origin origin_;
    Place place_;
    Random random_;
    Canary canary_;
    test::DriverMemory& memory_;
    Tally& tally_;
    Storage storage_;          ///< elsewhere: of this life
    bool has_served_ = false;  ///< in this life
    zoned::NewImage image_;
    SimDisk disk_;
    Truth truth_;
    BlockingPool pool_{1};
};

void Simulation::make_image() {
    Reactor reactor(std::make_unique<SimEngine>(disk_, SimFaults{}, random_.seed()));
    const std::unique_ptr<BlockNode> node = make_sim_node(reactor, disk_, storage_);
    const Outcome<void> made = reactor.run_to_end(zoned::format_image(*node, image_));
    ZBDKIT_ASSERT(made.has_value());
}

Outcome<std::unique_ptr<BlockNode>> Simulation::open(Reactor& reactor) {
    OpenContext context{reactor, pool_};
    NamedNodes named;
    const Storage shown = canary_ == Canary::name_a_boot ? Storage::unmapped : storage_;
    const Outcome<void> put = named.put_as(
        "disk", with_canary(canary_, image_.geometry, make_sim_node(reactor, disk_, shown)));
    ZBDKIT_ASSERT(put.has_value());
    OptionValues options("simulated graph");
    options.replace("driver", "zoned");
    options.replace("file", "disk");
    Outcome<std::unique_ptr<BlockNode>> root =
        reactor.run_to_end(open_node(context, options, named));
    if (root) *root = with_canary_above(canary_, std::move(*root));
    return root;
}

/// What the daemon before left is what the next one would open: the product's checker must agree.
void Simulation::inspect_disk() {
    ++tally_.checks;
    const std::string wrong = inspect(disk_);
    if (!wrong.empty()) report_and_end(&origin_, fmt::format("check: {}\n", wrong));
}

void Simulation::one_life() {
    inspect_disk();
    ++tally_.lives;
    if (place_ == Place::elsewhere) {
        storage_ = random_.one_in(4) ? Storage::unmapped : Storage::durable;
    }
    const SimFaults faults = random_faults(random_);
    auto owned = std::make_unique<SimEngine>(disk_, faults, random_.seed());
    SimEngine& engine = *owned;
    if (place_ == Place::elsewhere) engine.apply_in_any_order();
    Reactor reactor(std::move(owned));
    const bool stops_early = random_.one_in(5);  // while the image is opened
    if (stops_early) engine.stop_after(random_.between(1, 16));
    Outcome<std::unique_ptr<BlockNode>> root = open(reactor);
    has_served_ = root.has_value();
    if (root) {
        disk_.forget_cuts();  // an open writes anew what a crash tore
        serve(reactor, engine, std::move(*root));
        return;
    }
    if (!engine.has_stopped() && engine.faults_met() == 0) {
        report_and_end(&origin_, fmt::format("cannot be opened: {}\n", root.error().message));
    }
    end_life(engine, Closing::not_begun);
}

void Simulation::serve(Reactor& reactor, SimEngine& engine, std::unique_ptr<BlockNode> root) {
    BlockBackend backend(std::move(root));
    const Guest::Options guest_options = {
        .queue_count = static_cast<unsigned>(random_.between(1, kMostQueues)),
        .packed = random_.coin(),
        .write_through = random_.one_in(6)};
    Guest guest(reactor, backend, memory_, guest_options);
    const Workload::Options options = {.actors = static_cast<unsigned>(random_.between(1, 16)),
                                       .queue_count = guest_options.queue_count,
                                       .requests = random_.between(10, 1500),
                                       .max_append_units = image_.geometry.max_append_bytes / kUnit,
                                       .write_through = guest_options.write_through};
    truth_.expect_no_io_errors();
    DirectUser direct(backend);
    Workload workload(reactor, engine, {.guest = guest, .direct = direct}, truth_, options,
                      random_.seed());
    if (!engine.has_stopped()) {
        engine.do_not_stop();
        reactor.run_to_end(workload.judge_all());
        truth_.restarted();
        const std::uint64_t last_event = random_.coin() ? 40 : 1200;
        if (!random_.one_in(8)) engine.stop_after(random_.between(1, last_event));
        reactor.run_to_end(workload.run());
    }
    reactor.run_to_end(guest.stop());
    tally_.requests += workload.requests_done();
    const bool stopped_before = engine.has_stopped();
    const Outcome<void> closed = reactor.run_to_end(backend.close());
    if (stopped_before) {
        end_life(engine, Closing::not_begun);
    } else {
        end_life(engine, closed ? Closing::done : Closing::failed);
    }
}

void Simulation::end_life(SimEngine& engine, Closing closing) {
    tally_.disk_events += engine.events();
    tally_.faults += engine.faults_met();
    if (!engine.has_stopped() && closing == Closing::done) {
        ++tally_.clean_stops;
        disk_.forget_cuts();
        truth_.crash(Crash::none, true);
        return;
    }
    const bool while_closing = closing != Closing::not_begun;
    if (engine.has_stopped()) disk_ = engine.take_left();
    if (place_ == Place::elsewhere) {
        end_elsewhere(engine, while_closing);
        return;
    }
    if (engine.sync_has_failed() && says_that_a_sync_failed(disk_) && random_.coin()) {
        ++tally_.failed_syncs;
        truth_.crash(Crash::power_loss, while_closing);
        disk_ = after_dropped_writes(disk_, random_);
    } else if (random_.coin() || engine.sync_has_failed()) {
        ++tally_.power_losses;
        truth_.crash(Crash::power_loss, while_closing);
        disk_ = disk_.after_power_cut(random_);
        if (canary_ != Canary::trust_live_table) change_boot(disk_, place_);
    } else {
        ++tally_.daemon_deaths;
        truth_.crash(Crash::daemon_death, while_closing);
    }
}

/// The daemon dies, or its host, or a server whose cache is volatile too. Whoever goes on may be
/// another host, and must be where a cache was lost: the same boot would not know of that.
void Simulation::end_elsewhere(const SimEngine& engine, bool while_closing) {
    const bool is_durable = storage_ == Storage::durable;
    const bool is_told_of_sync = engine.sync_has_failed() && says_that_a_sync_failed(disk_);
    const bool dropped = !is_durable && is_told_of_sync && random_.coin();
    const bool is_cut = !is_durable && !dropped && (engine.sync_has_failed() || random_.coin());
    if (dropped) disk_ = after_dropped_writes(disk_, random_);
    if (is_cut || canary_ == Canary::lose_completed) disk_ = disk_.after_power_cut(random_);
    if (is_durable) disk_.sync(disk_.now());
    const bool moves = is_cut || random_.coin();
    const Crash kind = crash_elsewhere(moves);
    tally_.power_losses += kind == Crash::power_loss ? 1 : 0;
    tally_.daemon_deaths += kind == Crash::power_loss ? 0 : 1;
    tally_.failed_syncs += is_told_of_sync ? 1 : 0;
    tally_.moves += moves ? 1 : 0;
    truth_.crash(kind, while_closing);
    if (moves) change_boot(disk_, place_);
}

/// What the crash was to the last life that served: of one that had only begun to open the image
/// itself says whether it still is as that life left it.
Crash Simulation::crash_elsewhere(bool moves) const {
    if (says_that_a_sync_failed(disk_)) return Crash::power_loss;
    const bool outlives_hosts =
        has_served_ ? storage_ == Storage::durable : is_of_every_boot(disk_);
    return moves && !outlives_hosts ? Crash::power_loss : Crash::daemon_death;
}

}  // namespace

void Tally::add(const Tally& other) {
    lives += other.lives;
    power_losses += other.power_losses;
    daemon_deaths += other.daemon_deaths;
    clean_stops += other.clean_stops;
    moves += other.moves;
    requests += other.requests;
    disk_events += other.disk_events;
    faults += other.faults;
    units += other.units;
    checks += other.checks;
    failed_syncs += other.failed_syncs;
}

void simulate(std::uint64_t seed, Place place, Canary canary, test::DriverMemory& memory,
              Tally& tally) {
    Simulation(seed, place, canary, memory, tally).run();
}

std::size_t guest_memory_size() { return Guest::memory_size(kMostQueues); }

}  // namespace zbdkit::sim
