// SPDX-License-Identifier: Apache-2.0
// CRC32C (Castagnoli), the checksum of every structure zbdkit writes to disk.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace zbdkit {

/// @return the CRC32C as iSCSI and ext4 define it: 0xe3069283 for the text "123456789"
[[nodiscard]] std::uint32_t crc32c(ConstBytes bytes);

}  // namespace zbdkit
