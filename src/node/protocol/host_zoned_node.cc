// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/host_zoned_node.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/container/small_vector.hpp>
#include <boost/intrusive/list.hpp>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "io/file_io.h"
#include "node/protocol/host_zone_mirror.h"
#include "node/protocol/transfer.h"
#include "zone/zone_locks.h"
#include "zone/zone_rules.h"

namespace zbdkit {
namespace {

/// An append that waits for its zone. Whoever gets the zone first performs it together with its
/// own.
struct WaitingAppend : boost::intrusive::list_base_hook<> {
    Request& request;
    std::optional<Result<void>> outcome{};  ///< once somebody has performed it

    explicit WaitingAppend(Request& appended) : request(appended) {}
};

using AppendList =
    boost::intrusive::list<WaitingAppend, boost::intrusive::constant_time_size<false>>;
/// Appends that are written together.
using AppendBatch = boost::container::small_vector<WaitingAppend*, 32>;

/// The one lock of device_lock_.
constexpr ZoneIndex kDevice{0};

ZoneAction action_of(Op op) {
    switch (op) {
        case Op::zone_open: return ZoneAction::open;
        case Op::zone_close: return ZoneAction::close;
        case Op::zone_finish: return ZoneAction::finish;
        case Op::zone_reset: return ZoneAction::reset;
        case Op::read:
        case Op::write:
        case Op::append:
        case Op::write_zeroes:
        case Op::discard:
        case Op::flush:
        case Op::report_zones:
        case Op::zone_reset_all: break;
    }
    std::unreachable();
}

bool is_limit(const Error& error) {
    return error.code == Errc::zone_open_limit || error.code == Errc::zone_active_limit;
}

bool needs_reset(const ZoneDescriptor& zone) {
    return zone.type != ZoneType::conventional &&
           (takes_active(zone.state) || zone.state == ZoneState::full);
}

class HostZonedNode final : public BlockNode {
  public:
    HostZonedNode(OpenContext& context, HostZonedParts parts);

    /// Loads the mirror.
    [[nodiscard]] Task<Result<void>> start() { return refresh_all(); }
    [[nodiscard]] std::string describe() const override { return filename_; }
    [[nodiscard]] Task<Outcome<void>> close() override {
        // Nobody else can claim the device before. The node may last longer.
        fd_.reset();
        co_return Outcome<void>{};
    }

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        switch (request.op) {
            case Op::read: return read(request);
            case Op::write: return write(request);
            case Op::append: return append(request);
            case Op::flush: return sync_data(reactor_, fd_.get());
            case Op::report_zones: return report(request);
            case Op::zone_open:
            case Op::zone_close:
            case Op::zone_finish:
            case Op::zone_reset: return act(action_of(request.op), zone_of(request));
            case Op::zone_reset_all: return reset_all();
            case Op::write_zeroes:
            case Op::discard: break;
        }
        return unsupported();
    }

  private:
    [[nodiscard]] const ZoneGeometry& geometry() const { return mirror_.geometry(); }
    [[nodiscard]] ZoneIndex zone_of(const Request& request) const {
        return geometry().zone_of(request.range.offset);
    }
    [[nodiscard]] ByteRange range_of(ZoneIndex zone) const {
        return {geometry().start_of(zone), geometry().length_of(zone)};
    }
    [[nodiscard]] static Task<Result<void>> unsupported() {
        co_return fail(Errc::not_supported, "a zoned device is written in order only");
    }

    // Zone commands, on threads of the pool.
    [[nodiscard]] Task<Result<ZoneList>> report_from(std::uint64_t offset, std::uint64_t most);
    [[nodiscard]] Task<Result<void>> run_action(ZoneAction action, ByteRange zones);
    [[nodiscard]] Task<Result<void>> refresh(ZoneIndex zone);
    [[nodiscard]] Task<Result<void>> refresh_all();

    [[nodiscard]] Task<Result<void>> read(Request& request);
    [[nodiscard]] Task<Error> reason_of(const Request& request, Error error);

