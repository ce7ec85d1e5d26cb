// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/workload.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/assert.h"

namespace zbdkit::sim {
namespace {

constexpr std::uint64_t kLongestPauseNs = 300'000;
/// One request in so many goes past the rings.
constexpr std::uint64_t kDirectRarity = 4;
/// Reads and reports that meet a fault are tried so often when a zone must be looked at.
constexpr int kMaxTries = 100;

BlkRequestType type_of(ZoneAction action) {
    switch (action) {
        case ZoneAction::open: return BlkRequestType::zone_open;
        case ZoneAction::close: return BlkRequestType::zone_close;
        case ZoneAction::finish: return BlkRequestType::zone_finish;
        case ZoneAction::reset: break;
    }
    return BlkRequestType::zone_reset;
}

ZoneDescriptor decode_zone(ConstBytes reply, std::size_t index, const ZoneGeometry& geometry) {
    BlkZoneDescriptor wire{};
    std::memcpy(&wire, reply.data() + sizeof(BlkReportHeader) + index * sizeof wire, sizeof wire);
    const std::uint64_t start = wire.start * kSectorSize;
    return {.start = start,
            .length = geometry.length_of(geometry.zone_of(start)),
            .capacity = wire.capacity * kSectorSize,
            .write_pointer = wire.write_pointer * kSectorSize,
            .type = static_cast<ZoneType>(wire.type),
            .state = static_cast<ZoneState>(wire.state)};
}

}  // namespace

std::uint32_t Workload::any_zone() {
    return static_cast<std::uint32_t>(random_.below(truth_.zone_count()));
}

Workload::Way Workload::any_way() {
    const bool is_direct = random_.one_in(kDirectRarity);
    return {.is_direct = is_direct, .fua = is_direct && random_.coin()};
}

Task<GuestAnswer> Workload::send(const GuestRequest& request, Way way) {
    if (way.is_direct) return direct_.submit(request, way.fua);
    return guest_.submit(any_queue(), request);
}

std::uint64_t Workload::byte_of(std::uint32_t zone, std::uint64_t unit) const {
    return truth_.geometry().start_of(ZoneIndex(zone)) + unit * kUnit;
}

bool Workload::may_judge() {
    if (has_stopped()) return false;
    if (engine_.faults_met() != 0) truth_.expect_io_errors();
    ++done_;
    return true;
}

Task<void> Workload::run() {
    left_ = options_.requests;
    TaskScope actors;
    for (unsigned i = 0; i < options_.actors; ++i) actors.spawn(act());
    co_await actors.join();
}

Task<void> Workload::act() {
    while (left_ > 0 && !has_stopped()) {
        --left_;
        co_await one_request();
        if (random_.one_in(4)) co_await reactor_.sleep_ns(random_.below(kLongestPauseNs));
    }
}

Task<void> Workload::one_request() {
    const std::uint32_t zone = any_zone();
    const std::uint64_t choice = random_.below(1000);
    if (choice < 60) co_return co_await report();
    if (choice < 120) co_return co_await flush();
    if (settling_.contains(zone)) co_return;
    if (truth_.is_uncertain(zone)) {
        if (truth_.is_quiet(zone)) co_return co_await settle(zone);
        if (random_.coin()) co_return;  // give it a chance to become quiet
    }
    if (choice < 300) co_return co_await read(zone);
    if (truth_.is_conventional(zone)) co_return co_await write(zone);
    if (choice < 600) co_return co_await append(zone);
    if (choice < 860) co_return co_await write(zone);
    if (choice < 890) co_return co_await zone_action(zone, ZoneAction::open);
    if (choice < 920) co_return co_await zone_action(zone, ZoneAction::close);
    if (choice < 945) co_return co_await zone_action(zone, ZoneAction::finish);
    if (choice < 995) co_return co_await zone_action(zone, ZoneAction::reset);
    if (settling_.empty()) co_return co_await reset_all();
}

Task<void> Workload::write(std::uint32_t zone) {
    const std::uint64_t capacity = truth_.capacity_units(zone);
    std::uint64_t units = random_.between(1, std::min<std::uint64_t>(capacity, 12));
    std::uint64_t at = 0;
    if (truth_.is_conventional(zone)) {
        at = random_.below(capacity - units + 1);
        if (truth_.overlaps_flying(zone, at, units)) co_return;
    } else {
        at = truth_.likely_pointer(zone);
        if (random_.one_in(20)) at = random_.below(capacity);  // off the pointer
        const std::uint64_t room = at < capacity ? capacity - at : 0;
        if (!random_.one_in(16)) units = std::min(units, room);  // else over the capacity
        const std::uint64_t length = truth_.geometry().length_of(ZoneIndex(zone)) / kUnit;
        if (units == 0 || at >= length) co_return;
    }
    if (byte_of(zone, at + units) > truth_.geometry().device_size) co_return;
    const WriteTicket ticket = truth_.begin_write(zone, at, units);
    const GuestRequest request = {.type = BlkRequestType::out,
                                  .offset = byte_of(zone, at),
                                  .data = stamped(ticket.id, units)};
    const Way way = any_way();
    const GuestAnswer answer = co_await send(request, way);
    if (may_judge()) truth_.end_write(ticket, answer.status, at, is_durable(way));
}

Task<void> Workload::append(std::uint32_t zone) {
    const std::uint64_t units = random_.between(1, options_.max_append_units);
    const WriteTicket ticket = truth_.begin_write(zone, std::nullopt, units);
    const GuestRequest request = {.type = BlkRequestType::zone_append,
                                  .offset = byte_of(zone, 0),
                                  .data = stamped(ticket.id, units),
                                  .reply_length = random_.coin() ? 8U : 15U};
    const Way way = any_way();
    const GuestAnswer answer = co_await send(request, way);
    if (!may_judge()) co_return;
    std::uint64_t sector = 0;
    std::memcpy(&sector, answer.reply.data(), sizeof sector);
    const std::uint64_t start = byte_of(zone, 0);
    const std::uint64_t placed =
        answer.status == BlkStatus::ok ? (sector * kSectorSize - start) / kUnit : 0;
    truth_.end_write(ticket, answer.status, placed, is_durable(way));
}

Task<void> Workload::read(std::uint32_t zone) {
    const std::uint64_t length = truth_.geometry().length_of(ZoneIndex(zone)) / kUnit;
    const std::uint64_t units = random_.between(1, std::min<std::uint64_t>(length, 16));
    const std::uint64_t first = random_.below(length - units + 1);
    const Snapshot before = truth_.snapshot();
    const GuestRequest request = {
        .type = BlkRequestType::in, .offset = byte_of(zone, first), .reply_length = units * kUnit};
    const GuestAnswer answer = co_await send(request, any_way());
    if (may_judge()) truth_.end_read(before, zone, first, answer.status, answer.reply);
}

Task<void> Workload::flush() {
    const Snapshot before = truth_.snapshot();
    const GuestRequest request = {.type = BlkRequestType::flush};
    const GuestAnswer answer = co_await guest_.submit(any_queue(), request);
    if (may_judge()) truth_.end_flush(before, answer.status);
}

Task<void> Workload::zone_action(std::uint32_t zone, ZoneAction action) {
    const ActionTicket ticket = truth_.begin_action(action, zone);
    const GuestRequest request = {.type = type_of(action), .offset = byte_of(zone, 0)};
    const GuestAnswer answer = co_await guest_.submit(any_queue(), request);
    if (may_judge()) truth_.end_action(ticket, answer.status);
}

Task<void> Workload::reset_all() {
    const Snapshot before = truth_.begin_reset_all();
    const GuestRequest request = {.type = BlkRequestType::zone_reset_all};
    const GuestAnswer answer = co_await guest_.submit(any_queue(), request);
    if (may_judge()) truth_.end_reset_all(before, answer.status);
}

Task<void> Workload::report() {
    const std::uint32_t count = truth_.zone_count();
    const Snapshot before = truth_.snapshot();
    const GuestRequest request = {
        .type = BlkRequestType::zone_report,
        .reply_length = sizeof(BlkReportHeader) + count * sizeof(BlkZoneDescriptor)};
    const GuestAnswer answer = co_await guest_.submit(any_queue(), request);
    if (!may_judge()) co_return;
    ZBDKIT_ASSERT(answer.status == BlkStatus::ok);
    std::vector<ZoneDescriptor> zones;
    for (std::uint32_t i = 0; i < count; ++i) {
        zones.push_back(decode_zone(answer.reply, i, truth_.geometry()));
        truth_.check_report(before, i, zones.back());
    }
    truth_.check_limits(zones);
}

/// Reports a zone and reads all of it.
Task<Workload::Looked> Workload::look(std::uint32_t zone) {
    Looked looked;
    const GuestRequest report = {
        .type = BlkRequestType::zone_report,
        .offset = byte_of(zone, 0),
        .reply_length = sizeof(BlkReportHeader) + sizeof(BlkZoneDescriptor)};
    const std::size_t length = truth_.capacity_units(zone) * kUnit;
    const GuestRequest read = {
        .type = BlkRequestType::in, .offset = byte_of(zone, 0), .reply_length = length};
    for (int tries = 0; tries < kMaxTries && !has_stopped(); ++tries) {
        const GuestAnswer shown = co_await guest_.submit(0, report);
        const GuestAnswer content = co_await guest_.submit(0, read);
        if (has_stopped() || shown.status != BlkStatus::ok) continue;
        if (content.status != BlkStatus::ok) continue;
        looked.zone = decode_zone(shown.reply, 0, truth_.geometry());
        looked.data = content.reply;
        break;
    }
    co_return looked;
}

Task<void> Workload::settle(std::uint32_t zone) {
    settling_.insert(zone);
    const Looked looked = co_await look(zone);
    if (!has_stopped() && !looked.data.empty() && truth_.is_quiet(zone)) {
        truth_.judge_uncertain(zone, looked.zone, looked.data);
    }
    settling_.erase(zone);
}

Task<void> Workload::judge_all() {
    for (std::uint32_t zone = 0; zone < truth_.zone_count(); ++zone) {
        const Looked looked = co_await look(zone);
        if (has_stopped()) co_return;
        ZBDKIT_ASSERT(!looked.data.empty());
        truth_.judge_after_restart(zone, looked.zone, looked.data);
    }
}

}  // namespace zbdkit::sim
