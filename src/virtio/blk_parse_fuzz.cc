// SPDX-License-Identifier: Apache-2.0
// Parses a request made of the input, for a disk and a negotiation made of the input, and checks
// what the parser promises. The memory of each segment is an allocation of its own.
//
//   input = flags:u8 type:u8 sector:u64 lengths{8}:u16 ranges...
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/assert.h"
#include "virtio/blk_parse.h"

namespace zbdkit {
namespace {

/// Takes values off the front of the input; zero when it is used up.
class Input {
  public:
    explicit Input(ConstBytes bytes) : bytes_(bytes) {}
    template <class T>
    T take() {
        std::array<std::byte, sizeof(T)> value{};
        const std::size_t count = std::min(bytes_.size(), value.size());
        std::copy_n(bytes_.begin(), count, value.begin());
        bytes_ = bytes_.subspan(count);
        return load_le<T>(value.data());
    }
    [[nodiscard]] ConstBytes rest() const { return bytes_; }

  private:
    ConstBytes bytes_;
};

struct Memory {
    std::vector<std::vector<std::byte>> parts;
    IoVector segments;

    void add(std::size_t length) {
        parts.emplace_back(length);
        segments.push_back(segment_of(MutableBytes(parts.back())));
    }
};

BlkDisk make_disk(unsigned flags) {
    const bool is_zoned = (flags & 1) != 0;
    BlkDisk disk{.size = (flags & 2) != 0 ? kMaxOffset : 1'000'448,
                 .block_size = (flags & 4) != 0 ? 4096U : 512U,
                 .read_only = (flags & 8) != 0,
                 .can_discard = true,
                 .can_write_zeroes = true};
    if (is_zoned) {
        disk.zones = {.model = (flags & 16) != 0 ? ZoneModel::host_aware : ZoneModel::host_managed,
                      .device_size = disk.size,
                      .zone_size = (flags & 2) != 0 ? 16 * kGiB : 64 * kKiB,
                      .zone_capacity = 48 * kKiB,
                      .conventional_zones = 2,
                      .max_append_bytes = (flags & 32) != 0 ? 0U : 16384U,
                      .write_granularity = 4096};
    }
    return disk;
}

void check_accepted(const BlkRequest& request, const Memory& readable, const Memory& writable,
                    const BlkRules& rules) {
    const std::uint64_t readable_length = total_length(readable.segments);
    const std::uint64_t writable_length = total_length(writable.segments);
    ZBDKIT_ASSERT(!rules.refuses_all);
    ZBDKIT_ASSERT(request.status_at == writable_length - 1);
    ZBDKIT_ASSERT(request.range.is_sane() && request.range.offset < rules.size);
    const bool reads_guest =
        request.type == BlkRequestType::out || request.type == BlkRequestType::zone_append;
    ZBDKIT_ASSERT(request.data.end() <= (reads_guest ? readable_length : writable_length - 1));
    if (request.type == BlkRequestType::in || request.type == BlkRequestType::out) {
        ZBDKIT_ASSERT(request.range.end() <= rules.size);
        ZBDKIT_ASSERT(request.range.length == request.data.length && request.data.length != 0);
        ZBDKIT_ASSERT(is_aligned(request.range.offset, rules.block_size));
        ZBDKIT_ASSERT(is_aligned(request.range.length, rules.block_size));
    }
    if (request.type == BlkRequestType::zone_append) {
        ZBDKIT_ASSERT(rules.zoned && writable_length >= 9);
        ZBDKIT_ASSERT(is_aligned(request.range.offset, rules.zones.zone_size));
        ZBDKIT_ASSERT(request.range.length <= rules.max_append_bytes);
    }
    for (const ByteRange& range : request.ranges) {
        ZBDKIT_ASSERT(range.is_sane() && range.end() <= rules.size && range.length != 0);
    }
}

void check_refused(const BlkRefusal& refusal, const Memory& writable) {
    const std::uint64_t writable_length = total_length(writable.segments);
    ZBDKIT_ASSERT(refusal.has_status == (writable_length != 0));
    ZBDKIT_ASSERT(!refusal.has_status || refusal.status_at == writable_length - 1);
    ZBDKIT_ASSERT(refusal.status != BlkStatus::ok);
    ZBDKIT_ASSERT(std::strlen(refusal.reason) != 0);
}

void run(ConstBytes bytes) {
    Input input(bytes);
    const unsigned flags = input.take<std::uint16_t>();
    const BlkDisk disk = make_disk(flags);
    const std::uint64_t features = (flags & 64) != 0 ? 0 : blk_offered_features(disk);
    const BlkRules rules = make_blk_rules(disk, features);

    std::vector<std::byte> request(sizeof(BlkHeader));
    store_le<std::uint32_t>(request.data(), input.take<std::uint8_t>() % 32);
    // Mostly sectors within the disk and at the start of zones, sometimes anything.
    const auto sector = input.take<std::uint64_t>();
    store_le<std::uint64_t>(request.data() + 8, (flags & 128) != 0 ? sector : sector % 16 * 128);
    std::array<std::uint16_t, 6> lengths{};
    for (std::uint16_t& length : lengths) length = input.take<std::uint16_t>() % 2048;
    request.insert(request.end(), input.rest().begin(), input.rest().end());

    Memory readable;
    Memory writable;
    for (std::size_t i = 0; i < 3; ++i) {
        readable.add((flags & 256) != 0 ? lengths[i] : lengths[i] / 512 * 512);
        writable.add((flags & 512) != 0 ? lengths[i + 3] : lengths[i + 3] / 64 * 64);
    }
    readable.add(16);
    writable.add((flags & 1024) != 0 ? 0 : 1);
    copy_to(readable.segments, 0, request);

    const auto parsed = parse_blk_request(readable.segments, writable.segments, rules);
    if (parsed) {
        check_accepted(*parsed, readable, writable, rules);
    } else {
        check_refused(parsed.error(), writable);
    }
}

}  // namespace
}  // namespace zbdkit

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    zbdkit::run(std::as_bytes(std::span(data, size)));
    return 0;
}