    [[nodiscard]] Task<Result<void>> write(Request& request);
    [[nodiscard]] Task<Result<void>> write_anywhere(Request& request);
    [[nodiscard]] Task<Result<void>> write_in_order(Request& request, ZoneIndex zone);
    [[nodiscard]] Task<Result<void>> write_through(const Request& request);
    [[nodiscard]] Task<Result<std::uint64_t>> place(ZoneIndex zone, ZoneWrite write);
    [[nodiscard]] Error explain(ZoneIndex zone, ZoneWrite write, const Error& error) const;

    [[nodiscard]] Task<Result<void>> append(Request& request);
    [[nodiscard]] Task<void> lead(ZoneIndex zone, WaitingAppend& first);
    [[nodiscard]] AppendBatch join(ZoneIndex zone, WaitingAppend& first);
    [[nodiscard]] Task<Result<void>> write_joined(ZoneIndex zone, const AppendBatch& batch);
    [[nodiscard]] Task<Result<void>> append_alone(ZoneIndex zone, WaitingAppend& one);

    [[nodiscard]] Task<Result<void>> report(Request& request);
    [[nodiscard]] Task<Result<void>> act(ZoneAction action, ZoneIndex zone);
    [[nodiscard]] Task<Result<void>> reset_all();
    [[nodiscard]] Task<Result<void>> reset_each();

    Reactor& reactor_;
    BlockingPool& pool_;
    std::string filename_;
    UniqueFd fd_;
    std::unique_ptr<ZoneControl> control_;
    HostZoneMirror mirror_;
    /// Taken before zone_locks_: shared by all that change one zone, exclusive for RESET ALL.
    ZoneLocks device_lock_;
    ZoneLocks zone_locks_;             ///< all exclusive: one change of a zone at a time
    std::vector<AppendList> waiting_;  ///< for each zone, in order of arrival
};

HostZonedNode::HostZonedNode(OpenContext& context, HostZonedParts parts)
    : BlockNode("host_device"),
      reactor_(context.reactor),
      pool_(context.pool),
      filename_(std::move(parts.filename)),
      fd_(std::move(parts.fd)),
      control_(std::move(parts.control)),
      mirror_(parts.info.zones),
      waiting_(parts.info.zones.zone_count()) {
    parts.info.ops = {Op::read,         Op::write,      Op::flush,
                      Op::report_zones, Op::zone_open,  Op::zone_close,
                      Op::zone_finish,  Op::zone_reset, Op::zone_reset_all};
    if (geometry().max_append_bytes != 0) parts.info.ops.add(Op::append);
    set_info(std::move(parts.info));
}

// --- Zone commands ------------------------------------------------------------------------------

/// A report from the device, which also refreshes the mirror of zones that nobody is changing.
/// @param most  of zones, at least 1; fewer may come
Task<Result<ZoneList>> HostZonedNode::report_from(std::uint64_t offset, std::uint64_t most) {
    const HostZoneMirror::Moment before = mirror_.now();
    const auto count =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(most, kHostZonesPerReport));
    Result<ZoneList> zones;
    ZoneControl* control = control_.get();
    BlockingPool::Call call = pool_.run(
        reactor_, [control, offset, count, &zones] { zones = control->report(offset, count); });
    co_await call;
    if (!zones) co_return zones;
    for (const ZoneDescriptor& zone : *zones) {
        const ZoneIndex index = co_await ok(mirror_.index_of(zone));
        if (zone_locks_.is_locked(index) || !mirror_.is_unchanged_since(index, before)) continue;
        co_await ok(mirror_.load(zone));
    }
    co_return zones;
}

Task<Result<void>> HostZonedNode::run_action(ZoneAction action, ByteRange zones) {
    Result<void> result;
    ZoneControl* control = control_.get();
    BlockingPool::Call call = pool_.run(
        reactor_, [control, action, zones, &result] { result = control->act(action, zones); });
    co_await call;
    co_return result;
}

/// Reloads the mirror of a zone that the caller holds.
Task<Result<void>> HostZonedNode::refresh(ZoneIndex zone) {
    const std::uint64_t start = geometry().start_of(zone);
    const ZoneList zones = co_await ok(report_from(start, 1));
    if (zones.empty() || zones.front().start != start) {
        co_return fail(Errc::corrupt, "a zone report is not of the zone asked for");
    }
    co_return mirror_.load(zones.front());
}

