// SPDX-License-Identifier: Apache-2.0
#include "node/format/zoned.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/text.h"
#include "io/sync.h"
#include "node/format/zoned_create.h"
#include "node/format/zoned_store.h"
#include "zone/zone_locks.h"
#include "zone/zone_table.h"

namespace zbdkit {
namespace {

using zoned::Word;
using zoned::ZonedStore;

constexpr std::array kOwnOptions = {
    OptionInfo{"read-only", "on|off", "open for reading only (default off)"},
    OptionInfo{"create", "SIZE",
               "make a new disk first, as the options below say; over driver=memory"},
};
constexpr auto kOptions = [] {
    std::array<OptionInfo, kOwnOptions.size() + zoned::kCreateOptions.size()> all{};
    std::ranges::copy(kOwnOptions, all.begin());
    std::ranges::copy(zoned::kCreateOptions, all.begin() + kOwnOptions.size());
    return all;
}();

/// How many zones of a RESET ALL share one commit.
constexpr std::size_t kResetBatch = 1024;

/// A reservation with the coroutine that waits for it to be resolved.
struct PendingWrite {
    ZoneReservation reservation;
    AsyncEvent resolved;
    WriteRecord record;

    explicit PendingWrite(WriteRecord kept) : record(kept) { reservation.owner = this; }
};

class ZonedNode final : public TranslatingNode {
  public:
    ZonedNode(std::unique_ptr<BlockNode> child, std::unique_ptr<ZonedStore> store)
        : TranslatingNode("zoned", std::move(child)),
          store_(std::move(store)),
          table_(store_->superblock().geometry) {}

    /// Fills the zone table from the store and finishes what a crash interrupted.
    [[nodiscard]] Task<Outcome<void>> start(bool read_only);
    [[nodiscard]] std::uint64_t append_place(std::uint64_t offset) const override {
        return table_.reserved_pointer(geometry().zone_of(offset));
    }
    [[nodiscard]] Task<Outcome<void>> close() override;

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        switch (request.op) {
            case Op::read: return read(request);
            case Op::write: return write(request);
            case Op::append: return append(request);
            case Op::flush: return store_->flush();
            case Op::report_zones: return report(request);
            case Op::zone_open: return act(ZoneAction::open, zone_of(request));
            case Op::zone_close: return act(ZoneAction::close, zone_of(request));
            case Op::zone_finish: return act(ZoneAction::finish, zone_of(request));
            case Op::zone_reset: return act(ZoneAction::reset, zone_of(request));
            case Op::zone_reset_all: return reset_all();
            case Op::write_zeroes:
            case Op::discard: break;
        }
        return refuse(Errc::not_supported, "a zoned image is written in order only");
    }

  private:
    [[nodiscard]] const ZoneGeometry& geometry() const { return table_.geometry(); }
    [[nodiscard]] ZoneIndex zone_of(const Request& request) const {
        return geometry().zone_of(request.range.offset);
    }
    [[nodiscard]] ByteRange on_child(ByteRange range) const {
        return {store_->layout().data_offset + range.offset, range.length};
    }
    [[nodiscard]] static Task<Result<void>> refuse(Errc code, const char* reason) {
        co_return fail(code, reason);
    }
    [[nodiscard]] ByteRange piece_of(ByteRange range, std::uint64_t done) const;
    [[nodiscard]] Task<Result<void>> transfer(Op op, ByteRange range, IoSegments segments);

    [[nodiscard]] Task<Result<void>> read(Request& request);
    [[nodiscard]] Task<Result<void>> read_piece(ByteRange range, IoSegments segments);

