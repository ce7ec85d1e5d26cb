// SPDX-License-Identifier: Apache-2.0
#include "bench/plain_workload.h"

#include <utility>

namespace zbdkit::bench {

PlainWorkload::PlainWorkload(const PlainArea& area, const Options& options)
    : area_(area), options_(options), random_(options.seed) {}

bool PlainWorkload::chooses_read() {
    if (options_.operation == Operation::mixed) return random_.below(100) < options_.read_percent;
    return only_reads(options_.operation);
}

std::uint64_t PlainWorkload::choose_block() {
    const bool is_sequential =
        options_.operation == Operation::read || options_.operation == Operation::write;
    if (!is_sequential) return random_.below(area_.block_count);
    return std::exchange(cursor_, cursor_ + 1 == area_.block_count ? 0 : cursor_ + 1);
}

std::optional<Target> PlainWorkload::next(std::uint32_t /*queue*/) {
    const bool is_read = chooses_read();
    Target target{.type = is_read ? BlkRequestType::in : BlkRequestType::out,
                  .offset = choose_block() * area_.block_size};
    if (options_.verifier == nullptr) return target;
    // Rarely more than one try: few blocks of many are taken.
    constexpr unsigned kTries = 64;
    for (unsigned i = 0; i < kTries; ++i) {
        if (options_.verifier->lock(target.offset, !is_read)) return target;
        target.offset = choose_block() * area_.block_size;
    }
    return {};
}

void PlainWorkload::ended(const Target& target) {
    if (options_.verifier != nullptr) options_.verifier->unlock(target.offset);
}

std::optional<Target> PlainPass::next(std::uint32_t /*queue*/) {
    while (cursor_ < area_.block_count) {
        const std::uint64_t offset = cursor_++ * area_.block_size;
        if (kind_ == Kind::fill) return Target{.type = BlkRequestType::out, .offset = offset};
        if (verifier_->is_known(offset))
            return Target{.type = BlkRequestType::in, .offset = offset};
    }
    return {};
}

}  // namespace zbdkit::bench