Task<Result<void>> HostZonedNode::refresh_all() {
    std::uint64_t offset = 0;
    while (offset < geometry().device_size) {
        const ZoneList zones = co_await ok(report_from(offset, kHostZonesPerReport));
        if (zones.empty()) co_return fail(Errc::corrupt, "a zone report ends too early");
        for (const ZoneDescriptor& zone : zones) {
            if (zone.start != offset) co_return fail(Errc::corrupt, "a zone report has a gap");
            co_await ok(mirror_.load(zone));
            offset = zone.start + zone.length;
        }
    }
    co_return Result<void>{};
}

// --- Reads and writes without order -------------------------------------------------------------

Task<Result<void>> HostZonedNode::read(Request& request) {
    if (request.range.length == 0) co_return Result<void>{};
    co_await ok(mirror_.check_borders(request.range));
    const Result<void> done = co_await transfer(reactor_, fd_.get(), info(), request);
    if (done) co_return done;
    const Error reason = co_await reason_of(request, done.error());
    co_return std::unexpected(reason);
}

/// What a failed request of unordered zones says, once the device has told of the zones.
Task<Error> HostZonedNode::reason_of(const Request& request, Error error) {
    if (error.code != Errc::io) co_return error;
    const std::uint64_t most = request.range.length / geometry().zone_size + 2;
    const Result<ZoneList> zones = co_await report_from(request.range.offset, most);
    if (!zones) co_return error;
    for (const ZoneDescriptor& zone : *zones) {
        if (zone.start >= request.range.end()) break;
        const bool refuses = zone.state == ZoneState::offline ||
                             (zone.state == ZoneState::read_only && request.op != Op::read);
        if (refuses) co_return Error{Errc::zone_invalid, error.os_errno, "the zone is worn out"};
    }
    co_return error;
}

Task<Result<void>> HostZonedNode::write(Request& request) {
    if (request.range.length == 0) co_return Result<void>{};
    co_await ok(mirror_.check_borders(request.range));
    const ZoneIndex zone = zone_of(request);
    if (mirror_.type(zone) == ZoneType::sequential_required) {
        co_return co_await write_in_order(request, zone);
    }
    co_return co_await write_anywhere(request);
}

Task<Result<void>> HostZonedNode::write_anywhere(Request& request) {
    const Result<void> done = co_await write_through(request);
    if (done) co_return done;
    const Error reason = co_await reason_of(request, done.error());
    co_return std::unexpected(reason);
}

/// A write and, if it asks for that, the flush of it.
Task<Result<void>> HostZonedNode::write_through(const Request& request) {
    co_await ok(transfer(reactor_, fd_.get(), info(), request));
    if (request.fua) co_await ok(sync_data(reactor_, fd_.get()));
    co_return Result<void>{};
}

// --- Writes in order ----------------------------------------------------------------------------

/// Where a write goes. Refuses only by what the device has just said.
/// @return bytes from the zone's start
Task<Result<std::uint64_t>> HostZonedNode::place(ZoneIndex zone, ZoneWrite write) {
    const Result<std::uint64_t> place = place_write(mirror_.target(zone), write);
    if (place) co_return place;
    co_await ok(refresh(zone));
    co_return place_write(mirror_.target(zone), write);
}

/// Why a write failed, by the fresh mirror. The kernel says EIO for most of it.
Error HostZonedNode::explain(ZoneIndex zone, ZoneWrite write, const Error& error) const {
    if (error.code != Errc::io) return error;
    const Result<std::uint64_t> place = place_write(mirror_.target(zone), write);
    if (place) return error;
    return {place.error().code, error.os_errno, place.error().text};
}

Task<Result<void>> HostZonedNode::write_in_order(Request& request, ZoneIndex zone) {
    const ZoneLocks::Guard device = co_await device_lock_.shared(kDevice);
    const ZoneLocks::Guard guard = co_await zone_locks_.exclusive(zone);
    const ZoneWrite write = {.at = request.range.offset - geometry().start_of(zone),
                             .length = request.range.length};
    co_await ok(place(zone, write));
    request.record.placed(request.range);
    const Result<void> written = co_await transfer(reactor_, fd_.get(), info(), request);
    if (!written) {
        request.record.withdrawn();
        const Result<void> fresh = co_await refresh(zone);
        if (!fresh) co_return written;
        co_return std::unexpected(explain(zone, write, written.error()));
    }
    mirror_.wrote(zone, *write.at + write.length);
    request.record.landed();
    if (request.fua) co_await ok(sync_data(reactor_, fd_.get()));
    co_return Result<void>{};
}