    // The usual ones of these start write_sequential() themselves: a coroutine less for each
    // request.
    [[nodiscard]] Task<Result<void>> write(Request& request);
    [[nodiscard]] Task<Result<void>> append(Request& request);
    [[nodiscard]] Task<Result<void>> write_durably(Task<Result<void>> write);
    [[nodiscard]] Task<Result<void>> write_pieces(Request& request);
    [[nodiscard]] Task<Result<void>> write_piece(ByteRange range, IoSegments segments,
                                                 WriteRecord record);
    [[nodiscard]] Task<Result<void>> write_conventional(ByteRange range, IoSegments segments);
    [[nodiscard]] Result<void> check_write_range(ByteRange range) const;
    struct Placement {
        ZoneIndex zone{};
        std::optional<std::uint64_t> at;  ///< nothing: at the write pointer
        WriteRecord record;
        std::uint64_t* placed = nullptr;  ///< gets the absolute byte where the data is, if wanted
    };
    [[nodiscard]] Task<Result<void>> write_sequential(Placement placement, IoSegments segments);
    void settle(ZoneTable::Ended ended, ZoneIndex zone);
    [[nodiscard]] Task<void> wait_until_recovered(ZoneIndex zone);

    [[nodiscard]] Task<Result<void>> report(Request& request);
    [[nodiscard]] Task<Result<void>> act(ZoneAction action, ZoneIndex zone);
    [[nodiscard]] Task<Result<void>> reset_all();
    [[nodiscard]] Task<Result<void>> reset_batch(std::span<const ZoneIndex> zones);
    [[nodiscard]] Task<Result<void>> reset_locked(std::span<const ZoneIndex> zones);
    [[nodiscard]] Task<Result<void>> settle_reset(ZoneIndex zone);
    [[nodiscard]] Task<Result<void>> settle_reset_locked(ZoneIndex zone);
    [[nodiscard]] Task<void> reclaim(ZoneIndex zone);
    [[nodiscard]] Task<void> wipe_lost_writes();

    void set_node_info(bool read_only);
    void observe();
    void zone_changed(ZoneIndex zone, const ZoneRecord& record);
    void change_committed(const ZonedStore::Change& change);

