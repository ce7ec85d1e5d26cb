// SPDX-License-Identifier: Apache-2.0
#include "app/image_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "app/image_metadata.h"
#include "node/format/zoned_store.h"

namespace zbdkit::app {
namespace {

using zoned::Cure;
using zoned::Finding;
using zoned::FindingKind;
using zoned::SuperblockFault;

/// What is wrong with each of the pages read last. Those that share a block of the live table that
/// cannot be read are mended together or not at all: the block is written as a whole.
std::vector<zoned::PageDiagnosis> diagnose_pages(const zoned::ImageFacts& image,
                                                 const ImageMetadata& metadata, std::uint32_t first,
                                                 std::uint32_t count) {
    std::vector<zoned::PageDiagnosis> pages;
    pages.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        pages.push_back(zoned::diagnose_page(image, metadata.page(first + i)));
    }
    const auto join = [&](std::uint32_t i) {
        if (!metadata.shares_unread_block(first + i)) return;
        const Cure cure = zoned::worse(pages.at(i).cure, pages.at(i + 1).cure);
        pages.at(i).cure = cure;
        pages.at(i + 1).cure = cure;
    };
    // There and back, for rows of such blocks.
    for (std::uint32_t i = 0; i + 1 < count; ++i) join(i);
    for (std::uint32_t i = count - 1; i-- > 0;) join(i);
    return pages;
}

class Checker {
  public:
    Checker(BlockNode& storage, CheckProgress progress) : metadata_(storage), progress_(progress) {}

    [[nodiscard]] Task<Outcome<CheckResult>> run();

  private:
    void add(Finding finding);
    void add_all(std::vector<Finding> findings) {
        for (Finding& finding : findings) add(std::move(finding));
    }
    [[nodiscard]] Task<Outcome<void>> check_superblocks();
    [[nodiscard]] Task<Outcome<void>> check_pages();
    void check_page(std::uint32_t page, zoned::PageDiagnosis found);
    void check_missing_pages(std::uint32_t first);
    void judge_length();