// --- Appends ------------------------------------------------------------------------------------

Task<Result<void>> HostZonedNode::append(Request& request) {
    if (request.range.length == 0) co_return fail(Errc::zone_invalid, "an append of no bytes");
    const ZoneIndex zone = zone_of(request);
    WaitingAppend mine(request);
    waiting_[to_number(zone)].push_back(mine);
    const ZoneLocks::Guard device = co_await device_lock_.shared(kDevice);
    const ZoneLocks::Guard guard = co_await zone_locks_.exclusive(zone);
    if (!mine.outcome) co_await lead(zone, mine);
    co_return *mine.outcome;
}

/// Performs an append of the zone that the caller holds, and as many others as go with it.
Task<void> HostZonedNode::lead(ZoneIndex zone, WaitingAppend& first) {
    AppendList& waiting = waiting_[to_number(zone)];
    waiting.erase(waiting.iterator_to(first));
    const ZoneWrite write = {.length = first.request.range.length};
    const Result<std::uint64_t> allowed = co_await place(zone, write);
    if (!allowed) {
        first.outcome = std::unexpected(allowed.error());
        co_return;
    }
    const AppendBatch batch = join(zone, first);
    const Result<void> written = co_await write_joined(zone, batch);
    if (written) co_return;
    const Result<void> fresh = co_await refresh(zone);
    // A joined write does not say whose part of it failed, and the pointer may have been moved by
    // somebody else. A limit, or a device that is gone, is the same for all.
    const bool is_final = !fresh || is_limit(written.error());
    for (WaitingAppend* append : batch) {
        if (is_final) {
            append->outcome = written;
        } else {
            append->outcome = co_await append_alone(zone, *append);
        }
    }
}

/// Takes those out of the zone's list that fit into one write with `first`.
AppendBatch HostZonedNode::join(ZoneIndex zone, WaitingAppend& first) {
    AppendBatch batch = {&first};
    AppendList& waiting = waiting_[to_number(zone)];
    ZoneWriteTarget target = mirror_.target(zone);
    std::uint64_t length = first.request.range.length;
    std::size_t segments = first.request.segments.size();
    target.pointer += length;
    while (!waiting.empty()) {
        WaitingAppend& next = waiting.front();
        const ZoneWrite write = {.length = next.request.range.length};
        length += write.length;
        segments += next.request.segments.size();
        if (length > geometry().max_append_bytes || segments > kMaxSegments ||
            !place_write(target, write)) {
            break;
        }
        target.pointer += write.length;
        waiting.pop_front();
        batch.push_back(&next);
    }
    return batch;
}

/// One write of all appends of the batch at the write pointer. When it succeeds each has its
/// outcome.
Task<Result<void>> HostZonedNode::write_joined(ZoneIndex zone, const AppendBatch& batch) {
    const std::uint64_t start = geometry().start_of(zone) + mirror_.target(zone).pointer;
    std::uint64_t end = start;
    IoVector segments;
    bool fua = false;
    for (const WaitingAppend* append : batch) {
        const IoSegments part = append->request.segments;
        segments.insert(segments.end(), part.begin(), part.end());
        append->request.record.placed({end, append->request.range.length});
        end += append->request.range.length;
        fua = fua || append->request.fua;
    }
    const Request joined = write_request({start, end - start}, segments);
    const Result<void> written = co_await transfer(reactor_, fd_.get(), info(), joined);
    if (!written) {
        for (const WaitingAppend* append : batch) append->request.record.withdrawn();
        co_return written;
    }
    mirror_.wrote(zone, end - geometry().start_of(zone));
    for (const WaitingAppend* append : batch) append->request.record.landed();
    Result<void> synced;
    if (fua) synced = co_await sync_data(reactor_, fd_.get());
    std::uint64_t offset = start;
    for (WaitingAppend* append : batch) {
        append->request.append_offset = offset;
        append->outcome = append->request.fua ? synced : Result<void>{};
        offset += append->request.range.length;
    }
    co_return Result<void>{};
}