    std::unique_ptr<ZonedStore> store_;
    ZoneTable table_;
    ZoneLocks locks_;
    bool read_only_ = false;
    std::optional<ZoneIndex> being_committed_;  ///< its word is in the live table already
    /// Zones whose reset is committed, while the live table in the storage still has their old
    /// words: they take no writes, or the old words would stand over new bytes.
    std::unordered_set<std::uint32_t> unsettled_resets_;
    /// Writers that wait for a zone to recover from a failed write.
    std::unordered_map<std::uint32_t, WaitQueue> recovering_;
};

// --- Life ---------------------------------------------------------------------------------------

void ZonedNode::set_node_info(bool read_only) {
    const NodeInfo& below = child().info();
    const zoned::Superblock& superblock = store_->superblock();
    OpSet ops = {Op::read,       Op::write,       Op::flush,      Op::report_zones,  Op::zone_open,
                 Op::zone_close, Op::zone_finish, Op::zone_reset, Op::zone_reset_all};
    if (geometry().max_append_bytes != 0) ops.add(Op::append);
    set_info({.size = geometry().device_size,
              .block_size = superblock.block_size,
              .physical_block_size = geometry().write_granularity,
              .memory_alignment = below.memory_alignment,
              .read_only = read_only,
              .takes_lent_data = below.takes_lent_data,
              .ops = ops,
              .resident = below.resident.empty()
                              ? ConstBytes{}
                              : below.resident.subspan(store_->layout().data_offset,
                                                       geometry().device_size),
              .zones = geometry()});
}

Task<Outcome<void>> ZonedNode::start(bool read_only) {
    read_only_ = read_only;
    set_node_info(read_only);
    std::vector<ZoneIndex> to_reclaim;
    for (std::uint32_t number = 0; number < geometry().zone_count(); ++number) {
        const ZoneIndex zone{number};
        const Result<Word> word = store_->word(zone);
        Result<void> loaded;
        if (word) loaded = table_.load(zone, word->record, ZoneTable::OverLimits::allowed);
        if (!word || !loaded) {
            co_return failure(fmt::format("'{}' is damaged: zone {}", describe(), number),
                              word ? loaded.error() : word.error());
        }
        if (word->reclaim_pending) to_reclaim.push_back(zone);
    }
    if (!read_only) observe();
    // Where the live table is written page by page, the word of a zone that was opened may have got
    // there without that of the one that was closed to make room for it.
    if (store_->recovery() == zoned::Recovery::daemon_death) table_.close_excess();
    // More active zones than the limit are what a power loss may leave, and they stay until the
    // guest has dealt with them, over any number of opens. Open ones it closes.
    const std::uint32_t limit = geometry().max_open_zones;
    if (limit != 0 && table_.open_count() > limit) {
        co_return failure(fmt::format("'{}' is damaged: {} zones are open, the limit is {}",
                                      describe(), table_.open_count(), limit),
                          Errc::corrupt);
    }
    if (read_only) co_return Outcome<void>{};
    for (const ZoneIndex zone : to_reclaim) co_await reclaim(zone);
    const bool may_get_holes = geometry().model == ZoneModel::host_aware;
    if (may_get_holes && store_->recovery() != zoned::Recovery::clean) co_await wipe_lost_writes();
    co_return Outcome<void>{};
}

/// From here on the store has what the zone table has, and the other way round.
void ZonedNode::observe() {
    constexpr auto changed = [](void* context, ZoneIndex zone, const ZoneRecord& record) {
        static_cast<ZonedNode*>(context)->zone_changed(zone, record);
    };
    constexpr auto committed = [](void* context, const ZonedStore::Change& change) {
        static_cast<ZonedNode*>(context)->change_committed(change);
    };
    table_.set_observer(changed, this);
    store_->set_commit_observer(committed, this);
}

/// Keeps the live table as the zone table is.
void ZonedNode::zone_changed(ZoneIndex zone, const ZoneRecord& record) {
    if (zone != being_committed_) store_->put(zone, {.record = record});
}

/// The zone table follows a commit at once. Were it to wait until the action goes on, the zone
/// could be closed meanwhile to make room for another, and its old word come back.
void ZonedNode::change_committed(const ZonedStore::Change& change) {
    being_committed_ = change.zone;
    table_.record(change.zone, change.word.record);
    being_committed_.reset();
}

Task<Outcome<void>> ZonedNode::close() {
    Outcome<void> stored;
    if (!read_only_) stored = co_await store_->close();
    Outcome<void> closed = co_await child().close();
    co_return stored ? std::move(closed) : std::move(stored);
}

Task<Result<void>> ZonedNode::transfer(Op op, ByteRange range, IoSegments segments) {
    Request request{.op = op, .range = on_child(range), .segments = segments};
    const Result<void> result = co_await child().submit(request);
    co_return result;
}

// --- Reads --------------------------------------------------------------------------------------

/// The part of `range` from byte `done` of it on that lies in one zone.
ByteRange ZonedNode::piece_of(ByteRange range, std::uint64_t done) const {
    const std::uint64_t offset = range.offset + done;
    const ZoneIndex zone = geometry().zone_of(offset);
    const std::uint64_t zone_end = geometry().start_of(zone) + geometry().length_of(zone);
    return {offset, std::min(range.end(), zone_end) - offset};
}

Task<Result<void>> ZonedNode::read(Request& request) {
    if (request.range.length == 0) co_return Result<void>{};
    co_await ok(table_.check_read(request.range));
    const ByteRange first = piece_of(request.range, 0);
    if (first == request.range) co_return co_await read_piece(first, request.segments);
    for (std::uint64_t done = 0; done < request.range.length;) {
        const ByteRange piece = piece_of(request.range, done);
        const IoVector segments = slice(request.segments, {done, piece.length});
        co_await ok(read_piece(piece, segments));
        done += piece.length;
    }
    co_return Result<void>{};
}

/// A read within one zone: what lies beyond the zone's data is zeroes, and the child is not asked.
Task<Result<void>> ZonedNode::read_piece(ByteRange range, IoSegments segments) {
    const std::uint64_t readable_end = table_.readable_end(geometry().zone_of(range.offset));
    if (range.end() <= readable_end) co_return co_await transfer(Op::read, range, segments);
    const std::uint64_t there =
        readable_end > range.offset ? readable_end - range.offset : std::uint64_t{0};
    fill(segments, {there, range.length - there}, std::byte{0});
    if (there == 0) co_return Result<void>{};
    const IoVector data = slice(segments, {0, there});
    const ByteRange piece = {range.offset, there};
    co_return co_await transfer(Op::read, piece, data);
}

// --- Writes -------------------------------------------------------------------------------------

/// A write that touches a sequential-write-required zone stays within it. [D35]
Result<void> ZonedNode::check_write_range(ByteRange range) const {
    const ZoneIndex first = geometry().zone_of(range.offset);
    const ZoneIndex last = geometry().zone_of(range.end() - 1);
    if (first == last || geometry().model == ZoneModel::host_aware ||
        to_number(last) < geometry().conventional_zones) {
        return {};
    }
    return fail(Errc::zone_invalid, "the write crosses the border of a sequential zone");
}

Task<Result<void>> ZonedNode::write(Request& request) {
    const ByteRange range = request.range;
    Task<Result<void>> done = range.length != 0 && piece_of(range, 0) == range
                                  ? write_piece(range, request.segments, request.record)
                                  : write_pieces(request);
    return request.fua ? write_durably(std::move(done)) : std::move(done);
}

Task<Result<void>> ZonedNode::append(Request& request) {
    if (request.range.length == 0) return refuse(Errc::zone_invalid, "an append of no bytes");
    const Placement placement = {.zone = geometry().zone_of(request.range.offset),
                                 .at = {},
                                 .record = request.record,
                                 .placed = &request.append_offset};
    Task<Result<void>> done = write_sequential(placement, request.segments);
    return request.fua ? write_durably(std::move(done)) : std::move(done);
}

Task<Result<void>> ZonedNode::write_durably(Task<Result<void>> write) {
    co_await ok(std::move(write));
    co_return co_await store_->flush();
}

/// A write over the borders of conventional or sequential-preferred zones, or one of nothing.
Task<Result<void>> ZonedNode::write_pieces(Request& request) {
    if (request.range.length == 0) co_return Result<void>{};
    co_await ok(check_write_range(request.range));
    for (std::uint64_t done = 0; done < request.range.length;) {
        const ByteRange piece = piece_of(request.range, done);
        const IoVector segments = slice(request.segments, {done, piece.length});
        co_await ok(write_piece(piece, segments, WriteRecord()));
        done += piece.length;
    }
    co_return Result<void>{};
}

/// A write within one zone.
Task<Result<void>> ZonedNode::write_piece(ByteRange range, IoSegments segments,
                                          WriteRecord record) {
    const ZoneIndex zone = geometry().zone_of(range.offset);
    const ZoneType type = geometry().type_of(zone);
    if (type == ZoneType::conventional) return write_conventional(range, segments);
    // A sequential-preferred zone may be written below its pointer, which then tells nothing; there
    // a write may be done again.
    const bool in_order = type == ZoneType::sequential_required;
    const Placement placement = {
        .zone = zone, .at = range.offset, .record = in_order ? record : WriteRecord()};
    return write_sequential(placement, segments);
}

Task<Result<void>> ZonedNode::write_conventional(ByteRange range, IoSegments segments) {
    if (table_.state(geometry().zone_of(range.offset)) != ZoneState::not_write_pointer) {
        co_return fail(Errc::zone_invalid, "the zone is read-only or offline");
    }
    co_return co_await transfer(Op::write, range, segments);
}

/// Reserve, write, publish in order. An append that an earlier failed write displaced is placed
/// again; a positioned write cannot be.
Task<Result<void>> ZonedNode::write_sequential(Placement placement, IoSegments segments) {
    const ZoneIndex zone = placement.zone;
    const std::uint64_t length = total_length(segments);
    ZoneLocks::Guard guard = co_await locks_.shared(zone);
    while (!unsettled_resets_.empty() && unsettled_resets_.contains(to_number(zone))) {
        guard.release();
        co_await ok(settle_reset(zone));
        guard = co_await locks_.shared(zone);
    }
    while (true) {
        while (table_.is_recovering(zone)) co_await wait_until_recovered(zone);
        PendingWrite pending(placement.record);
        ZoneReservation& reservation = pending.reservation;
        co_await ok(table_.reserve(reservation, zone, placement.at, length));
        placement.record.placed(reservation.range);
        Request below = write_request(on_child(reservation.range), segments);
        const Result<void> written = co_await child().submit(below);
        settle(written ? table_.landed(reservation) : table_.failed(reservation), zone);
        if (reservation.phase == ZoneReservation::Phase::landed) co_await pending.resolved.wait();
        switch (reservation.phase) {
            case ZoneReservation::Phase::published:
                if (store_->has_unpublished()) co_await ok(store_->publish());
                placement.record.landed();
                if (placement.placed != nullptr) *placement.placed = reservation.range.offset;
                co_return Result<void>{};
            case ZoneReservation::Phase::failed:
                placement.record.withdrawn();
                co_return std::unexpected(written.error());
            case ZoneReservation::Phase::displaced: placement.record.withdrawn(); break;
            case ZoneReservation::Phase::idle:
            case ZoneReservation::Phase::writing:
            case ZoneReservation::Phase::landed: break;
        }
        if (placement.at) {
            co_return fail(Errc::zone_unaligned_wp, "an earlier write of the zone failed");
        }
    }
}

/// Tells all others whom an ended write concerns.
void ZonedNode::settle(ZoneTable::Ended ended, ZoneIndex zone) {
    while (!ended.resolved.empty()) {
        ZoneReservation& reservation = ended.resolved.front();
        ended.resolved.pop_front();
        PendingWrite& write = *static_cast<PendingWrite*>(reservation.owner);
        if (reservation.phase != ZoneReservation::Phase::published) write.record.withdrawn();
        write.resolved.set();
    }
    if (!ended.recovered) return;
    const auto waiters = recovering_.find(to_number(zone));
    if (waiters != recovering_.end()) waiters->second.wake_all();
}

Task<void> ZonedNode::wait_until_recovered(ZoneIndex zone) {
    // The queue stays for the next time: failures are rare and zones that fail are few.
    WaitQueue& waiters = recovering_[to_number(zone)];
    co_await waiters.wait();
}

// --- Zones --------------------------------------------------------------------------------------

Task<Result<void>> ZonedNode::report(Request& request) {
    const std::uint32_t first = to_number(geometry().zone_of(request.range.offset));
    const std::uint64_t left = geometry().zone_count() - first;
    const auto count =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(left, request.zones.size()));
    for (std::uint32_t i = 0; i < count; ++i) {
        request.zones[i] = table_.describe(ZoneIndex(first + i));
    }
    request.zones_reported = count;
    co_return Result<void>{};
}

