// SPDX-License-Identifier: Apache-2.0
#include "node/filter/write_log_format.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/assert.h"
#include "base/units.h"

namespace zbdkit::write_log {
namespace {

constexpr std::uint64_t kKnownFlags = kFlush | kFua | kDiscard | kMark | kMetadata;

}  // namespace

bool is_sector_size(std::uint64_t bytes) {
    return is_power_of_two(bytes) && bytes >= kMinSectorSize && bytes <= kMaxSectorSize;
}

void encode_super(const Super& super, MutableBytes to) {
    ZBDKIT_ASSERT(to.size() == kSuperSize);
    store_le(to.data(), kMagic);
    store_le(to.data() + 8, kVersion);
    store_le(to.data() + 16, super.entries);
    store_le(to.data() + 24, static_cast<std::uint32_t>(super.sector_size));
}

Result<Super> decode_super(ConstBytes from) {
    ZBDKIT_ASSERT(from.size() == kSuperSize);
    if (load_le<std::uint64_t>(from.data()) != kMagic) {
        return fail(Errc::corrupt, "it does not begin with the magic number of a write log");
    }
    if (load_le<std::uint64_t>(from.data() + 8) != kVersion) {
        return fail(Errc::not_supported, "it is a write log of another version than 1");
    }
    const Super super = {.entries = load_le<std::uint64_t>(from.data() + 16),
                         .sector_size = load_le<std::uint32_t>(from.data() + 24)};
    if (!is_sector_size(super.sector_size)) {
        return fail(Errc::not_supported,
                    "its sector size is no power of two from 512 bytes to 64 KiB");
    }
    return super;
}

void encode_header(const Header& header, std::string_view text, MutableBytes to) {
    ZBDKIT_ASSERT(to.size() == kHeaderSize && text.size() <= kHeaderSize - kHeaderFields);
    std::ranges::fill(to, std::byte{0});
    store_le(to.data(), header.sector);
    store_le(to.data() + 8, header.sectors);
    store_le(to.data() + 16, header.flags);
    store_le(to.data() + 24, std::uint64_t{text.size()});
    std::ranges::copy(std::as_bytes(std::span(text)), to.begin() + kHeaderFields);
}

Result<Header> decode_header(ConstBytes from, std::uint64_t sector_size) {
    ZBDKIT_ASSERT(from.size() >= kHeaderFields);
    const Header header = {.sector = load_le<std::uint64_t>(from.data()),
                           .sectors = load_le<std::uint64_t>(from.data() + 8),
                           .flags = load_le<std::uint64_t>(from.data() + 16),
                           .text_length = load_le<std::uint64_t>(from.data() + 24)};
    if ((header.flags & ~kKnownFlags) != 0) return fail(Errc::corrupt, "it has an unknown flag");
    if (header.text_length > sector_size - kHeaderFields) {
        return fail(Errc::corrupt, "its text is longer than a sector holds");
    }
    return header;
}

std::string mark_text(Op action, std::uint64_t zone_start) {
    if (action == Op::zone_reset_all) return op_name(action);
    return fmt::format("{} {}", op_name(action), zone_start / kSectorSize);
}

}  // namespace zbdkit::write_log
