// SPDX-License-Identifier: Apache-2.0
// Looking through all metadata of a zoned image for damage, and mending it: both superblocks, the
// length, every slot of every commit page, and every zone's word in whichever place it counts. What
// is damage and what mends it zoned_diagnosis decides; here is the I/O. One reactor.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/error.h"
#include "block/node.h"
#include "io/task.h"
#include "node/format/zoned_diagnosis.h"
#include "node/format/zoned_header.h"

namespace zbdkit::app {

/// Told from time to time how far a check or repair of a large image is.
struct CheckProgress {
    void (*report)(void* context, std::uint64_t done, std::uint64_t total) = nullptr;
    void* context = nullptr;
};

struct CheckResult {
    /// What is listed; of more than kMostFindings only the number is kept.
    std::vector<zoned::Finding> findings;
    std::uint64_t unlisted = 0;
    std::uint64_t repairable = 0;  ///< how many findings have each cure, unlisted ones included
    std::uint64_t forceable = 0;
    std::uint64_t incurable = 0;
    bool is_damaged = false;
    bool is_truncated = false;
    zoned::Cure length_cure = zoned::Cure::not_needed;
    /// What the image is; none if no superblock tells.
    std::optional<zoned::Superblock> superblock;
    zoned::SuperblockDiagnosis superblocks;
    zoned::Recovery recovery = zoned::Recovery::clean;
    zoned::ZoneCounts counts;
    std::uint64_t zones_checked = 0;
    std::uint64_t pages_checked = 0;
};
inline constexpr std::size_t kMostFindings = 100;

/// @param storage  what holds the image, open for reading
/// Errors: it is no zbdkit image, or one of a later version; reading it fails.
[[nodiscard]] Task<Outcome<CheckResult>> check_image(BlockNode& storage,
                                                     CheckProgress progress = {});

/// How much a repair may do.
enum class Permission : std::uint8_t {
    repair,  ///< what has one safe answer
    force,   ///< also what may show what was not written, see docs/manual/check.md
};
[[nodiscard]] bool permits(Permission permission, zoned::Cure cure);

/// check_image() after a repair_image() with the same permission: what was written anew and still
/// cannot be read is told as such, with no cure.
/// Errors: as check_image()
[[nodiscard]] Task<Outcome<CheckResult>> check_repaired_image(BlockNode& storage,
                                                              Permission permission);

/// Mends what check_image() found, as far as permitted, apart from the length: storage that is too
/// short must be as long as the image before. Interrupted anywhere, it leaves an image that is no
/// worse, and can be done again.
/// @param storage  open for writing, with nobody else at it
/// @param found    what check_image() said of it as it is now
/// Errors: messages that name the storage: it cannot be written.
[[nodiscard]] Task<Outcome<void>> repair_image(BlockNode& storage, const CheckResult& found,
                                               Permission permission);

}  // namespace zbdkit::app
