// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_disk.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"

namespace zbdkit::sim {

void SimDisk::put(std::uint64_t sector, const Sector& data) {
    std::memcpy(seen_.data() + sector * kSector, data.data(), kSector);
    versions_[sector].push_back({sequence_, data});
}

void SimDisk::write(std::uint64_t offset, ConstBytes data) {
    ZBDKIT_ASSERT(is_aligned(offset, kSector) && is_aligned(data.size(), kSector));
    ZBDKIT_ASSERT(offset + data.size() <= size());
    ++sequence_;
    const ByteRange range = {offset, data.size()};
    std::erase_if(cuts_, [range](ByteRange cut) { return range.contains(cut); });
    for (std::size_t done = 0; done < data.size(); done += kSector) {
        Sector sector;
        std::memcpy(sector.data(), data.data() + done, kSector);
        put((offset + done) / kSector, sector);
    }
}

void SimDisk::zero(ByteRange range) {
    ZBDKIT_ASSERT(is_aligned(range.offset, kSector) && is_aligned(range.length, kSector));
    ZBDKIT_ASSERT(range.end() <= size());
    ++sequence_;
    for (std::uint64_t at = range.offset; at < range.end(); at += kSector) {
        const ConstBytes old = ConstBytes(seen_).subspan(at, kSector);
        // A sector that is zero and has no other version stays as it is: punches are mostly that.
        const bool is_zero =
            std::ranges::all_of(old, [](std::byte b) { return b == std::byte{0}; });
        if (!is_zero || versions_.contains(at / kSector)) put(at / kSector, Sector{});
    }
}

bool SimDisk::may_be_torn(ByteRange range) const {
    return std::ranges::any_of(cuts_, [range](ByteRange cut) {
        return cut.offset < range.end() && range.offset < cut.end();
    });
}

void SimDisk::sync(std::uint64_t point) {
    for (auto entry = versions_.begin(); entry != versions_.end();) {
        std::vector<Version>& versions = entry->second;
        const auto later = std::ranges::find_if(
            versions, [point](const Version& version) { return version.sequence > point; });
        if (later != versions.begin()) {
            std::memcpy(medium_.data() + entry->first * kSector, std::prev(later)->data.data(),
                        kSector);
            versions.erase(versions.begin(), later);
        }
        entry = versions.empty() ? versions_.erase(entry) : std::next(entry);
    }
    std::memcpy(medium_.data() + mapped_.offset, seen_.data() + mapped_.offset, mapped_.length);
}

SimDisk SimDisk::after_power_cut(Random& random) const {
    SimDisk left(size());
    left.medium_ = medium_;
    left.cuts_ = cuts_;
    // In the order of sectors, so that a seed means the same everywhere.
    std::vector<std::uint64_t> sectors;
    for (const auto& [sector, versions] : versions_) sectors.push_back(sector);
    std::ranges::sort(sectors);
    for (const std::uint64_t sector : sectors) {
        left.note_cut({sector * kSector, kSector});
        const std::vector<Version>& versions = versions_.at(sector);
        const std::uint64_t choice = random.below(versions.size() + 1);
        if (choice == 0) continue;  // nothing of it got there
        std::memcpy(left.medium_.data() + sector * kSector, versions[choice - 1].data.data(),
                    kSector);
    }
    for (std::uint64_t at = mapped_.offset; at < mapped_.end(); at += kSector) {
        if (random.coin()) std::memcpy(left.medium_.data() + at, seen_.data() + at, kSector);
    }
    left.seen_ = left.medium_;
    return left;
}

}  // namespace zbdkit::sim
