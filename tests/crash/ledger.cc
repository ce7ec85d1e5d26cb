// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/ledger.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <utility>

#include "base/buffer.h"
#include "base/bytes.h"
#include "tests/crash/disk_client.h"

namespace zbdkit::crash {
namespace {

constexpr std::uint64_t kMagic = 0x7265'6764'656c'627a;  // "zbledger"

struct WireEvent {
    Le64 at;
    Le32 request;
    Le32 zone;
    Le32 units;
    std::uint8_t type;
    std::uint8_t kind;
    std::uint8_t status;
    std::uint8_t zero;
};
static_assert(sizeof(WireEvent) == 24);

struct WireRecord {
    Le64 magic;
    Le64 sequence;
    Le64 count;
    std::array<WireEvent, LedgerFile::kMostEvents> events;
    std::array<std::uint8_t, 40> zeroes;
};
static_assert(sizeof(WireRecord) == LedgerFile::kRecordSize);

WireEvent encode(const Event& event) {
    return {.at = event.at,
            .request = event.request,
            .zone = event.zone,
            .units = event.units,
            .type = static_cast<std::uint8_t>(event.type),
            .kind = static_cast<std::uint8_t>(event.kind),
            .status = static_cast<std::uint8_t>(event.status),
            .zero = 0};
}

Event decode(const WireEvent& wire) {
    return {.at = wire.at,
            .request = wire.request,
            .zone = wire.zone,
            .units = wire.units,
            .type = static_cast<EventType>(wire.type),
            .kind = static_cast<RequestKind>(wire.kind),
            .status = static_cast<BlkStatus>(wire.status)};
}

ZoneAction action_of(RequestKind kind) {
    switch (kind) {
        case RequestKind::open: return ZoneAction::open;
        case RequestKind::close: return ZoneAction::close;
        case RequestKind::finish: return ZoneAction::finish;
        case RequestKind::reset: return ZoneAction::reset;
        case RequestKind::write:
        case RequestKind::append:
        case RequestKind::reset_all:
        case RequestKind::flush: break;
    }
    give_up("not a zone action");
}

/// The stamp that a unit begins with.
sim::Stamp stamp_of(ConstBytes unit) {
    const auto word = load_le<std::uint64_t>(unit.data());
    return {static_cast<std::uint32_t>(word >> 32), static_cast<std::uint32_t>(word)};
}

/// What a zone holds, as events: one wherever it does not go on as before.
std::vector<Event> holds_of(std::uint32_t zone, ConstBytes data) {
    std::vector<Event> events;
    sim::Stamp expected;
    for (std::uint64_t unit = 0; unit < data.size() / sim::kUnit; ++unit) {
        const sim::Stamp stamp = stamp_of(data.subspan(unit * sim::kUnit, sim::kUnit));
        if (unit == 0 || stamp != expected) {
            events.push_back({.at = unit,
                              .request = stamp.write,
                              .zone = zone,
                              .units = stamp.unit,
                              .type = EventType::holds});
        }
        expected = stamp.is_zero() ? stamp : sim::Stamp{stamp.write, stamp.unit + 1};
    }
    return events;
}

/// The same backwards. @param units  of the zone's capacity
std::vector<std::byte> content_of(std::span<const Event> holds, std::uint64_t units) {
    std::vector<std::byte> data(units * sim::kUnit);
    for (std::size_t i = 0; i < holds.size(); ++i) {
        const Event& run = holds[i];
        const std::uint64_t end = i + 1 < holds.size() ? holds[i + 1].at : units;
        if (run.at >= end || end > units) give_up("the ledger holds nonsense");
        if (run.request == 0) continue;
        const std::vector<std::byte> bytes = sim::stamped(run.request, run.units + (end - run.at));
        std::ranges::copy(std::span(bytes).subspan(run.units * sim::kUnit),
                          data.begin() + static_cast<std::ptrdiff_t>(run.at * sim::kUnit));
    }
    return data;
}

}  // namespace

// --- The ledger ---------------------------------------------------------------------------------

std::uint32_t Ledger::begin(const Intent& intent) {
    const std::uint32_t request = next_request_++;
    Flying flying{.intent = intent, .ticket = {}};
    switch (intent.kind) {
        case RequestKind::write:
            flying.ticket = truth_.begin_write(intent.zone, intent.at, intent.units);
            break;
        case RequestKind::append:
            flying.ticket = truth_.begin_write(intent.zone, std::nullopt, intent.units);
            break;
        case RequestKind::flush: flying.ticket = truth_.snapshot(); break;
        case RequestKind::reset_all: flying.ticket = truth_.begin_reset_all(); break;
        case RequestKind::open:
        case RequestKind::close:
        case RequestKind::finish:
        case RequestKind::reset:
            flying.ticket = truth_.begin_action(action_of(intent.kind), intent.zone);
    }
    flying_.emplace(request, std::move(flying));
    events_.push_back({.at = intent.at,
                       .request = request,
                       .zone = intent.zone,
                       .units = intent.units,
                       .kind = intent.kind});
    return request;
}

void Ledger::end(std::uint32_t request, const Ending& ending) {
    const Flying flying = std::move(flying_.at(request));
    flying_.erase(request);
    events_.push_back({.at = ending.appended_at,
                       .request = request,
                       .zone = flying.intent.zone,
                       .units = flying.intent.units,
                       .type = EventType::end,
                       .kind = flying.intent.kind,
                       .status = ending.status});
    end_ticket(flying, ending);
}

void Ledger::end_ticket(const Flying& flying, const Ending& ending) {
    if (const auto* write = std::get_if<sim::WriteTicket>(&flying.ticket)) {
        truth_.end_write(*write, ending.status, placed_at(*write, ending), write_through_);
    } else if (const auto* action = std::get_if<sim::ActionTicket>(&flying.ticket)) {
        truth_.end_action(*action, ending.status);
    } else if (flying.intent.kind == RequestKind::reset_all) {
        truth_.end_reset_all(std::get<sim::Snapshot>(flying.ticket), ending.status);
    } else {
        truth_.end_flush(std::get<sim::Snapshot>(flying.ticket), ending.status);
    }
}

void Ledger::die() {
    truth_.crash(sim::Crash::daemon_death, false);
    events_.push_back({.type = EventType::death});
}

void Ledger::judge(std::uint32_t zone, const ZoneDescriptor& shown, ConstBytes data) {
    truth_.judge_after_restart(zone, shown, data);
    for (const Event& event : holds_of(zone, data)) events_.push_back(event);
    events_.push_back({.at = shown.write_pointer,
                       .zone = zone,
                       .units = static_cast<std::uint32_t>(shown.state),
                       .type = EventType::shown});
}

void Ledger::begin_life(bool write_through) {
    truth_.restarted();
    flying_.clear();
    write_through_ = write_through;
    events_.push_back({.units = write_through ? 1U : 0U, .type = EventType::judged});
}

/// Where a write went, in units from its zone's start.
std::uint64_t Ledger::placed_at(const sim::WriteTicket& ticket, const Ending& ending) const {
    if (ticket.at) return *ticket.at;
    if (ending.status != BlkStatus::ok) return 0;
    const std::uint64_t start = truth_.geometry().start_of(ZoneIndex(ticket.zone));
    const std::uint64_t end = start + truth_.geometry().length_of(ZoneIndex(ticket.zone));
    if (ending.appended_at < start || ending.appended_at >= end) give_up("an append left its zone");
    return (ending.appended_at - start) / sim::kUnit;
}

void Ledger::replay(const Event& event) {
    switch (event.type) {
        case EventType::begin: replay_begin(event); break;
        case EventType::end:
            end(event.request, {.status = event.status, .appended_at = event.at});
            break;
        case EventType::death: die(); break;
        case EventType::holds: holds_.push_back(event); break;
        case EventType::shown: replay_shown(event); break;
        case EventType::judged: begin_life(event.units != 0); break;
    }
}

void Ledger::replay_begin(const Event& event) {
    const std::uint32_t request =
        begin({.kind = event.kind, .zone = event.zone, .units = event.units, .at = event.at});
    if (request != event.request) give_up("the ledger has a gap");
}

void Ledger::replay_shown(const Event& event) {
    const auto zone = ZoneIndex(event.zone);
    const ZoneDescriptor shown = {.start = truth_.geometry().start_of(zone),
                                  .length = truth_.geometry().length_of(zone),
                                  .capacity = truth_.geometry().capacity_of(zone),
                                  .write_pointer = event.at,
                                  .type = truth_.geometry().type_of(zone),
                                  .state = static_cast<ZoneState>(event.units)};
    const std::vector<Event> holds = std::exchange(holds_, {});
    judge(event.zone, shown, content_of(holds, truth_.capacity_units(event.zone)));
}

std::vector<std::byte> Ledger::bytes_of(std::uint32_t request) const {
    const auto& ticket = std::get<sim::WriteTicket>(flying_.at(request).ticket);
    return sim::stamped(ticket.id, ticket.units);
}

// --- On a file ----------------------------------------------------------------------------------

LedgerFile::LedgerFile(const std::string& path)
    : file_(::open(path.c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC)) {
    if (!file_) give_up("cannot open the ledger " + path);
}

void LedgerFile::add(std::span<const Event> events) {
    while (events.size() > kMostEvents) {
        add_record(events.first(kMostEvents));
        events = events.subspan(kMostEvents);
    }
    add_record(events);
}

void LedgerFile::add_record(std::span<const Event> events) {
    WireRecord record{};
    record.magic = kMagic;
    record.sequence = sequence_;
    record.count = events.size();
    for (std::size_t i = 0; i < events.size(); ++i) record.events[i] = encode(events[i]);
    AlignedBuffer buffer(kRecordSize);
    std::memcpy(buffer.bytes().data(), &record, sizeof record);
    const auto offset = static_cast<off_t>(sequence_ * kRecordSize);
    const ssize_t written = ::pwrite(file_.get(), buffer.bytes().data(), kRecordSize, offset);
    if (written != kRecordSize) give_up("cannot write the ledger: is it too small?");
    ++sequence_;
}

std::vector<std::vector<Event>> LedgerFile::read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) give_up("cannot open the ledger " + path);
    std::vector<std::vector<Event>> records;
    std::array<char, kRecordSize> bytes{};
    while (file.read(bytes.data(), bytes.size())) {
        WireRecord record{};
        std::memcpy(&record, bytes.data(), sizeof record);
        const bool is_next = record.magic == kMagic && record.sequence == records.size() &&
                             record.count <= kMostEvents;
        if (!is_next) break;
        std::vector<Event> events;
        for (std::size_t i = 0; i < record.count; ++i) events.push_back(decode(record.events[i]));
        records.push_back(std::move(events));
    }
    return records;
}

}  // namespace zbdkit::crash
