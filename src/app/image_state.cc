// SPDX-License-Identifier: Apache-2.0
#include "app/image_state.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"
#include "base/units.h"
#include "node/protocol/image_lock.h"

namespace zbdkit::app {

Outcome<FileState> file_state(const std::string& filename) {
    const UniqueFd fd(::open(filename.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat status{};
    if (!fd || ::fstat(fd.get(), &status) != 0) {
        return failure(fmt::format("cannot open '{}': {}", filename, std::strerror(errno)));
    }
    FileState state{.length = static_cast<std::uint64_t>(status.st_size),
                    .allocated = static_cast<std::uint64_t>(status.st_blocks) * kSectorSize,
                    .is_device = S_ISBLK(status.st_mode)};
    if (is_image_locked(fd.get())) state.user = lock_holder(fd.get());
    return state;
}

Outcome<zoned::Recovery> recovery_of(const zoned::Superblock& superblock) {
    const Outcome<zoned::Uuid> boot_id = zoned::host_boot_id();
    if (!boot_id) return std::unexpected(boot_id.error());
    return zoned::recovery_of(superblock, *boot_id);
}

std::string uuid_text(const zoned::Uuid& uuid) {
    constexpr std::size_t kDashBefore[] = {4, 6, 8, 10};
    std::string text;
    for (std::size_t i = 0; i < uuid.size(); ++i) {
        for (const std::size_t position : kDashBefore) {
            if (i == position) text += '-';
        }
        text += fmt::format("{:02x}", static_cast<unsigned>(uuid.at(i)));
    }
    return text;
}

}  // namespace zbdkit::app
