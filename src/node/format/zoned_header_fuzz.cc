// SPDX-License-Identifier: Apache-2.0
// Superblocks and commit pages out of arbitrary bytes, with the checksum made right so that the
// decoders see the fields.
#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "base/crc32c.h"
#include "node/format/zoned_header.h"

namespace {

using namespace zbdkit;  // NOLINT: a fuzzer is one function

void decode_as_superblock(zoned::Page page) {
    std::memcpy(page.data(), "ZBDKIT\r\n", 8);
    store_le(page.data() + 4092, crc32c(ConstBytes(page).first(4092)));
    const auto superblock = zoned::decode_superblock(page);
    if (!superblock) return;
    // What is accepted must survive a round trip and have a sane layout.
    const auto again = zoned::decode_superblock(zoned::encode_superblock(*superblock));
    ZBDKIT_ASSERT(again && *again == *superblock);
    const zoned::Layout layout = zoned::layout_of(superblock->geometry);
    ZBDKIT_ASSERT(layout.image_size > layout.data_offset);
    ZBDKIT_ASSERT(layout.data_offset > layout.commit_offset);
}

void decode_as_commit_page(zoned::Page page) {
    const std::uint32_t magic = 0x4750435a;
    store_le(page.data(), magic);
    store_le(page.data() + 60, std::uint32_t{0});
    store_le(page.data() + 60, crc32c(page));
    const auto index = load_le<std::uint32_t>(page.data() + 4);
    const auto count = std::min(load_le<std::uint32_t>(page.data() + 32), zoned::kZonesPerPage);
    zoned::Uuid uuid;
    std::memcpy(uuid.data(), page.data() + 16, uuid.size());
    const auto commit = zoned::decode_commit_page(page, uuid, index, count);
    if (!commit) return;
    for (const std::uint64_t bits : commit->words) {
        const auto word = zoned::decode_word(bits);
        ZBDKIT_ASSERT(!word || zoned::encode_word(*word) == bits);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    zoned::Page page{};
    if (size > 0) std::memcpy(page.data(), data, std::min(size, page.size()));
    decode_as_superblock(page);
    decode_as_commit_page(page);
    return 0;
}
