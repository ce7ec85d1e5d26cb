// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/load.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace zbdkit::crash {
namespace {

using sim::kUnit;
using sim::Truth;

constexpr int kPatienceMs = 30'000;
/// The longest write and read of the load, in units.
constexpr std::uint64_t kLongestUnits = 48;

BlkRequestType type_of(RequestKind kind) {
    switch (kind) {
        case RequestKind::write: return BlkRequestType::out;
        case RequestKind::append: return BlkRequestType::zone_append;
        case RequestKind::open: return BlkRequestType::zone_open;
        case RequestKind::close: return BlkRequestType::zone_close;
        case RequestKind::finish: return BlkRequestType::zone_finish;
        case RequestKind::reset: return BlkRequestType::zone_reset;
        case RequestKind::reset_all: return BlkRequestType::zone_reset_all;
        case RequestKind::flush: break;
    }
    return BlkRequestType::flush;
}

std::vector<std::byte> read_zone(DiskClient& client, ByteRange range) {
    std::vector<std::byte> content;
    while (content.size() < range.length) {
        const std::uint64_t left = range.length - content.size();
        const DiskAnswer answer =
            client.ask({.type = BlkRequestType::in,
                        .offset = range.offset + content.size(),
                        .reply_length = static_cast<std::uint32_t>(
                            std::min<std::uint64_t>(left, DiskClient::kLongestData))});
        if (answer.status != BlkStatus::ok) give_up("a read failed");
        content.insert(content.end(), answer.reply.begin(), answer.reply.end());
    }
    return content;
}

}  // namespace

void judge_all(DiskClient& client, Ledger& ledger) {
    Truth& truth = ledger.truth();
    std::vector<ZoneDescriptor> zones;
    for (std::uint32_t zone = 0; zone < truth.zone_count(); ++zone) {
        zones.push_back(client.report(zone));
        const ByteRange range{truth.geometry().start_of(ZoneIndex(zone)),
                              truth.capacity_units(zone) * kUnit};
        ledger.judge(zone, zones.back(), read_zone(client, range));
    }
    truth.check_limits(zones);
}

// --- Beginning ----------------------------------------------------------------------------------

void Load::turn(int timeout_ms) {
    fill();
    for (const DiskAnswer& answer : client_.wait(timeout_ms)) end(answer);
}

void Load::drain() {
    while (!client_.is_idle()) {
        const std::vector<DiskAnswer> answers = client_.wait(kPatienceMs);
        if (answers.empty()) give_up("a request was not answered");
        for (const DiskAnswer& answer : answers) end(answer);
    }
}

void Load::take_last_words() {
    for (const DiskAnswer& answer : client_.take()) end(answer);
}

/// Not every try begins something, so the tries are bounded.
void Load::fill() {
    for (std::uint32_t tries = 0; tries < DiskClient::kDepth && flying_count_ < most_flying_;
         ++tries) {
        begin_one();
    }
    client_.kick();
}

void Load::begin_one() {
    Truth& truth = ledger_.truth();
    if (wants_reset_all_) return begin_reset_all();
    const auto zone = static_cast<std::uint32_t>(random_.below(truth.zone_count()));
    const std::uint64_t choice = random_.below(1000);
    if (choice < 30) return begin_report();
    if (choice < 60) return begin({.kind = RequestKind::flush});
    if (choice < 61) return begin_reset_all();
    if (resetting_.contains(zone)) return;
    if (truth.is_conventional(zone)) return begin_write_anywhere(zone);
    // A read beside a write to the same bytes may get a mixture, so zones that are written anywhere
    // are only read after crashes. Bytes of others are not there before they are all written.
    if (truth.takes_writes_anywhere(zone)) {
        if (choice < 900) return begin_write_anywhere(zone);
    } else {
        if (choice < 200) return begin_read(zone);
        if (choice < 600) return begin_append(zone);
        if (choice < 900) return begin_write(zone);
    }
    if (choice < 920) return begin_action(RequestKind::open, zone);
    if (choice < 940) return begin_action(RequestKind::close, zone);
    if (choice < 950) return begin_action(RequestKind::finish, zone);
    if (truth.is_quiet(zone)) begin_action(RequestKind::reset, zone);
}

void Load::begin(const Intent& intent) {
    const std::uint32_t request = ledger_.begin(intent);
    const bool appends = intent.kind == RequestKind::append;
    DiskRequest wire{.type = type_of(intent.kind),
                     .offset = byte_of(intent.zone, intent.at == Event::kNowhere ? 0 : intent.at)};
    if (appends || intent.kind == RequestKind::write) wire.data = ledger_.bytes_of(request);
    flying_[client_.submit(wire)] =
        FlyingChange{.request = request,
                     .zone = intent.zone,
                     .is_reset = intent.kind == RequestKind::reset,
                     .is_reset_all = intent.kind == RequestKind::reset_all};
    ++flying_count_;
}

