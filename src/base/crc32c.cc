// SPDX-License-Identifier: Apache-2.0
#include "base/crc32c.h"

#include <isa-l/crc.h>

#include "base/assert.h"

namespace zbdkit {

std::uint32_t crc32c(ConstBytes bytes) {
    ZBDKIT_ASSERT(bytes.size() <= 0x7fffffff);
    // ISA-L's prototype lacks const; the bytes are only read. It neither inverts the seed nor the
    // result, so both are done here.
    auto* data = const_cast<unsigned char*>(
        static_cast<const unsigned char*>(static_cast<const void*>(bytes.data())));
    return ~crc32_iscsi(data, static_cast<int>(bytes.size()), 0xffffffffU);
}

}  // namespace zbdkit