    ImageMetadata metadata_;
    CheckProgress progress_;
    zoned::ImageFacts image_;
    CheckResult result_;
};

void Checker::add(Finding finding) {
    // What this version does not understand it must not write.
    const bool is_foreign = result_.superblock && (result_.superblock->read_only_features != 0 ||
                                                   result_.superblocks.cure == Cure::none);
    if (finding.is_damage() && is_foreign) finding.cure = Cure::none;
    // Nothing is written by a superblock that may not be mended.
    if (finding.cure == Cure::repair && result_.superblocks.cure == Cure::force) {
        finding.cure = Cure::force;
    }
    switch (finding.cure) {
        case Cure::not_needed: break;
        case Cure::repair: ++result_.repairable; break;
        case Cure::force: ++result_.forceable; break;
        case Cure::none: ++result_.incurable; break;
    }
    if (finding.is_damage()) result_.is_damaged = true;
    if (result_.findings.size() >= kMostFindings) {
        ++result_.unlisted;
        return;
    }
    result_.findings.push_back(std::move(finding));
}

Task<Outcome<CheckResult>> Checker::run() {
    co_await ok(check_superblocks());
    if (result_.superblock) {
        co_await ok(check_pages());
        add_all(zoned::diagnose_counts(image_, result_.counts));
        judge_length();
    }
    co_return std::move(result_);
}

/// Whether bytes with this fault are, or were, a superblock of ours.
bool is_ours(const zoned::SuperblockCopy& copy) {
    if (copy.found || copy.has_pages) return true;
    return copy.found.error() == SuperblockFault::bad_checksum ||
           copy.found.error() == SuperblockFault::bad_geometry;
}

/// Neither copy is usable: that may be no damage.
Outcome<void> refuse_foreign(const std::string& name,
                             const std::array<zoned::SuperblockCopy, 2>& copies) {
    for (const zoned::SuperblockCopy& copy : copies) {
        if (copy.found) return {};
        const SuperblockFault fault = copy.found.error();
        if (fault == SuperblockFault::future_version || fault == SuperblockFault::unknown_feature) {
            return failure(fmt::format("'{}': {}", name, superblock_fault_text(fault)),
                           Errc::not_supported);
        }
    }
    if (is_ours(copies[0]) || is_ours(copies[1])) return {};
    for (const zoned::SuperblockCopy& copy : copies) {
        if (copy.unread) return failure(fmt::format("cannot read '{}'", name), *copy.unread);
    }
    return failure(fmt::format("'{}' is no zbdkit image", name), Errc::not_supported);
}

Task<Outcome<void>> Checker::check_superblocks() {
    const std::array<zoned::SuperblockCopy, 2> copies = co_await ok(metadata_.read_superblocks());
    BlockNode& storage = metadata_.storage();
    if (!copies[0].found && !copies[1].found) {
        co_await ok(refuse_foreign(storage.describe(), copies));
    }
    const zoned::Uuid boot_id = co_await ok(zoned::host_boot_id());
    result_.superblocks = zoned::diagnose_superblocks(copies, boot_id);
    result_.superblock = result_.superblocks.superblock;
    add_all(result_.superblocks.findings);
    if (!result_.superblock) {
        add({FindingKind::superblocks_lost, Cure::none, "image",
             "without a superblock nothing else can be checked"});
        co_return Outcome<void>{};
    }
    result_.recovery = zoned::recovery_of(*result_.superblock, boot_id);
    image_ = {.superblock = *result_.superblock,
              .recovery = result_.recovery,
              .storage_size = storage.info().size};
    co_return Outcome<void>{};
}

Task<Outcome<void>> Checker::check_pages() {
    const zoned::Layout layout = zoned::layout_of(image_.superblock.geometry);
    std::uint32_t page = 0;
    while (page < layout.page_count) {
        if (layout.slot_offset(page, 0) >= image_.storage_size) {
            check_missing_pages(page);
            break;
        }
        const std::uint32_t count = co_await ok(metadata_.read_pages(image_.superblock, page));
        for (zoned::PageDiagnosis& found : diagnose_pages(image_, metadata_, page, count)) {
            check_page(page++, std::move(found));
        }
        if (progress_.report != nullptr) {
            progress_.report(progress_.context, page, layout.page_count);
        }
    }
    co_return Outcome<void>{};
}

void Checker::check_page(std::uint32_t page, zoned::PageDiagnosis found) {
    ++result_.pages_checked;
    result_.zones_checked += zoned::entries_of_page(image_.superblock.geometry, page);
    result_.counts.implicitly_open += found.implicitly_open;
    result_.counts.explicitly_open += found.explicitly_open;
    result_.counts.closed += found.closed;
    for (Finding& finding : found.findings) {
        if (finding.kind == FindingKind::data_missing) result_.length_cure = Cure::force;
        // A page is mended as a whole.
        if (finding.cure == Cure::repair) finding.cure = zoned::worse(finding.cure, found.cure);
        add(std::move(finding));
    }
}

/// Pages behind the end of the storage, all of them in one finding.
void Checker::check_missing_pages(std::uint32_t first) {
    const Cure cure = image_.is_untouched() ? Cure::repair : Cure::force;
    const std::uint32_t last = zoned::layout_of(image_.superblock.geometry).page_count - 1;
    add({FindingKind::page_lost, cure, fmt::format("commit page {}", first),
         first == last
             ? "it is behind the end of the storage"
             : fmt::format("it and those up to {} are behind the end of the storage", last)});
    result_.length_cure = zoned::worse(result_.length_cure, cure);
}

void Checker::judge_length() {
    for (Finding& finding : zoned::diagnose_length(image_)) {
        result_.is_truncated = true;
        finding.cure = zoned::worse(finding.cure, result_.length_cure);
        result_.length_cure = finding.cure;
        add(std::move(finding));
    }
    if (!result_.is_truncated || result_.length_cure != Cure::force) return;
    // Nothing is written to an image that may not be made whole.
    result_.forceable += std::exchange(result_.repairable, 0);
    for (Finding& finding : result_.findings) {
        if (finding.cure == Cure::repair) finding.cure = Cure::force;
    }
}

}  // namespace

Task<Outcome<CheckResult>> check_image(BlockNode& storage, CheckProgress progress) {
    Checker checker(storage, progress);
    Outcome<CheckResult> result = co_await checker.run();
    co_return result;
}