/// Check, do, record: the zone is quiet meanwhile.
Task<Result<void>> ZonedNode::act(ZoneAction action, ZoneIndex zone) {
    const ZoneLocks::Guard guard = co_await locks_.exclusive(zone);
    const std::optional<ZoneRecord> record = co_await ok(table_.check(action, zone));
    if (action == ZoneAction::reset) co_await ok(settle_reset_locked(zone));
    if (!record) {
        // As the action wants it, but perhaps no commit covers that yet: writes filled the zone, or
        // another action failed halfway.
        if (action == ZoneAction::open || store_->is_committed(zone)) co_return Result<void>{};
        co_return co_await store_->flush();
    }
    if (action == ZoneAction::reset) co_return co_await reset_locked(std::span(&zone, 1));
    if (action == ZoneAction::open) {
        // An open does not outlive a power loss, so it needs no commit. [crash contract, 2 and 5]
        table_.record(zone, *record);
    } else {
        const ZonedStore::Change change = {.zone = zone, .word = {.record = *record}};
        co_await ok(store_->commit(std::span(&change, 1)));
    }
    if (store_->has_unpublished()) co_await ok(store_->publish());
    co_return Result<void>{};
}

/// In batches of zones that share one commit, in rising order as everybody locks them.
Task<Result<void>> ZonedNode::reset_all() {
    const std::vector<std::uint32_t> unsettled(unsettled_resets_.begin(), unsettled_resets_.end());
    for (const std::uint32_t zone : unsettled) co_await ok(settle_reset(ZoneIndex(zone)));
    const std::vector<ZoneIndex> zones = table_.zones_to_reset();
    if (zones.empty() && !store_->is_committed()) co_return co_await store_->flush();
    std::span<const ZoneIndex> left = zones;
    while (!left.empty()) {
        const auto batch = left.first(std::min(left.size(), kResetBatch));
        co_await ok(reset_batch(batch));
        left = left.subspan(batch.size());
    }
    co_return Result<void>{};
}

