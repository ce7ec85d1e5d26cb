// SPDX-License-Identifier: Apache-2.0
// Any bytes as the super and a header of a write log, with the magic number and the version made
// right so that the decoder sees the other fields: decoded or refused, and what was decoded is the
// same after another round.
#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

#include "base/assert.h"
#include "node/filter/write_log_format.h"

namespace zbdkit::write_log {
namespace {

void check_super(ConstBytes bytes) {
    std::array<std::byte, kSuperSize> given{};
    std::ranges::copy(bytes.first(kSuperSize), given.begin());
    store_le(given.data(), kMagic);
    store_le(given.data() + 8, kVersion);
    given[26] = given[27] = std::byte{0};  // a sector size has a chance to be one
    const Result<Super> super = decode_super(given);
    if (!super) return;
    std::array<std::byte, kSuperSize> again{};
    encode_super(*super, again);
    ZBDKIT_ASSERT(decode_super(again) == *super);
}

void check_header(ConstBytes bytes) {
    std::array<std::byte, kHeaderFields> given{};
    std::ranges::copy(bytes.first(kHeaderFields), given.begin());
    store_le(given.data() + 16, load_le<std::uint64_t>(given.data() + 16) & 31);
    store_le(given.data() + 24, load_le<std::uint64_t>(given.data() + 24) & 1023);
    const Result<Header> header = decode_header(given, kMinSectorSize);
    if (!header) return;
    ZBDKIT_ASSERT(header->data_sectors() == 0 || header->data_sectors() == header->sectors);
    ZBDKIT_ASSERT(header->text_length <= kMinSectorSize - kHeaderFields);
}

}  // namespace
}  // namespace zbdkit::write_log

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
    using namespace zbdkit;
    const ConstBytes bytes = std::as_bytes(std::span(data, size));
    if (bytes.size() >= write_log::kSuperSize) write_log::check_super(bytes);
    if (bytes.size() >= write_log::kHeaderFields) write_log::check_header(bytes);
    return 0;
}
