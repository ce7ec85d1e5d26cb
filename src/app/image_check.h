// SPDX-License-Identifier: Apache-2.0
// Looking through all metadata of a zoned image for damage: both superblocks, the length, every
// slot of every commit page, and every zone's word against the rules of its zone. Reads only; one
// reactor.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "block/node.h"
#include "io/task.h"
#include "node/format/zoned_header.h"
#include "node/format/zoned_store.h"

namespace zbdkit::app {

struct Finding {
    enum class Kind : std::uint8_t {
        note,    ///< nothing is wrong, but worth knowing
        damage,  ///< bytes are not what was written
    };
    Kind kind = Kind::damage;
    std::string place;  ///< "commit page 3, slot 1", "zone 17"
    std::string text;
};

struct CheckResult {
    /// What is listed; of more than kMostFindings only the number is kept.
    std::vector<Finding> findings;
    std::uint64_t unlisted = 0;
    bool is_damaged = false;
    std::optional<zoned::Superblock> superblock;  ///< none if neither copy is usable
    zoned::Recovery recovery = zoned::Recovery::clean;
    std::uint64_t zones_checked = 0;
    std::uint64_t pages_checked = 0;
};
inline constexpr std::size_t kMostFindings = 100;

/// @param storage  what holds the image, open for reading
/// Errors: it is no zbdkit image, or one of a later version; reading it fails.
[[nodiscard]] Task<Outcome<CheckResult>> check_image(BlockNode& storage);

}  // namespace zbdkit::app
