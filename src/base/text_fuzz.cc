// SPDX-License-Identifier: Apache-2.0
// Sizes and times as people write them: read or refused, and what was read can be written and read
// again.
//
//   input = text
#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "base/text.h"
#include "base/units.h"
#include "tests/fuzz/input.h"

namespace zbdkit {
namespace {

constexpr std::size_t kLongestText = 512;

/// Written with so many digits that it differs by no more than this part of it.
bool is_near(std::uint64_t value, std::uint64_t written, std::uint64_t part) {
    const std::uint64_t difference = value > written ? value - written : written - value;
    return difference <= value / part;
}

void read_size(std::string_view text) {
    const Outcome<std::uint64_t> size = parse_size(text);
    if (!size) {
        ZBDKIT_ASSERT(size.error().message.find("size") != std::string::npos);
        return;
    }
    ZBDKIT_ASSERT(*size <= kMaxOffset);
    ZBDKIT_ASSERT(parse_size(std::to_string(*size)).value() == *size);
    // Close to 8 EiB it may round up to what is too large.
    const Outcome<std::uint64_t> again = parse_size(format_size(*size));
    ZBDKIT_ASSERT(*size > kMaxOffset / 2 || (again && is_near(*size, *again, 100)));
}

void read_duration(std::string_view text) {
    const Outcome<std::uint64_t> duration = parse_duration(text);
    if (!duration) {
        ZBDKIT_ASSERT(duration.error().message.find("time") != std::string::npos);
        return;
    }
    const Outcome<std::uint64_t> again = parse_duration(format_duration(*duration));
    ZBDKIT_ASSERT(*duration > kMaxOffset / 2 || (again && is_near(*duration, *again, 1000)));
}

void find_nearest(std::string_view text) {
    constexpr std::array<std::string_view, 3> kWords = {"zone-size", "zone-capacity", "size"};
    const std::string_view found = nearest(text, kWords);
    ZBDKIT_ASSERT(found.empty() || std::ranges::find(kWords, found) != kWords.end());
}

}  // namespace
}  // namespace zbdkit

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace zbdkit;
    if (size > kLongestText) return 0;
    const std::string_view text = test::text_of(std::as_bytes(std::span(data, size)));
    read_size(text);
    read_duration(text);
    find_nearest(text);
    return 0;
}