Task<Result<void>> ZonedNode::reset_batch(std::span<const ZoneIndex> zones) {
    std::vector<ZoneLocks::Guard> guards;
    std::vector<ZoneIndex> changing;
    for (const ZoneIndex zone : zones) {
        ZoneLocks::Guard guard = co_await locks_.exclusive(zone);
        guards.push_back(std::move(guard));
        // A zone that wore out meanwhile is skipped, like one that was worn out before. [D27]
        const Result<std::optional<ZoneRecord>> record = table_.check(ZoneAction::reset, zone);
        if (record && *record) changing.push_back(zone);
    }
    co_return co_await reset_locked(changing);
}

/// Empties zones that the caller holds exclusively and has checked: committed before the first
/// reuse, punched out only when neither table has the old words any more. [crash contract]
Task<Result<void>> ZonedNode::reset_locked(std::span<const ZoneIndex> zones) {
    constexpr ZoneRecord kEmpty = {.state = ZoneState::empty, .data_end = 0};
    std::vector<ZonedStore::Change> changes;
    for (const ZoneIndex zone : zones) {
        const bool had_data = table_.record_of(zone).data_end != 0;
        changes.push_back({.zone = zone, .word = {.record = kEmpty, .reclaim_pending = had_data}});
    }
    co_await ok(store_->commit(changes));
    if (store_->has_unpublished()) {
        for (const ZoneIndex zone : zones) unsettled_resets_.insert(to_number(zone));
        co_await ok(store_->publish());
        for (const ZoneIndex zone : zones) unsettled_resets_.erase(to_number(zone));
    }
    for (const ZonedStore::Change& change : changes) {
        if (change.word.reclaim_pending) co_await reclaim(change.zone);
    }
    co_return Result<void>{};
}

