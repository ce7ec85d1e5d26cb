// SPDX-License-Identifier: Apache-2.0
#include "bench/zoned_workload.h"

#include <algorithm>

#include "base/units.h"

namespace zbdkit::bench {
namespace {

/// How far writes may run ahead of the oldest one of their zone that has not ended. A server that
/// leaves one behind must not make us remember without bound.
constexpr std::size_t kWindow = 8192;

/// Notes that a block is written, and how far all are.
void note_written(WorkZone& zone, std::uint64_t block) {
    if (zone.ended.empty()) zone.ended.resize(kWindow);
    zone.ended[block % kWindow] = true;
    while (zone.readable < zone.capacity && zone.ended[zone.readable % kWindow]) {
        zone.ended[zone.readable % kWindow] = false;
        ++zone.readable;
    }
}

bool has_room(const WorkZone& zone) { return zone.next < zone.capacity; }

/// Whether a write must wait for one far behind it.
bool is_window_full(const WorkZone& zone) { return zone.next >= zone.readable + kWindow; }

}  // namespace

ZonedWorkload::ZonedWorkload(ZonedArea& area, const Options& options)
    : area_(area),
      options_(options),
      random_(options.seed),
      zone_count_(static_cast<std::uint32_t>(area.zones.size())) {
    for (std::uint32_t queue = 0; queue < options.queue_count; ++queue)
        write_zones_.push_back(queue);
}

std::optional<Target> ZonedWorkload::next(std::uint32_t queue) {
    switch (options_.operation) {
        case Operation::read: return next_sequential_read();
        case Operation::randread: return next_read();
        case Operation::write: return next_sequential_write(queue);
        case Operation::randwrite:
        case Operation::append: return next_write_anywhere(queue);
        case Operation::mixed: break;
    }
    if (random_.below(100) >= options_.read_percent) return next_write_anywhere(queue);
    // Right after resets there may be nothing to read.
    const std::optional<Target> read = next_read();
    return read ? read : next_write_anywhere(queue);
}

Target ZonedWorkload::start(std::uint32_t zone, BlkRequestType type, std::uint64_t offset) {
    ++area_.zones[zone].on_the_way;
    return {.type = type, .zone = zone, .offset = offset};
}

std::optional<Target> ZonedWorkload::next_read() {
    const std::uint64_t first = random_.below(zone_count_);
    for (std::uint32_t i = 0; i < zone_count_; ++i) {
        const auto index = static_cast<std::uint32_t>((first + i) % zone_count_);
        const WorkZone& zone = area_.zones[index];
        if (zone.readable == 0 || zone.is_draining) continue;
        const std::uint64_t block = random_.below(zone.readable);
        return start(index, BlkRequestType::in, zone.start + block * area_.block_size);
    }
    return {};
}

std::optional<Target> ZonedWorkload::next_sequential_read() {
    if (read_block_ >= area_.zones[read_zone_].readable) {
        read_block_ = 0;
        read_zone_ = (read_zone_ + 1) % zone_count_;
    }
    const std::uint64_t block = read_block_++;
    const std::uint64_t offset = area_.zones[read_zone_].start + block * area_.block_size;
    return start(read_zone_, BlkRequestType::in, offset);
}

/// The next zone of the queue begins when the former has nothing on its way, so that no more zones
/// are open than there are queues.
std::optional<Target> ZonedWorkload::next_sequential_write(std::uint32_t queue) {
    std::uint32_t& index = write_zones_[queue];
    if (!has_room(area_.zones[index])) {
        if (area_.zones[index].on_the_way != 0) return {};
        area_.zones[index].is_draining = true;
        index += options_.queue_count;
        if (index >= zone_count_) index = queue;
    }
    return write_or_reset(index);
}

std::optional<Target> ZonedWorkload::next_write_anywhere(std::uint32_t queue) {
    const bool has_order = options_.operation != Operation::append;
    const std::uint32_t first = has_order ? queue : 0;
    const std::uint32_t step = has_order ? options_.queue_count : 1;
    const std::uint32_t count = (zone_count_ - first + step - 1) / step;
    const std::uint64_t chosen = random_.below(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto index = first + step * static_cast<std::uint32_t>((chosen + i) % count);
        const std::optional<Target> target = write_or_reset(index);
        if (target) return target;
    }
    return {};
}

std::optional<Target> ZonedWorkload::write_or_reset(std::uint32_t index) {
    WorkZone& zone = area_.zones[index];
    if (!has_room(zone)) zone.is_draining = true;
    if (zone.is_draining) {
        const bool is_checked = options_.verifier == nullptr || zone.checked == zone.capacity;
        const bool is_checking = !is_checked && zone.checked != 0;
        if (zone.on_the_way != 0 && !is_checking) return {};
        if (!is_checked) {
            const std::uint64_t block = zone.checked++;
            return start(index, BlkRequestType::in, zone.start + block * area_.block_size);
        }
        return start(index, BlkRequestType::zone_reset, zone.start);
    }
    if (options_.operation == Operation::append) {
        ++zone.next;
        return start(index, BlkRequestType::zone_append, zone.start);
    }
    if (is_window_full(zone)) return {};
    return start(index, BlkRequestType::out, zone.start + zone.next++ * area_.block_size);
}

bool ZonedWorkload::is_place_of(const Target& append, std::uint64_t placed) const {
    const WorkZone& zone = area_.zones[append.zone];
    if (placed < zone.start || !is_aligned(placed - zone.start, area_.block_size)) return false;
    return (placed - zone.start) / area_.block_size < zone.capacity;
}

void ZonedWorkload::ended(const Target& target) {
    WorkZone& zone = area_.zones[target.zone];
    --zone.on_the_way;
    if (target.type == BlkRequestType::out) {
        note_written(zone, (target.offset - zone.start) / area_.block_size);
    }
    if (target.type != BlkRequestType::zone_reset) return;
    zone.next = 0;
    zone.readable = 0;
    zone.is_draining = false;
    zone.checked = 0;
    std::fill(zone.ended.begin(), zone.ended.end(), false);
    if (options_.verifier != nullptr) options_.verifier->forget({zone.start, zone.length});
}

std::optional<Target> ZonedPass::next(std::uint32_t queue) {
    if (queue != 0) return {};
    while (zone_ < area_.zones.size()) {
        WorkZone& zone = area_.zones[zone_];
        std::optional<Target> target = next_of(zone);
        if (target) {
            target->zone = zone_;
            ++zone.on_the_way;
            return target;
        }
        if (zone.on_the_way != 0) return {};
        ++zone_;
        block_ = 0;
    }
    return {};
}

std::optional<Target> ZonedPass::next_of(WorkZone& zone) {
    if (options_.kind == Kind::fill) {
        if (zone.next >= zone.capacity * options_.percent / 100 || is_window_full(zone)) return {};
        return Target{.type = BlkRequestType::out,
                      .offset = zone.start + zone.next++ * area_.block_size};
    }
    while (block_ < zone.capacity) {
        const std::uint64_t offset = zone.start + block_++ * area_.block_size;
        if (options_.verifier->is_known(offset)) {
            return Target{.type = BlkRequestType::in, .offset = offset};
        }
    }
    return {};
}

void ZonedPass::ended(const Target& target) {
    WorkZone& zone = area_.zones[target.zone];
    --zone.on_the_way;
    if (target.type == BlkRequestType::out) {
        note_written(zone, (target.offset - zone.start) / area_.block_size);
    }
}

}  // namespace zbdkit::bench
