// SPDX-License-Identifier: Apache-2.0
// Sound virtio-blk requests, laid out in the page of guest memory that holds a ring, for fuzzers to
// spoil: noise alone never makes a chain whose header says something.
//
//   page      available ring or driver area at 0, descriptors at 0x50, headers at 0x400, status and
//             append_sector at 0x600, used ring or device area at 0xc00
//   request   = type:u8 zone:u8 sector:u8 sectors:u8       sector from the zone's start
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/units.h"
#include "tests/fuzz/input.h"
#include "virtio/blk_wire.h"
#include "virtio/descriptor_chain.h"
#include "virtio/virt_queue.h"

namespace zbdkit::test {

class RequestPlanter {
  public:
    static constexpr std::size_t kPageSize = 0x1000;
    static constexpr std::size_t kDriverPart = 0;
    static constexpr std::size_t kDescriptors = 0x50;
    static constexpr std::size_t kDevicePart = 0xc00;
    static constexpr std::uint32_t kRingSize = 32;
    static constexpr std::size_t kMostRequests = 10;
    /// Of a packed ring that has not been used: both wrap counters are 1.
    static constexpr RingBase kPackedBase = 0x8000'8000;

    struct Places {
        bool packed = false;
        std::uint64_t page = 0;  ///< guest address
        std::uint64_t data = 0;  ///< guest address of the buffers
        std::uint32_t data_length = 0;
        std::uint32_t zone_sectors = 0;
    };

    /// A request as the ring has it.
    struct Chain {
        std::uint16_t id = 0;
        std::uint16_t descriptor_count = 0;
        BlkRequestType type{};
        ByteRange range{};               ///< of the disk, in bytes
        std::size_t status_in_page = 0;  ///< where the page has its status
    };

    /// @param page  kPageSize bytes
    RequestPlanter(MutableBytes page, const Places& places) : page_(page), places_(places) {}

    /// Plants up to kMostRequests requests, as many as the first byte says.
    void plant(FuzzInput& input) {
        const std::size_t count = input.byte() % (kMostRequests + 1);
        for (std::size_t i = 0; i < count; ++i) plant_one(input);
    }
    [[nodiscard]] const std::vector<Chain>& planted() const { return planted_; }

  private:
    static bool sends_data(BlkRequestType type) {
        return type == BlkRequestType::out || type == BlkRequestType::zone_append ||
               type == BlkRequestType::discard || type == BlkRequestType::write_zeroes;
    }

    void plant_one(FuzzInput& input) {
        constexpr std::size_t kSlot = 16;
        constexpr std::size_t kHeaders = 0x400;
        constexpr std::size_t kAnswers = 0x600;
        const std::uint32_t type = input.byte() % 32;
        const std::uint64_t zone = input.byte();
        const std::uint64_t sector = zone % 16 * places_.zone_sectors + input.byte();
        const std::uint32_t length =
            std::min<std::uint32_t>(input.byte() % 16 * 512, places_.data_length);
        const std::size_t header = kHeaders + planted_.size() * kSlot;
        store_le(page_.data() + header, type);
        store_le(page_.data() + header + 8, sector);

        const std::size_t answer = kAnswers + planted_.size() * kSlot;
        const bool is_append = type == std::to_underlying(BlkRequestType::zone_append);
        const bool sends = sends_data(static_cast<BlkRequestType>(type));
        begin_chain();
        add_descriptor({.address = places_.page + header, .length = 16});
        if (length != 0) {
            const std::uint64_t space = places_.data_length - length + 1;
            add_descriptor({.address = places_.data + planted_.size() * 512 % space,
                            .length = length,
                            .flags = sends ? std::uint16_t{0} : Descriptor::kWrite});
        }
        add_descriptor({.address = places_.page + answer,
                        .length = is_append ? 9U : 1U,
                        .flags = Descriptor::kWrite});
        end_chain();
        planted_.push_back({.id = first_,
                            .descriptor_count = static_cast<std::uint16_t>(next_ - first_),
                            .type = static_cast<BlkRequestType>(type),
                            .range = {sector * 512, length},
                            .status_in_page = answer + (is_append ? 8 : 0)});
    }

    void begin_chain() { first_ = next_; }
    void add_descriptor(Descriptor descriptor) {
        constexpr std::uint16_t kAvailable = 1 << 7;  // in the first lap of a packed ring
        descriptor.flags |= Descriptor::kNext;
        if (places_.packed) descriptor.flags |= kAvailable;
        descriptor.link = static_cast<std::uint16_t>(places_.packed ? first_ : next_ + 1);
        std::byte* const to = page_.data() + kDescriptors + std::size_t{next_} * Descriptor::kSize;
        store_le(to, descriptor.address);
        store_le(to + 8, descriptor.length);
        store_le(to + flags_at(), descriptor.flags);
        store_le(to + (flags_at() == 12 ? 14 : 12), descriptor.link);
        ++next_;
    }
    void end_chain() {
        std::byte* const last =
            page_.data() + kDescriptors + std::size_t{next_ - 1U} * Descriptor::kSize + flags_at();
        store_le<std::uint16_t>(
            last, load_le<std::uint16_t>(last) & static_cast<std::uint16_t>(~Descriptor::kNext));
        if (places_.packed) return;
        const auto index = static_cast<std::uint16_t>(planted_.size());
        store_le(page_.data() + kDriverPart + 4 + std::size_t{index} * 2, first_);
        store_le(page_.data() + kDriverPart + 2, static_cast<std::uint16_t>(index + 1));
    }
    /// Split descriptors end with flags and next, packed ones with id and flags.
    [[nodiscard]] std::size_t flags_at() const { return places_.packed ? 14 : 12; }

    MutableBytes page_;
    Places places_;
    std::vector<Chain> planted_;
    std::uint16_t next_ = 0;   // descriptor
    std::uint16_t first_ = 0;  // of the chain
};

}  // namespace zbdkit::test