/// Ends a reset whose word could not be published when it was committed, if the zone has one.
Task<Result<void>> ZonedNode::settle_reset(ZoneIndex zone) {
    const ZoneLocks::Guard guard = co_await locks_.exclusive(zone);
    co_return co_await settle_reset_locked(zone);
}

Task<Result<void>> ZonedNode::settle_reset_locked(ZoneIndex zone) {
    if (!unsettled_resets_.contains(to_number(zone))) co_return Result<void>{};
    co_await ok(store_->publish());
    unsettled_resets_.erase(to_number(zone));
    const Word word = co_await ok(store_->word(zone));
    if (word.reclaim_pending) co_await reclaim(zone);
    co_return Result<void>{};
}

/// Gives the space of a zone that was reset back to the storage below. Until that is done the
/// zone's word says so.
Task<void> ZonedNode::reclaim(ZoneIndex zone) {
    // Beyond the data of a sequential-write-required zone the child is never read, so anything may
    // be left there; a sequential-write-preferred zone may have holes, which must read as zeroes.
    const bool is_preferred = geometry().type_of(zone) == ZoneType::sequential_preferred;
    Request request =
        range_request(is_preferred ? Op::write_zeroes : Op::discard,
                      on_child({geometry().start_of(zone), geometry().capacity_of(zone)}));
    const Result<void> punched = co_await child().submit(request);
    if (!punched && punched.error().code != Errc::not_supported) {
        spdlog::warn("'{}': cannot free the space of zone {}, which was reset: {}", describe(),
                     to_number(zone), zbdkit::describe(punched.error()));
    }
    if (!punched && is_preferred) {
        table_.degrade(zone, ZoneState::read_only);
        co_return;
    }
    store_->put(zone, {.record = table_.record_of(zone)});
}

