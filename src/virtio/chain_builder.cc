// SPDX-License-Identifier: Apache-2.0
#include "virtio/chain_builder.h"

#include <limits>
#include <utility>

#include "base/bytes.h"

namespace zbdkit {
namespace {

/// The used length is 32 bits wide, so no chain may be longer. [virtio 1.3, 2.7.5.2]
constexpr std::uint64_t kMaxChainBytes = std::numeric_limits<std::uint32_t>::max();

// An entry of an indirect table is laid out as a descriptor of its kind of ring:
//   both    0 le64 address | 8 le32 length
//   split   12 le16 flags  | 14 le16 next      [virtio 1.3, 2.7.5]
//   packed  12 le16 id     | 14 le16 flags     [virtio 1.3, 2.8.13]
Descriptor split_entry(const std::byte* at) {
    return {.address = load_le<std::uint64_t>(at),
            .length = load_le<std::uint32_t>(at + 8),
            .flags = load_le<std::uint16_t>(at + 12),
            .link = load_le<std::uint16_t>(at + 14)};
}

Descriptor packed_entry(const std::byte* at) {
    return {.address = load_le<std::uint64_t>(at),
            .length = load_le<std::uint32_t>(at + 8),
            .flags = load_le<std::uint16_t>(at + 14),
            .link = load_le<std::uint16_t>(at + 12)};
}

}  // namespace

ChainBuilder::ChainBuilder(std::uint32_t max_chain, bool indirect_negotiated)
    : max_chain_(max_chain), indirect_negotiated_(indirect_negotiated) {
    if (indirect_negotiated) table_.resize(std::size_t{max_chain} * Descriptor::kSize);
}

void ChainBuilder::start(DescriptorChain& chain, const std::shared_ptr<const GuestMemory>& memory) {
    chain_ = &chain;
    // A chain that is used again has it already, and counting references is atomic.
    if (chain.memory != memory) chain.memory = memory;
    descriptors_ = 0;
    bytes_ = 0;
}

bool ChainBuilder::refuse(const char* reason) {
    chain_->readable.clear();
    chain_->writable.clear();
    chain_->writable_guest.clear();
    chain_->refusal = reason;
    return false;
}

bool ChainBuilder::add_buffer(const Descriptor& descriptor) {
    if (++descriptors_ > max_chain_) return refuse("chain has too many descriptors");
    const bool is_writable = (descriptor.flags & Descriptor::kWrite) != 0;
    if (!is_writable && !chain_->writable.empty()) {
        return refuse("readable descriptor after a writable one");
    }
    if (descriptor.length == 0) return true;
    bytes_ += descriptor.length;  // at most 2^32 * 2^32: cannot wrap
    if (bytes_ > kMaxChainBytes) return refuse("chain is 4 GiB or longer");

    const ByteRange range{descriptor.address, descriptor.length};
    IoVector& out = is_writable ? chain_->writable : chain_->readable;
    if (!chain_->memory->translate(range, out)) {
        return refuse("descriptor points outside of guest memory");
    }
    if (is_writable) chain_->writable_guest.push_back(range);
    return true;
}

bool ChainBuilder::add_table(const Descriptor& descriptor, TableOrder order) {
    if (!indirect_negotiated_) return refuse("indirect descriptor, but not negotiated");
    if ((descriptor.flags & Descriptor::kNext) != 0) {
        return refuse("indirect descriptor with a next one");
    }
    if (!copy_table(descriptor)) return false;
    switch (order) {
        case TableOrder::linked: return add_linked_entries();
        case TableOrder::sequential: return add_sequential_entries();
    }
    return false;
}

bool ChainBuilder::copy_table(const Descriptor& descriptor) {
    if (descriptor.length == 0 || descriptor.length % Descriptor::kSize != 0) {
        return refuse("length of an indirect table is 0 or no multiple of 16");
    }
    if (descriptor.length / Descriptor::kSize > max_chain_) {
        return refuse("indirect table is longer than any chain may be");
    }
    table_segments_.clear();
    if (!chain_->memory->translate({descriptor.address, descriptor.length}, table_segments_)) {
        return refuse("indirect table outside of guest memory");
    }
    table_entries_ = descriptor.length / Descriptor::kSize;
    copy_from(table_segments_, 0, MutableBytes(table_).first(descriptor.length));
    return true;
}

bool ChainBuilder::add_linked_entries() {
    std::size_t index = 0;
    for (std::size_t taken = 0; taken < table_entries_; ++taken) {
        const Descriptor entry = split_entry(table_.data() + index * Descriptor::kSize);
        if ((entry.flags & Descriptor::kIndirect) != 0) {
            return refuse("indirect descriptor inside an indirect table");
        }
        if (!add_buffer(entry)) return false;
        if ((entry.flags & Descriptor::kNext) == 0) return true;
        index = entry.link;
        if (index >= table_entries_) return refuse("descriptor link leaves its indirect table");
    }
    return refuse("descriptors of an indirect table form a loop");
}

bool ChainBuilder::add_sequential_entries() {
    for (std::size_t index = 0; index < table_entries_; ++index) {
        const Descriptor entry = packed_entry(table_.data() + index * Descriptor::kSize);
        if ((entry.flags & Descriptor::kIndirect) != 0) {
            return refuse("indirect descriptor inside an indirect table");
        }
        if (!add_buffer(entry)) return false;
    }
    return true;
}

}  // namespace zbdkit