bool permits(Permission permission, Cure cure) {
    return cure == Cure::repair || (cure == Cure::force && permission == Permission::force);
}

Task<Outcome<CheckResult>> check_repaired_image(BlockNode& storage, Permission permission) {
    CheckResult result = co_await ok(check_image(storage));
    for (Finding& finding : result.findings) {
        if (!finding.is_unread || !permits(permission, finding.cure)) continue;
        --(finding.cure == Cure::repair ? result.repairable : result.forceable);
        ++result.incurable;
        finding.cure = Cure::none;
        finding.text += "; it was written anew, and still cannot be read";
    }
    co_return result;
}

// --- Repair -------------------------------------------------------------------------------------

namespace {

class Mender {
  public:
    Mender(BlockNode& storage, const CheckResult& found, Permission permission)
        : metadata_(storage),
          found_(found),
          permission_(permission),
          image_({.superblock = *found.superblock,
                  .recovery = found.recovery,
                  .storage_size = storage.info().size}) {}

    [[nodiscard]] Task<Outcome<void>> run();

  private:
    [[nodiscard]] Task<Outcome<void>> mend_pages();
    [[nodiscard]] Task<Outcome<void>> close_zones(zoned::ZonesToClose left);

    ImageMetadata metadata_;
    const CheckResult& found_;
    Permission permission_;
    zoned::ImageFacts image_;
};

Task<Outcome<void>> Mender::run() {
    // What is there may be in the host's cache only, and be what a copy is made from.
    co_await ok(metadata_.sync());
    if (permits(permission_, found_.superblocks.cure)) {
        for (const std::uint8_t copy : found_.superblocks.rewrite) {
            co_await ok(metadata_.write_superblock(copy, image_.superblock));
        }
    }
    co_await ok(mend_pages());
    const zoned::ZonesToClose too_many = zoned::zones_to_close(image_, found_.counts);
    if (!too_many.is_empty()) co_await ok(close_zones(too_many));
    co_return Outcome<void>{};
}

Task<Outcome<void>> Mender::mend_pages() {
    const std::uint32_t page_count = zoned::layout_of(image_.superblock.geometry).page_count;
    std::uint32_t page = 0;
    while (page < page_count) {
        const std::uint32_t count = co_await ok(metadata_.read_pages(image_.superblock, page));
        const std::vector<zoned::PageDiagnosis> pages =
            diagnose_pages(image_, metadata_, page, count);
        for (const zoned::PageDiagnosis& found : pages) {
            if (permits(permission_, found.cure)) {
                co_await ok(metadata_.write_repair(image_, page, found.repair));
            }
            ++page;
        }
    }
    co_return Outcome<void>{};
}

/// Once the pages are sound. Nothing of a page that is not is counted or closed.
Task<Outcome<void>> Mender::close_zones(zoned::ZonesToClose left) {
    const std::uint32_t page_count = zoned::layout_of(image_.superblock.geometry).page_count;
    std::uint32_t page = 0;
    while (page < page_count && !left.is_empty()) {
        const std::uint32_t count = co_await ok(metadata_.read_pages(image_.superblock, page));
        for (const std::uint32_t end = page + count; page < end; ++page) {
            const zoned::PageRepair repair = zoned::close_zones(image_, metadata_.page(page), left);
            co_await ok(metadata_.write_repair(image_, page, repair));
        }
    }
    co_return Outcome<void>{};
}

}  // namespace

Task<Outcome<void>> repair_image(BlockNode& storage, const CheckResult& found,
                                 Permission permission) {
    const Cure superblocks = found.superblocks.cure;
    const bool knows_image = found.superblock && found.superblock->read_only_features == 0 &&
                             (superblocks == Cure::not_needed || permits(permission, superblocks));
    if (!knows_image || found.is_truncated) co_return Outcome<void>{};  // nothing may be written
    if (storage.info().read_only) {
        co_return failure(fmt::format("'{}' is read-only", storage.describe()), Errc::read_only);
    }
    Mender mender(storage, found, permission);
    co_return co_await mender.run();
}

}  // namespace zbdkit::app
