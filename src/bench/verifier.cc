// SPDX-License-Identifier: Apache-2.0
#include "bench/verifier.h"

#include <fmt/format.h>

#include <algorithm>

namespace zbdkit::bench {

Verifier::Verifier(ByteRange range, std::uint32_t block_size, std::uint64_t seed)
    : range_(range),
      block_size_(block_size),
      seed_(seed),
      records_(range.length / block_size + 1),
      users_(records_.size()) {}

void Verifier::stamp(Target& target, MutableBytes data) {
    target.sequence = ++sequence_;
    write_stamp({.position = target.offset, .sequence = target.sequence, .seed = seed_}, data);
}

std::optional<std::string> Verifier::wrote(const Target& target, std::uint64_t placed) {
    Record& record = records_[index_of(placed)];
    if (target.type == BlkRequestType::zone_append && record.sequence != 0) {
        return fmt::format("append {} was put to byte {}, where append {} is", target.sequence,
                           placed, record.sequence);
    }
    record = {.sequence = target.sequence, .position = target.offset};
    return {};
}

std::optional<std::string> Verifier::check(std::uint64_t offset, ConstBytes data) {
    const Record& record = at(offset);
    if (record.sequence == 0) return {};
    ++checked_;
    return find_mismatch({.position = record.position, .sequence = record.sequence, .seed = seed_},
                         data);
}

void Verifier::forget(ByteRange zone) {
    const auto first = records_.begin() + static_cast<std::ptrdiff_t>(index_of(zone.offset));
    const auto last = records_.begin() + static_cast<std::ptrdiff_t>(index_of(zone.end() - 1));
    std::fill(first, last + 1, Record());
}

bool Verifier::lock(std::uint64_t offset, bool is_write) {
    std::uint16_t& users = users_[index_of(offset)];
    if (users == kWriter || (is_write && users != 0) || users == kWriter - 1) return false;
    users = is_write ? kWriter : static_cast<std::uint16_t>(users + 1);
    return true;
}

void Verifier::unlock(std::uint64_t offset) {
    std::uint16_t& users = users_[index_of(offset)];
    users = users == kWriter ? std::uint16_t{0} : static_cast<std::uint16_t>(users - 1);
}

}  // namespace zbdkit::bench
