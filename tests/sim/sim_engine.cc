// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_engine.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/assert.h"
#include "base/iovec.h"

namespace zbdkit::sim {
namespace {

constexpr std::uint64_t kFastestNs = 1'000;
constexpr std::uint64_t kSlowestNs = 200'000;
constexpr std::uint64_t kSlowFactor = 1'000;

IoSegments segments_of(const IoOp& op) { return {op.segments, op.segment_count}; }

std::vector<std::byte> bytes_of(const IoOp& op) {
    std::vector<std::byte> bytes(total_length(segments_of(op)));
    copy_from(segments_of(op), 0, bytes);
    return bytes;
}

}  // namespace

bool SimEngine::fault_is_due(std::uint64_t rarity) {
    const bool due = random_.one_in(rarity);
    if (due) ++faults_met_;
    return due;
}

void SimEngine::submit(IoOp& op) {
    std::uint64_t duration = random_.between(kFastestNs, kSlowestNs);
    if (random_.one_in(faults_.slow)) duration *= kSlowFactor;
    if (has_stopped()) duration = kFastestNs;
    flights_.push_back({clock_ns_ + duration, order_++, disk_.now(), &op});
    std::ranges::push_heap(flights_, std::greater<>());
}

void SimEngine::cancel(IoOp& /*op*/) {
    ZBDKIT_ASSERT(false);  // only polls are cancelled, and a simulated disk has none
}

void SimEngine::poll(std::uint64_t deadline_ns) {
    const bool may_wait = deadline_ns > clock_ns_ && !std::exchange(woken_, false);
    if (may_wait && !flights_.empty()) {
        clock_ns_ = std::max(clock_ns_, std::min(flights_.front().due_ns, deadline_ns));
    } else if (may_wait) {
        ZBDKIT_ASSERT(deadline_ns != kForever);  // everybody waits for somebody: a deadlock
        clock_ns_ = deadline_ns;
    }
    while (!flights_.empty() && flights_.front().due_ns <= clock_ns_) {
        std::ranges::pop_heap(flights_, std::greater<>());
        const Flight flight = flights_.back();
        flights_.pop_back();
        end(flight);
    }
}

void SimEngine::end(const Flight& flight) {
    ++events_;
    if (has_stopped()) {
        flight.op->result = -EIO;
    } else {
        flight.op->result = perform(flight);
        // The moment after the effect and before anybody knows of it.
        if (stop_at_ && events_ >= *stop_at_) {
            stop();
            flight.op->result = -EIO;
        }
    }
    flight.op->complete(*flight.op);
}

std::int32_t SimEngine::perform(const Flight& flight) {
    switch (flight.op->kind) {
        case IoKind::read: return read(*flight.op);
        case IoKind::write: return write(*flight.op);
        case IoKind::sync_data:
            if (fault_is_due(faults_.sync_error)) {
                sync_has_failed_ = true;
                return -EIO;
            }
            disk_.sync(flight.synced_up_to);
            return 0;
        case IoKind::fallocate: return fallocate(*flight.op);
        case IoKind::poll:
        case IoKind::command: break;
    }
    ZBDKIT_ASSERT(false);
    return -EINVAL;
}

/// How much of a transfer happens in one go: all of it, or less if a short one is due.
std::uint64_t SimEngine::transfer_length(const IoOp& op) {
    const std::uint64_t length = total_length(segments_of(op));
    if (length <= SimDisk::kSector || !random_.one_in(faults_.short_transfer)) return length;
    return random_.between(1, length / SimDisk::kSector - 1) * SimDisk::kSector;
}

std::int32_t SimEngine::read(const IoOp& op) {
    if (fault_is_due(faults_.read_error)) return -EIO;
    const std::uint64_t length = transfer_length(op);
    copy_to(segments_of(op), 0, disk_.bytes().subspan(op.range.offset, length));
    return static_cast<std::int32_t>(length);
}

std::int32_t SimEngine::write(const IoOp& op) {
    if (fault_is_due(faults_.write_error)) {
        write_some_sectors(disk_, op);
        return random_.coin() ? -EIO : -ENOSPC;
    }
    const std::uint64_t length = transfer_length(op);
    const std::vector<std::byte> bytes = bytes_of(op);
    disk_.write(op.range.offset, ConstBytes(bytes).first(length));
    // The rest is written by another operation, which may never come.
    if (length < bytes.size()) disk_.note_cut({op.range.offset + length, bytes.size() - length});
    return static_cast<std::int32_t>(length);
}

std::int32_t SimEngine::fallocate(const IoOp& op) {
    if (fault_is_due(faults_.write_error)) return -EIO;
    disk_.zero(op.range);
    return 0;
}

void SimEngine::write_some_sectors(SimDisk& disk, const IoOp& op) {
    const std::vector<std::byte> bytes = bytes_of(op);
    for (std::size_t at = 0; at < bytes.size(); at += SimDisk::kSector) {
        if (random_.coin()) {
            disk.write(op.range.offset + at, ConstBytes(bytes).subspan(at, SimDisk::kSector));
        }
    }
    disk.note_cut({op.range.offset, bytes.size()});
}

/// Wholly, not at all, or in part: as disks have sectors or servers have blocks.
void SimEngine::apply_anyhow(const IoOp& op) {
    constexpr std::uint64_t kBlock = 4096;
    const std::uint64_t way = random_.below(4);
    const std::uint64_t unit = way == 3 ? kBlock : SimDisk::kSector;
    const bool is_write = op.kind == IoKind::write;
    const std::vector<std::byte> bytes = is_write ? bytes_of(op) : std::vector<std::byte>();
    const ByteRange range = {op.range.offset, is_write ? bytes.size() : op.range.length};
    if (way == 0) return;
    for (std::uint64_t at = range.offset; at < range.end();) {
        const std::uint64_t next = std::min(round_down(at, unit) + unit, range.end());
        const bool is_applied = way == 1 || random_.coin();
        if (is_applied && is_write) {
            left_->write(at, ConstBytes(bytes).subspan(at - range.offset, next - at));
        }
        if (is_applied && !is_write) left_->zero({at, next - at});
        at = next;
    }
    if (is_write) left_->note_cut(range);
}

void SimEngine::apply_what_is_in_flight() {
    std::vector<const IoOp*> ops;
    for (const Flight& flight : flights_) {
        const IoKind kind = flight.op->kind;
        if (kind == IoKind::write || kind == IoKind::fallocate) ops.push_back(flight.op);
    }
    for (std::size_t left = ops.size(); left > 1; --left) {
        std::swap(ops[left - 1], ops[random_.below(left)]);
    }
    for (const IoOp* op : ops) apply_anyhow(*op);
}

void SimEngine::stop() {
    left_ = disk_;
    if (applies_in_any_order_) {
        apply_what_is_in_flight();
        return;
    }
    std::ranges::sort(flights_, std::greater<>());  // a heap still is one
    std::ranges::reverse(flights_);
    for (const Flight& flight : flights_) {
        if (flight.op->kind == IoKind::write && random_.coin())
            write_some_sectors(*left_, *flight.op);
        if (flight.op->kind == IoKind::fallocate && random_.coin()) left_->zero(flight.op->range);
    }
    std::ranges::make_heap(flights_, std::greater<>());
}

}  // namespace zbdkit::sim
