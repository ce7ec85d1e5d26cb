// SPDX-License-Identifier: Apache-2.0
// What the host's file of an image tells: who has it in use, how much space it takes, and what the
// next open would make of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/error.h"
#include "node/format/zoned_header.h"
#include "node/format/zoned_store.h"

namespace zbdkit::app {

struct FileState {
    std::uint64_t length = 0;     ///< bytes
    std::uint64_t allocated = 0;  ///< bytes of storage that it takes
    bool is_device = false;       ///< a block device; it has no length and takes no space
    std::string user;             ///< who has it in use, "" if nobody
};

/// Errors: the file cannot be opened for reading.
[[nodiscard]] Outcome<FileState> file_state(const std::string& filename);

/// What an open of an image in this condition finds, on this boot of the host.
/// Errors: the host does not tell its boot id.
[[nodiscard]] Outcome<zoned::Recovery> recovery_of(const zoned::Superblock& superblock);

/// "3f2a...": the usual form with dashes.
[[nodiscard]] std::string uuid_text(const zoned::Uuid& uuid);

}  // namespace zbdkit::app