/// After a crash there may be bytes of lost writes beyond a zone's data. They read as zeroes, and
/// must go on doing so when a later write to a sequential-write-preferred zone leaves a hole over
/// them.
Task<void> ZonedNode::wipe_lost_writes() {
    for (std::uint32_t number = 0; number < geometry().zone_count(); ++number) {
        const ZoneIndex zone{number};
        if (geometry().type_of(zone) != ZoneType::sequential_preferred) continue;
        const ZoneRecord record = table_.record_of(zone);
        const std::uint64_t capacity = geometry().capacity_of(zone);
        if (is_worn_out(record.state) || record.data_end == capacity) continue;
        const ByteRange beyond = {geometry().start_of(zone) + record.data_end,
                                  capacity - record.data_end};
        Request request = range_request(Op::write_zeroes, on_child(beyond));
        const Result<void> wiped = co_await child().submit(request);
        if (wiped) continue;
        spdlog::warn("'{}': cannot wipe what a crash left beyond the data of zone {}: {}",
                     describe(), number, zbdkit::describe(wiped.error()));
        table_.degrade(zone, ZoneState::read_only);
    }
}

/// create=SIZE and the options of the new disk: it is gone with its memory, so it is made where it
/// is used.
Task<Outcome<void>> create_in_memory(BlockNode& child, OptionValues options, bool read_only) {
    static_cast<void>(options.take("read-only"));
    const std::uint64_t size = co_await ok(options.size("create", 0));
    if (options.take("create").empty()) {
        if (options.items().empty()) co_return Outcome<void>{};
        co_return failure(
            fmt::format("driver 'zoned': option '{}' is for a new disk: expected "
                        "create=SIZE with it; an image keeps what zbdkit create "
                        "gave it",
                        options.items().front().first));
    }
    if (read_only) co_return failure("driver 'zoned': create and read-only exclude each other");
    if (child.info().resident.empty()) {
        co_return failure(fmt::format("driver 'zoned': option 'create' is for storage of "
                                      "driver=memory; zbdkit create makes an image of '{}'",
                                      child.describe()),
                          Errc::not_supported);
    }
    const zoned::NewImage image = co_await ok(zoned::plan_image(size, options));
    const std::uint64_t needed = zoned::layout_of(image.geometry).image_size;
    if (needed > child.info().size) {
        co_return failure(fmt::format("'{}' is too small for a zoned disk of {}, which takes {} "
                                      "bytes",
                                      child.describe(), format_size(size), needed),
                          Errc::no_space);
    }
    co_return co_await zoned::format_image(child, image);
}

Task<Outcome<std::unique_ptr<BlockNode>>> open_zoned(OpenContext& /*context*/,
                                                     const OptionValues& options,
                                                     ChildNodes& children) {
    const std::unique_ptr<BlockNode>& child = children.front();
    const bool read_only = co_await ok(options.flag("read-only", child->info().read_only));
    if (child->info().zones.is_zoned()) {
        co_return failure(fmt::format("format 'zoned' makes zones on ordinary storage; '{}' is "
                                      "zoned already",
                                      child->describe()),
                          Errc::not_supported);
    }
    if (child->info().read_only && !read_only) {
        co_return failure(fmt::format("'{}' is read-only: expected read-only=on for the zoned "
                                      "format too",
                                      child->describe()),
                          Errc::read_only);
    }
    if (child->info().block_size > zoned::kPageSize) {
        co_return failure(fmt::format("'{}' has blocks of {}: at most 4 KiB can carry an image",
                                      child->describe(), child->info().block_size),
                          Errc::not_supported);
    }
    co_await ok(create_in_memory(*child, options, read_only));
    const zoned::Uuid boot_id = co_await ok(zoned::host_boot_id());
    const ZonedStore::OpenOptions store_options = {.read_only = read_only, .boot_id = boot_id};
    std::unique_ptr<ZonedStore> store = co_await ok(ZonedStore::open(*child, store_options));
    if (store->superblock().block_size < child->info().block_size) {
        co_return failure(fmt::format("'{}' has blocks of {}, the image in it of {}: expected "
                                      "cache.direct=off",
                                      child->describe(), child->info().block_size,
                                      store->superblock().block_size),
                          Errc::not_supported);
    }
    auto node = std::make_unique<ZonedNode>(std::move(children.front()), std::move(store));
    co_await ok(node->start(read_only));
    co_return std::unique_ptr<BlockNode>(std::move(node));
}

}  // namespace

const DriverInfo kZonedDriver = {
    "zoned",  DriverKind::format, "a persistent zoned device on ordinary storage",
    kOptions, kOneChild,          open_zoned};

}  // namespace zbdkit
