// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/inspection.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "app/image_check.h"
#include "io/reactor.h"
#include "tests/sim/sim_engine.h"
#include "tests/sim/sim_node.h"

namespace zbdkit::sim {
namespace {

/// Of the durations of its reads, which decide nothing.
constexpr std::uint64_t kSeed = 1;

/// Where on the disk a finding is, if it is of a superblock copy or a slot.
std::optional<ByteRange> range_of(const zoned::Finding& finding, const zoned::Layout& layout) {
    if (finding.kind == zoned::FindingKind::superblock_unreadable) {
        const std::uint64_t copy =
            finding.place == "superblock" ? 0 : zoned::kSecondSuperblockOffset;
        return ByteRange{copy, zoned::kPageSize};
    }
    if (finding.kind != zoned::FindingKind::slot_unreadable) return std::nullopt;
    for (std::uint32_t page = 0; page < layout.page_count; ++page) {
        for (std::uint32_t slot = 0; slot < zoned::kSlots; ++slot) {
            if (finding.place != fmt::format("commit page {}, slot {}", page, slot)) continue;
            return ByteRange{layout.slot_offset(page, slot), zoned::kPageSize};
        }
    }
    return std::nullopt;
}

bool is_excused(const zoned::Finding& finding, const SimDisk& disk, const zoned::Layout& layout) {
    const std::optional<ByteRange> range = range_of(finding, layout);
    return range && finding.cure == zoned::Cure::repair && disk.may_be_torn(*range);
}

std::string damage_of(const app::CheckResult& result, const SimDisk& disk) {
    if (!result.superblock) return "finds no superblock";
    const zoned::Layout layout = zoned::layout_of(result.superblock->geometry);
    std::string text;
    for (const zoned::Finding& finding : result.findings) {
        if (!finding.is_damage() || is_excused(finding, disk, layout)) continue;
        text += fmt::format("finds {}: {}: {}\n", zoned::finding_kind_name(finding.kind),
                            finding.place, finding.text);
    }
    return text;
}

}  // namespace

std::string inspect(SimDisk& disk) {
    const std::vector<std::byte> before(disk.bytes().begin(), disk.bytes().end());
    const std::uint64_t writes_before = disk.now();
    Reactor reactor(std::make_unique<SimEngine>(disk, SimFaults{}, kSeed));
    const std::unique_ptr<BlockNode> node = make_sim_node(reactor, disk, Storage::unmapped);
    const Outcome<app::CheckResult> result = reactor.run_to_end(app::check_image(*node));
    if (disk.now() != writes_before || !std::ranges::equal(before, disk.bytes())) {
        return "it wrote to the disk";
    }
    if (!result) return fmt::format("it failed: {}", result.error().message);
    return damage_of(*result, disk);
}

}  // namespace zbdkit::sim