/// Performs an append whose joined write failed. The mirror is fresh.
Task<Result<void>> HostZonedNode::append_alone(ZoneIndex zone, WaitingAppend& one) {
    const ZoneWrite write = {.length = one.request.range.length};
    co_await ok(place(zone, write));
    const AppendBatch alone = {&one};
    const Result<void> written = co_await write_joined(zone, alone);
    if (written) co_return *one.outcome;
    const Result<void> fresh = co_await refresh(zone);
    if (!fresh) co_return written;
    co_return std::unexpected(explain(zone, write, written.error()));
}

// --- Zones --------------------------------------------------------------------------------------

Task<Result<void>> HostZonedNode::report(Request& request) {
    request.zones_reported = 0;
    std::span<ZoneDescriptor> room = request.zones;
    std::uint64_t offset = request.range.offset;
    while (!room.empty() && offset < geometry().device_size) {
        const ZoneList zones = co_await ok(report_from(offset, room.size()));
        if (zones.empty()) co_return fail(Errc::corrupt, "a zone report ends too early");
        const std::size_t count = std::min(room.size(), zones.size());
        std::ranges::copy_n(zones.begin(), static_cast<std::ptrdiff_t>(count), room.begin());
        room = room.subspan(count);
        request.zones_reported += static_cast<std::uint32_t>(count);
        offset = zones.back().start + zones.back().length;
    }
    co_return Result<void>{};
}

/// The device acts, and says afterwards what the zone has become.
Task<Result<void>> HostZonedNode::act(ZoneAction action, ZoneIndex zone) {
    const ZoneLocks::Guard device = co_await device_lock_.shared(kDevice);
    const ZoneLocks::Guard guard = co_await zone_locks_.exclusive(zone);
    const Result<void> acted = co_await run_action(action, range_of(zone));
    const Result<void> fresh = co_await refresh(zone);
    // A mirror that could not be refreshed after a success is corrected by the next failure.
    if (acted || !fresh || acted.error().code != Errc::io) co_return acted;
    if (mirror_.type(zone) == ZoneType::conventional) {
        co_return fail(Errc::zone_invalid, "zone action on a conventional zone");
    }
    co_await ok(after_action(action, mirror_.type(zone), mirror_.record(zone)));
    co_return acted;
}

Task<Result<void>> HostZonedNode::reset_all() {
    const ZoneLocks::Guard device = co_await device_lock_.exclusive(kDevice);
    const ByteRange everything = {0, geometry().device_size};
    Result<void> done = co_await run_action(ZoneAction::reset, everything);
    // Not every driver passes over worn-out zones.
    if (!done) done = co_await reset_each();
    const Result<void> fresh = co_await refresh_all();
    co_return done ? fresh : done;
}

/// Resets the zones that can be, one by one.
Task<Result<void>> HostZonedNode::reset_each() {
    std::uint64_t offset = 0;
    while (offset < geometry().device_size) {
        const ZoneList zones = co_await ok(report_from(offset, kHostZonesPerReport));
        if (zones.empty()) co_return fail(Errc::corrupt, "a zone report ends too early");
        for (const ZoneDescriptor& zone : zones) {
            const ByteRange range = {zone.start, zone.length};
            if (needs_reset(zone)) co_await ok(run_action(ZoneAction::reset, range));
        }
        offset = zones.back().start + zones.back().length;
    }
    co_return Result<void>{};
}

}  // namespace

Task<Outcome<std::unique_ptr<BlockNode>>> open_host_zoned_node(OpenContext& context,
                                                               HostZonedParts parts) {
    auto node = std::make_unique<HostZonedNode>(context, std::move(parts));
    const Result<void> started = co_await node->start();
    if (started) co_return std::unique_ptr<BlockNode>(std::move(node));
    co_return failure(fmt::format("cannot report the zones of '{}'", node->describe()),
                      started.error());
}

}  // namespace zbdkit
