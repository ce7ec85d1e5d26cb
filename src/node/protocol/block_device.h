// SPDX-License-Identifier: Apache-2.0
// What the host tells of a block device: the attributes of its queue in sysfs. A partition has
// those of its disk. The calls read small files of the kernel: for opening and for tools.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace zbdkit {

[[nodiscard]] bool is_block_device(int fd);

/// The value of an attribute, such as "none" for "zoned".
/// @return "" if it is no block device, or the kernel has no such attribute
[[nodiscard]] std::string queue_attribute(int fd, std::string_view name);

/// The same as a number, or `otherwise` if there is none.
[[nodiscard]] std::uint64_t queue_number(int fd, std::string_view name, std::uint64_t otherwise);

/// Whether the descriptor is of a block device that the host treats as zoned.
[[nodiscard]] bool is_zoned_block_device(int fd);

}  // namespace zbdkit
