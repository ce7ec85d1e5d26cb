// SPDX-License-Identifier: Apache-2.0
// Turns descriptors into a DescriptorChain, for both kinds of ring: checks order, addresses and
// totals, and reads indirect tables. What a ring refuses as Pop::invalid is decided here. One per
// queue; keeps its scratch memory from chain to chain. [virtio 1.3, 2.7.5, 2.8.7]
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/iovec.h"
#include "virtio/descriptor_chain.h"
#include "virtio/guest_memory.h"

namespace zbdkit {

class ChainBuilder {
  public:
    /// @param max_chain  the most descriptors of a chain, those of an indirect table included but
    ///                   not the one that points to it
    ChainBuilder(std::uint32_t max_chain, bool indirect_negotiated);

    /// Begins a chain in `chain`, which stays the builder's until the next start().
    void start(DescriptorChain& chain, const std::shared_ptr<const GuestMemory>& memory);

    /// Adds the memory of a descriptor that is no indirect one. An empty descriptor adds nothing.
    /// @return false if that makes the chain invalid; it then says why
    [[nodiscard]] bool add_buffer(const Descriptor& descriptor);

    enum class TableOrder : std::uint8_t {
        linked,      ///< split: from entry 0 along `next`
        sequential,  ///< packed: all entries in turn
    };
    /// Adds the memory of an indirect table's descriptors.
    /// @return as add_buffer
    [[nodiscard]] bool add_table(const Descriptor& descriptor, TableOrder order);

    /// Makes the chain invalid: it keeps its id but no memory.
    /// @param reason  static text
    /// @return false
    bool refuse(const char* reason);

  private:
    [[nodiscard]] bool copy_table(const Descriptor& descriptor);
    [[nodiscard]] bool add_linked_entries();
    [[nodiscard]] bool add_sequential_entries();

    const std::uint32_t max_chain_;
    const bool indirect_negotiated_;
    DescriptorChain* chain_ = nullptr;
    std::uint32_t descriptors_ = 0;
    std::uint64_t bytes_ = 0;
    std::vector<std::byte> table_;  ///< the private copy of an indirect table
    std::size_t table_entries_ = 0;
    IoVector table_segments_;  ///< where the table is in guest memory
};

}  // namespace zbdkit
