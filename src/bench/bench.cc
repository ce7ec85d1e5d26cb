// SPDX-License-Identifier: Apache-2.0
#include "bench/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <memory>
#include <utility>
#include <vector>

#include "base/text.h"
#include "base/units.h"
#include "bench/driver_ring.h"
#include "bench/front_end.h"
#include "bench/plain_workload.h"
#include "bench/zone_report.h"
#include "bench/zoned_workload.h"
#include "zone/zone.h"

namespace zbdkit::bench {
namespace {

constexpr std::uint32_t kSmallestQueue = 128;
/// Blocks are chosen with 32 bits.
constexpr std::uint64_t kMaxBlockCount = 0xffffffff;

std::unexpected<Failure> refuse(std::string what) {
    return failure(std::move(what), Errc::not_supported);
}

/// One measurement of one disk.
class Benchmark {
  public:
    Benchmark(const Settings& settings, FrontEnd front_end)
        : settings_(settings), front_end_(std::move(front_end)) {}

    [[nodiscard]] Outcome<Results> run(const std::function<void(const Plan&)>& announce);

  private:
    [[nodiscard]] Outcome<void> negotiate();
    [[nodiscard]] Outcome<void> check_disk() const;
    [[nodiscard]] Outcome<void> start_load();

    [[nodiscard]] Outcome<void> choose_range();
    [[nodiscard]] Outcome<void> choose_zones();
    [[nodiscard]] std::uint32_t default_zone_count(std::size_t available) const;
    [[nodiscard]] Outcome<void> check_zone_limits(std::size_t zone_count) const;
    [[nodiscard]] Outcome<void> use_zone(const ZoneDescriptor& zone);
    [[nodiscard]] Outcome<void> make_verifier(ByteRange range);

    [[nodiscard]] Outcome<void> prepare();
    [[nodiscard]] Outcome<void> reset_zones();
    [[nodiscard]] Outcome<void> drive_pass(Workload& pass);
    [[nodiscard]] Outcome<void> fill(std::uint32_t percent);
    [[nodiscard]] Outcome<void> read_back();
    [[nodiscard]] std::unique_ptr<Workload> make_workload();

    [[nodiscard]] bool is_zoned() const { return !zones_.zones.empty(); }
    [[nodiscard]] PlainArea plain_area() const {
        return {.block_count = plan_.range / settings_.block_size,
                .block_size = settings_.block_size};
    }

