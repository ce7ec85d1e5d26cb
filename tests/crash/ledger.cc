// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/ledger.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <fstream>
#include <utility>

#include "base/assert.h"
#include "base/buffer.h"
#include "tests/crash/disk_client.h"

namespace zbdkit::crash {
namespace {

constexpr std::uint64_t kMagic = 0x7265'6764'656c'627a;  // "zbledger"

struct WireEvent {
    Le64 at;
    Le32 request;
    Le32 zone;
    Le32 units;
    std::uint8_t kind;
    std::uint8_t is_end;
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
            .kind = static_cast<std::uint8_t>(event.kind),
            .is_end = event.is_end ? std::uint8_t{1} : std::uint8_t{0},
            .status = static_cast<std::uint8_t>(event.status),
            .zero = 0};
}

Event decode(const WireEvent& wire) {
    return {.at = wire.at,
            .request = wire.request,
            .zone = wire.zone,
            .units = wire.units,
            .kind = static_cast<RequestKind>(wire.kind),
            .is_end = wire.is_end != 0,
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
        case RequestKind::flush: break;
    }
    give_up("not a zone action");
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
                       .kind = flying.intent.kind,
                       .is_end = true,
                       .status = ending.status});
    if (const auto* write = std::get_if<sim::WriteTicket>(&flying.ticket)) {
        truth_.end_write(*write, ending.status, placed_at(*write, ending), false);
    } else if (const auto* action = std::get_if<sim::ActionTicket>(&flying.ticket)) {
        truth_.end_action(*action, ending.status);
    } else {
        truth_.end_flush(std::get<sim::Snapshot>(flying.ticket), ending.status);
    }
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
    if (event.is_end) {
        end(event.request, {.status = event.status, .appended_at = event.at});
        return;
    }
    const std::uint32_t request =
        begin({.kind = event.kind, .zone = event.zone, .units = event.units, .at = event.at});
    if (request != event.request) give_up("the ledger has a gap");
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

void LedgerFile::add(const std::vector<Event>& events) {
    ZBDKIT_ASSERT(events.size() <= kMostEvents);
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