/// A multiple of the write granularity.
std::uint64_t Load::random_units(std::uint64_t most) {
    const std::uint64_t step = ledger_.truth().geometry().write_granularity / kUnit;
    return random_.between(1, std::max<std::uint64_t>(most / step, 1)) * step;
}

std::uint64_t Load::byte_of(std::uint32_t zone, std::uint64_t unit) const {
    return ledger_.truth().geometry().start_of(ZoneIndex(zone)) + unit * kUnit;
}

void Load::begin_write(std::uint32_t zone) {
    const Truth& truth = ledger_.truth();
    const std::uint64_t capacity = truth.capacity_units(zone);
    const std::uint64_t at = truth.likely_pointer(zone);
    if (at >= capacity) return;
    const std::uint64_t units =
        std::min(random_units(std::min(capacity, kLongestUnits)), capacity - at);
    begin({.kind = RequestKind::write,
           .zone = zone,
           .units = static_cast<std::uint32_t>(units),
           .at = at});
}

void Load::begin_write_anywhere(std::uint32_t zone) {
    const Truth& truth = ledger_.truth();
    const std::uint64_t capacity = truth.capacity_units(zone);
    const std::uint64_t step = truth.geometry().write_granularity / kUnit;
    const std::uint64_t units = random_units(std::min(capacity, kLongestUnits));
    const std::uint64_t at = random_.below((capacity - units) / step + 1) * step;
    if (truth.overlaps_flying(zone, at, units)) return;
    begin({.kind = RequestKind::write,
           .zone = zone,
           .units = static_cast<std::uint32_t>(units),
           .at = at});
}

/// Nothing else is begun until it has ended.
void Load::begin_reset_all() {
    wants_reset_all_ = true;
    if (flying_count_ == 0) begin({.kind = RequestKind::reset_all});
}

void Load::begin_append(std::uint32_t zone) {
    const std::uint64_t most = ledger_.truth().geometry().max_append_bytes / kUnit;
    const std::uint64_t units = random_units(std::min(most, kLongestUnits));
    begin({.kind = RequestKind::append, .zone = zone, .units = static_cast<std::uint32_t>(units)});
}

void Load::begin_action(RequestKind kind, std::uint32_t zone) {
    if (kind == RequestKind::reset) resetting_.insert(zone);
    begin({.kind = kind, .zone = zone});
}

void Load::begin_read(std::uint32_t zone) {
    const Truth& truth = ledger_.truth();
    const std::uint64_t length = truth.geometry().length_of(ZoneIndex(zone)) / kUnit;
    const std::uint64_t step = truth.geometry().write_granularity / kUnit;
    const std::uint64_t units = random_units(std::min(length, kLongestUnits));
    const std::uint64_t first = random_.below((length - units) / step + 1) * step;
    FlyingRead read{.before = truth.snapshot(), .zone = zone, .first = first};
    const std::uint32_t slot =
        client_.submit({.type = BlkRequestType::in,
                        .offset = byte_of(zone, first),
                        .reply_length = static_cast<std::uint32_t>(units * kUnit)});
    flying_[slot] = std::move(read);
    ++flying_count_;
}

void Load::begin_report() {
    const Truth& truth = ledger_.truth();
    const std::uint64_t length =
        sizeof(BlkReportHeader) + truth.zone_count() * sizeof(BlkZoneDescriptor);
    FlyingReport report{.before = truth.snapshot()};
    const std::uint32_t slot = client_.submit(
        {.type = BlkRequestType::zone_report, .reply_length = static_cast<std::uint32_t>(length)});
    flying_[slot] = std::move(report);
    ++flying_count_;
}

// --- Ending -------------------------------------------------------------------------------------

void Load::end(const DiskAnswer& answer) {
    ++answers_;
    --flying_count_;
    const Flying flying = std::move(flying_[answer.slot]);
    if (const auto* change = std::get_if<FlyingChange>(&flying)) {
        end_change(*change, answer);
    } else if (const auto* read = std::get_if<FlyingRead>(&flying)) {
        ledger_.truth().end_read(read->before, read->zone, read->first, answer.status,
                                 answer.reply);
    } else {
        end_report(std::get<FlyingReport>(flying), answer);
    }
}

void Load::end_change(const FlyingChange& change, const DiskAnswer& answer) {
    if (change.is_reset) resetting_.erase(change.zone);
    if (change.is_reset_all) {
        wants_reset_all_ = false;
        ++resets_of_all_;
    }
    ledger_.end(change.request, {.status = answer.status, .appended_at = answer.appended_at});
}

void Load::end_report(const FlyingReport& report, const DiskAnswer& answer) {
    if (answer.status != BlkStatus::ok) give_up("a report failed");
    const std::vector<ZoneDescriptor> zones = client_.decode_report(answer.reply);
    if (zones.size() != ledger_.truth().zone_count()) give_up("a report is short");
    for (std::uint32_t i = 0; i < zones.size(); ++i) {
        ledger_.truth().check_report(report.before, i, zones[i]);
    }
    ledger_.truth().check_limits(zones);
}

}  // namespace zbdkit::crash