    const Settings& settings_;
    FrontEnd front_end_;
    FrontEnd::Device device_;
    Plan plan_;
    ZonedArea zones_;
    std::vector<ZoneDescriptor> reported_;  ///< of the zones in use
    std::unique_ptr<Verifier> verifier_;
    std::unique_ptr<Load> load_;
};

// --- the disk ---------------------------------------------------------------------------------

Outcome<void> Benchmark::negotiate() {
    const Outcome<FrontEnd::Device> device =
        front_end_.negotiate({.queue_count = settings_.queue_count, .packed = settings_.packed});
    if (!device) return std::unexpected(device.error());
    device_ = *device;
    plan_.event_idx = device_.has(ring_feature::kEventIdx);
    const std::optional<std::uint64_t> size = Sectors(device_.config.capacity).to_bytes();
    if (!size) return failure("the disk has more bytes than an offset can say");
    plan_.disk_size = *size;
    return check_disk();
}

Outcome<void> Benchmark::check_disk() const {
    if (device_.has(blk_feature::kReadOnly) && !only_reads(settings_.operation)) {
        return failure("the disk is read-only", Errc::read_only);
    }
    const std::uint32_t block = device_.has(blk_feature::kBlockSize)
                                    ? std::uint32_t{device_.config.block_size}
                                    : std::uint32_t{kSectorSize};
    if (block == 0 || settings_.block_size % block != 0) {
        return refuse(fmt::format("block size {}: expected a multiple of the disk's {} bytes",
                                  settings_.block_size, block));
    }
    return {};
}

Outcome<void> Benchmark::start_load() {
    Outcome<std::unique_ptr<Load>> load =
        Load::start(front_end_, {.queue_count = settings_.queue_count,
                                 .queue_size = settings_.queue_size,
                                 .depth = settings_.depth,
                                 .block_size = settings_.block_size,
                                 .packed = settings_.packed,
                                 .event_idx = plan_.event_idx,
                                 .wait = settings_.wait,
                                 .timeout_ns = settings_.timeout_ns,
                                 .seed = settings_.seed});
    if (!load) return std::unexpected(load.error());
    load_ = std::move(*load);
    return {};
}

// --- which part of it -------------------------------------------------------------------------

Outcome<void> Benchmark::choose_range() {
    if (settings_.operation == Operation::append) {
        return refuse("append needs a host-managed disk; this one takes writes anywhere");
    }
    if (settings_.zone_count || settings_.zone_first) {
        return refuse("--zones and --zone-first need a host-managed disk; this one takes --range");
    }
    const std::uint64_t otherwise = std::min(plan_.disk_size, Settings::kDefaultRange);
    const std::uint64_t range = settings_.range.value_or(otherwise);
    plan_.range = round_down(range, settings_.block_size);
    if (range > plan_.disk_size || plan_.range == 0) {
        return failure(fmt::format("range of {}: expected one block of {} at least and {} at most, "
                                   "which the disk has",
                                   format_size(range), format_size(settings_.block_size),
                                   format_size(plan_.disk_size)),
                       Errc::out_of_range);
    }
    if (plan_.range / settings_.block_size > kMaxBlockCount) {
        return failure("range of more than 2^32 - 1 blocks", Errc::out_of_range);
    }
    return make_verifier({0, plan_.range});
}

Outcome<void> Benchmark::make_verifier(ByteRange range) {
    if (!settings_.verify) return {};
    const std::uint64_t block_count = range.length / settings_.block_size;
    if (block_count > Verifier::kMaxBlocks) {
        return failure(
            fmt::format("--verify of {} blocks: expected at most {}; use less of the disk",
                        block_count, Verifier::kMaxBlocks),
            Errc::out_of_range);
    }
    verifier_ = std::make_unique<Verifier>(range, settings_.block_size, settings_.seed);
    return {};
}

/// @param zone_count  in use
Outcome<void> Benchmark::check_zone_limits(std::size_t zone_count) const {
    if (only_reads(settings_.operation)) return {};
    const bool has_order = settings_.operation != Operation::append;
    if (has_order && zone_count < settings_.queue_count) {
        return refuse(
            fmt::format("{} queues write to {} zones: expected a zone for each queue at "
                        "least, as rings have no order between them",
                        settings_.queue_count, zone_count));
    }
    const BlkConfig& config = device_.config;
    if (settings_.operation == Operation::append) {
        const std::uint64_t most = config.max_append_sectors * kSectorSize;
        if (settings_.block_size > most) {
            return refuse(fmt::format("block size {}: the disk takes appends of up to {} bytes",
                                      settings_.block_size, most));
        }
    }
    const std::uint32_t granularity = config.write_granularity;
    if (granularity != 0 && settings_.block_size % granularity != 0) {
        return refuse(fmt::format("block size {}: expected a multiple of the write granularity {}",
                                  settings_.block_size, granularity));
    }
    const std::size_t open =
        settings_.operation == Operation::write ? settings_.queue_count : zone_count;
    for (const std::uint32_t limit :
         {std::uint32_t{config.max_open_zones}, std::uint32_t{config.max_active_zones}}) {
        if (limit == 0 || open <= limit) continue;
        return refuse(
            fmt::format("{} zones are written at a time: expected at most {}, the disk's "
                        "limit; use fewer --zones",
                        open, limit));
    }
    return {};
}

/// As many as the disk lets be written at a time, up to a few.
std::uint32_t Benchmark::default_zone_count(std::size_t available) const {
    std::uint32_t count = Settings::kDefaultZones;
    for (const std::uint32_t limit : {std::uint32_t{device_.config.max_open_zones},
                                      std::uint32_t{device_.config.max_active_zones}}) {
        if (limit != 0) count = std::min(count, limit);
    }
    return static_cast<std::uint32_t>(std::min<std::size_t>(count, available));
}

Outcome<void> Benchmark::choose_zones() {
    if (settings_.range) {
        return refuse("--range needs a disk without zones; this one takes --zones");
    }
    plan_.zone_size = device_.config.zone_sectors * kSectorSize;
    if (plan_.zone_size == 0) return failure("the disk is zoned, and its zones have size 0");
    const Outcome<std::vector<ZoneDescriptor>> all =
        report_zones(*load_, {.device_size = plan_.disk_size, .zone_size = plan_.zone_size});
    if (!all) return std::unexpected(all.error());
    std::vector<ZoneDescriptor> sequential;
    plan_.zone_first = settings_.zone_first.value_or(0);
    for (std::size_t i = plan_.zone_first; i < all->size(); ++i) {
        if ((*all)[i].type != ZoneType::sequential_required) continue;
        if (sequential.empty()) plan_.zone_first = static_cast<std::uint32_t>(i);
        sequential.push_back((*all)[i]);
    }
    const std::uint32_t otherwise = default_zone_count(sequential.size());
    const std::uint32_t count = settings_.zone_count.value_or(otherwise);
    if (count == 0 || count > sequential.size()) {
        return failure(
            fmt::format("{} zones from zone {} on: the disk has {} sequential ones there", count,
                        plan_.zone_first, sequential.size()),
            Errc::out_of_range);
    }
    sequential.resize(count);
    const Outcome<void> limits = check_zone_limits(count);
    if (!limits) return limits;
    zones_.block_size = settings_.block_size;
    for (const ZoneDescriptor& zone : sequential) {
        const Outcome<void> used = use_zone(zone);
        if (!used) return used;
    }
    plan_.zone_count = count;
    reported_ = std::move(sequential);
    const std::uint64_t start = reported_.front().start;
    return make_verifier({start, reported_.back().start + reported_.back().length - start});
}

Outcome<void> Benchmark::use_zone(const ZoneDescriptor& zone) {
    const std::uint64_t capacity = zone.capacity / settings_.block_size;
    const bool is_dead = zone.state == ZoneState::offline ||
                         (zone.state == ZoneState::read_only && !only_reads(settings_.operation));
    if (is_dead || capacity == 0) {
        return failure(fmt::format("the zone at byte {} is {} and holds {} blocks", zone.start,
                                   zone_state_name(zone.state), capacity));
    }
    if (capacity > kMaxBlockCount) return failure("zones of more than 2^32 - 1 blocks");
    WorkZone work{.start = zone.start, .length = zone.length, .capacity = capacity};
    if (zone.state == ZoneState::full || zone.state == ZoneState::read_only) {
        work.next = capacity;
    } else if (zone.state != ZoneState::empty) {
        work.next = (zone.write_pointer - zone.start) / settings_.block_size;
    }
    work.readable = work.next;
    zones_.zones.push_back(std::move(work));
    return {};
}

// --- before and after -------------------------------------------------------------------------

/// Writes start with empty zones; reads have something to read, of which all is known if it is
/// to be checked.
Outcome<void> Benchmark::prepare() {
    if (is_zoned()) {
        const Outcome<void> reset = reset_zones();
        if (!reset) return reset;
    }
    if (settings_.operation == Operation::mixed) {
        // Room for writes, and something to read.
        constexpr std::uint32_t kHalf = 50;
        return is_zoned() || settings_.verify ? fill(is_zoned() ? kHalf : 100) : Outcome<void>();
    }
    if (!only_reads(settings_.operation) || (!is_zoned() && !settings_.verify)) return {};
    return fill(100);
}

/// Empties those zones that are written, or whose blocks would lie between ours.
Outcome<void> Benchmark::reset_zones() {
    for (std::size_t i = 0; i < reported_.size(); ++i) {
        const ZoneDescriptor& zone = reported_[i];
        const bool has_pointer =
            zone.state != ZoneState::full && zone.state != ZoneState::read_only;
        const bool is_ours =
            !has_pointer || is_aligned(zone.write_pointer - zone.start, settings_.block_size);
        const bool keeps = only_reads(settings_.operation) && !settings_.verify && is_ours;
        if (zone.state == ZoneState::empty || keeps) continue;
        const Outcome<std::vector<std::byte>> reset =
            load_->request(BlkRequestType::zone_reset, zone.start, 0);
        if (!reset) return std::unexpected(reset.error());
        zones_.zones[i].next = 0;
        zones_.zones[i].readable = 0;
        ++plan_.zones_reset;
    }
    return {};
}

Outcome<void> Benchmark::drive_pass(Workload& pass) {
    return load_->drive(pass, {.verifier = verifier_.get()});
}

Outcome<void> Benchmark::fill(std::uint32_t percent) {
    if (device_.has(blk_feature::kReadOnly)) {
        return failure("the disk is read-only and what is to be read must be written first",
                       Errc::read_only);
    }
    if (!is_zoned()) {
        PlainPass pass(plain_area(), PlainPass::Kind::fill, nullptr);
        plan_.bytes_filled = plan_.range;
        return drive_pass(pass);
    }
    std::uint64_t blocks = 0;
    for (const WorkZone& zone : zones_.zones) blocks += zone.next;
    ZonedPass pass(zones_, {.kind = ZonedPass::Kind::fill, .percent = percent});
    const Outcome<void> filled = drive_pass(pass);
    std::uint64_t blocks_now = 0;
    for (const WorkZone& zone : zones_.zones) blocks_now += zone.next;
    plan_.bytes_filled = (blocks_now - blocks) * settings_.block_size;
    return filled;
}

/// Reads all that this run wrote and that is still there.
Outcome<void> Benchmark::read_back() {
    if (!is_zoned()) {
        PlainPass pass(plain_area(), PlainPass::Kind::read_back, verifier_.get());
        return drive_pass(pass);
    }
    ZonedPass pass(zones_, {.kind = ZonedPass::Kind::read_back, .verifier = verifier_.get()});
    return drive_pass(pass);
}

std::unique_ptr<Workload> Benchmark::make_workload() {
    if (!is_zoned()) {
        return std::make_unique<PlainWorkload>(
            plain_area(), PlainWorkload::Options{.operation = settings_.operation,
                                                 .read_percent = settings_.read_percent,
                                                 .seed = settings_.seed,
                                                 .verifier = verifier_.get()});
    }
    return std::make_unique<ZonedWorkload>(
        zones_, ZonedWorkload::Options{.operation = settings_.operation,
                                       .read_percent = settings_.read_percent,
                                       .queue_count = settings_.queue_count,
                                       .seed = settings_.seed,
                                       .verifier = verifier_.get()});
}

Outcome<Results> Benchmark::run(const std::function<void(const Plan&)>& announce) {
    const Outcome<void> negotiated = negotiate();
    if (!negotiated) return std::unexpected(negotiated.error());
    const Outcome<void> started = start_load();
    if (!started) return std::unexpected(started.error());
    const bool host_managed = device_.has(blk_feature::kZoned) &&
                              ZoneModel{device_.config.model} == ZoneModel::host_managed;
    const Outcome<void> chosen = host_managed ? choose_zones() : choose_range();
    if (!chosen) return std::unexpected(chosen.error());
    const Outcome<void> prepared = prepare();
    if (!prepared) return std::unexpected(prepared.error());
    announce(plan_);

    Results results{.plan = plan_,
                    .meter = Meter(front_end_.server_pid()),
                    .server_pid = front_end_.server_pid()};
    const std::unique_ptr<Workload> workload = make_workload();
    const Outcome<void> driven = load_->drive(*workload, {.meter = &results.meter,
                                                          .warm_up_ns = settings_.warm_up_ns,
                                                          .run_ns = settings_.run_ns,
                                                          .verifier = verifier_.get()});
    if (!driven) return std::unexpected(driven.error());
    if (verifier_ != nullptr) {
        const Outcome<void> checked = read_back();
        if (!checked) return std::unexpected(checked.error());
        results.blocks_verified = verifier_->checked();
    }
    const Outcome<void> stopped = load_->stop();
    if (!stopped) return std::unexpected(stopped.error());
    return results;
}

}  // namespace

Outcome<Settings> check_settings(Settings settings) {
    const auto wrong = [](std::string_view option, std::uint64_t value, std::string_view expected) {
        return failure(fmt::format("{} {}: expected {}", option, value, expected),
                       Errc::out_of_range);
    };
    if (settings.block_size == 0 || settings.block_size % kSectorSize != 0 ||
        settings.block_size > Settings::kMaxBlockSize) {
        return wrong("--block-size", settings.block_size, "a multiple of 512, at most 16 MiB");
    }
    constexpr std::uint32_t kMaxDepth = Settings::kMaxQueueSize / kDescriptorsPerSlot;
    if (settings.depth == 0 || settings.depth > kMaxDepth) {
        return wrong("--depth", settings.depth, fmt::format("1 to {}", kMaxDepth));
    }
    constexpr std::uint32_t kMaxQueues = 256;
    if (settings.queue_count == 0 || settings.queue_count > kMaxQueues) {
        return wrong("--queues", settings.queue_count, fmt::format("1 to {}", kMaxQueues));
    }
    const std::uint32_t needed = settings.depth * kDescriptorsPerSlot;
    if (settings.queue_size == 0)
        settings.queue_size = std::max(kSmallestQueue, std::bit_ceil(needed));
    if (settings.queue_size > Settings::kMaxQueueSize ||
        (!settings.packed && !is_power_of_two(settings.queue_size))) {
        return wrong("--queue-size", settings.queue_size,
                     "at most 32768, and a power of two unless --packed");
    }
    if (settings.queue_size < needed) {
        return wrong("--queue-size", settings.queue_size,
                     fmt::format("at least {}: {} descriptors for each of {} requests", needed,
                                 kDescriptorsPerSlot, settings.depth));
    }
    if (settings.read_percent > 100)
        return wrong("--read-percent", settings.read_percent, "0 to 100");
    if (settings.run_ns == 0) return wrong("--seconds", 0, "more than 0");
    if (settings.timeout_ns == 0) return wrong("--timeout", 0, "more than 0");
    return settings;
}

Outcome<Results> run(const Settings& settings, const std::function<void(const Plan&)>& announce) {
    Outcome<FrontEnd> front_end = FrontEnd::connect(settings.socket_path, settings.timeout_ns);
    if (!front_end) return std::unexpected(front_end.error());
    Benchmark benchmark(settings, std::move(*front_end));
    return benchmark.run(announce);
}

}  // namespace zbdkit::bench
