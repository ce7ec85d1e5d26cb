// SPDX-License-Identifier: Apache-2.0
// A hostile driver: the input is the setup of a ring and an image of all guest memory, rings
// included. Whatever it says, popping and pushing ends, and touches nothing outside of the image.
//
//   input   8 bytes of setup, then the image; beyond the end of the input memory is zero
//   memory  guest 0x0000-0x0fff, 0x1000-0x17ff (adjacent, elsewhere in this process), gap,
//           0x2000-0x2fff. The parts that the driver writes come first, so that short inputs fill
//           them: available ring (or driver area) at 0, descriptors at 0x50, device's part at 0xc00
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/bytes.h"
#include "virtio/virt_queue.h"

namespace zbdkit {
namespace {

constexpr int kMaxPops = 300;
constexpr std::size_t kMaxHeld = 5;
constexpr std::uint64_t kDescriptors = 0x50;
constexpr std::uint64_t kDevicePart = 0xc00;

/// Exactly sized allocations, so that the sanitizer sees one byte too far.
class Image {
  public:
    explicit Image(ConstBytes from) {
        for (std::vector<std::byte>* part : {&low_, &middle_, &high_}) {
            const std::size_t length = std::min(part->size(), from.size());
            std::copy_n(from.begin(), length, part->begin());
            from = from.subspan(length);
        }
    }

    [[nodiscard]] std::shared_ptr<const GuestMemory> memory() {
        const auto region = [](std::uint64_t address, std::vector<std::byte>& bytes) {
            return MemoryRegion::borrow({address, address, bytes.size(), 0}, bytes.data());
        };
        auto memory =
            GuestMemory::make({region(0, low_), region(0x1000, middle_), region(0x2000, high_)});
        ZBDKIT_ASSERT(memory.has_value());
        return *memory;
    }

    /// Makes addresses and lengths small wherever a descriptor may stand, so that most of them
    /// pass and what comes after is reached.
    void tame() {
        for (std::size_t at = kDescriptors; at + 16 <= kDevicePart; at += 16) {
            low_[at + 1] &= std::byte{0x3f};
            std::ranges::fill(MutableBytes(low_).subspan(at + 2, 6), std::byte{0});
            std::ranges::fill(MutableBytes(low_).subspan(at + 9, 3), std::byte{0});
        }
    }
    /// Makes all lengths multiples of 16, as those of indirect tables must be.
    void round_lengths() {
        for (std::size_t at = kDescriptors; at + 16 <= kDevicePart; at += 16) low_[at + 8] <<= 4;
    }

    [[nodiscard]] std::uint16_t available_index() const { return load_le<std::uint16_t>(&low_[2]); }

    /// One byte of the part that holds the ring.
    [[nodiscard]] std::byte& ring_byte(std::size_t at) { return low_[at % low_.size()]; }

    [[nodiscard]] bool holds(const iovec& segment) const {
        const std::byte* const start = byte_pointer(segment.iov_base);
        return std::ranges::any_of(std::array{&low_, &middle_, &high_}, [&](const auto* part) {
            return start >= part->data() && start < part->data() + part->size() &&
                   segment.iov_len <= static_cast<std::size_t>(part->data() + part->size() - start);
        });
    }

  private:
    std::vector<std::byte> low_ = std::vector<std::byte>(0x1000);
    std::vector<std::byte> middle_ = std::vector<std::byte>(0x800);
    std::vector<std::byte> high_ = std::vector<std::byte>(0x1000);
};

VirtQueue::Setup read_setup(ConstBytes bytes, Image& image) {
    const auto byte = [&](std::size_t at) { return std::to_integer<std::uint32_t>(bytes[at]); };
    VirtQueue::Setup setup;
    setup.features.packed = (byte(0) & 1) != 0;
    setup.features.indirect = (byte(0) & 2) != 0;
    setup.features.event_idx = (byte(0) & 4) != 0;
    setup.addresses.guest_addresses = (byte(0) & 8) != 0;
    setup.addresses.log_used = (byte(0) & 16) != 0;
    setup.size = setup.features.packed ? 1 + byte(1) % 32 : 1U << (byte(1) % 6);
    setup.max_chain = 1 + byte(2);
    if ((byte(0) & 32) == 0) image.tame();
    if ((byte(0) & 64) == 0) image.round_lengths();
    setup.addresses.driver = 0;
    setup.addresses.descriptors = kDescriptors;
    setup.addresses.device = kDevicePart;
    setup.addresses.log_guest_address = kDevicePart;
    const std::uint32_t index = byte(3) % (setup.size + 1);
    if (setup.features.packed) {
        setup.base = ((index % setup.size) | ((byte(4) & 1) << 15)) * 0x10001U;
    } else {
        setup.base = image.available_index() - index;  // so many chains are there
    }
    setup.memory = image.memory();
    return setup;
}

void check_chain(const DescriptorChain& chain, const Image& image) {
    std::uint64_t total = 0;
    for (const IoVector* list : {&chain.readable, &chain.writable}) {
        for (const iovec& segment : *list) {
            ZBDKIT_ASSERT(segment.iov_len > 0 && image.holds(segment));
            total += segment.iov_len;
        }
    }
    ZBDKIT_ASSERT(total <= 0xffff'ffff);
    std::uint64_t writable = 0;
    for (const ByteRange& range : chain.writable_guest) writable += range.length;
    ZBDKIT_ASSERT(writable == total_length(chain.writable));
}

/// What a device does with a chain: writes to all that it may write to.
void serve(const DescriptorChain& chain) {
    fill(chain.writable, {0, std::min<std::uint64_t>(total_length(chain.writable), 64)},
         std::byte{0x55});
}

struct Held {
    DescriptorChain chain;
    std::vector<Descriptor> record;
};

/// Takes the chains in flight again in a new queue, as after a reconnect.
void reconnect(std::unique_ptr<VirtQueue>& queue, VirtQueue::Setup setup, std::deque<Held>& held) {
    setup.base = queue->base();
    auto made = VirtQueue::make(setup);
    ZBDKIT_ASSERT(made.has_value());
    queue = std::move(*made);
    for (Held& one : held) {
        const std::uint16_t id = one.chain.id;
        const VirtQueue::Pop popped = queue->pop_again(id, one.record, one.chain);
        ZBDKIT_ASSERT(popped == VirtQueue::Pop::chain || popped == VirtQueue::Pop::invalid);
        ZBDKIT_ASSERT(one.chain.id == id);
    }
}

void run(ConstBytes input) {
    constexpr std::size_t kSetupSize = 8;
    if (input.size() < kSetupSize) return;
    Image image(input.subspan(kSetupSize));
    std::vector<std::byte> bits(1);
    VirtQueue::Setup setup = read_setup(input.first(kSetupSize), image);
    setup.log = DirtyLog::borrow(bits);
    auto made = VirtQueue::make(setup);
    ZBDKIT_ASSERT(made.has_value());
    std::unique_ptr<VirtQueue> queue = std::move(*made);

    std::deque<Held> held;
    for (int pop = 0; pop < kMaxPops; ++pop) {
        DescriptorChain chain;
        const VirtQueue::Pop popped = queue->pop(chain);
        if (popped == VirtQueue::Pop::broken) break;
        if (popped == VirtQueue::Pop::empty) {
            if (!queue->enable_kicks()) break;
            continue;
        }
        check_chain(chain, image);
        ZBDKIT_ASSERT((*chain.refusal != '\0') == (popped == VirtQueue::Pop::invalid));
        serve(chain);
        const std::span<const Descriptor> record = queue->last_descriptors();
        held.push_back({std::move(chain), {record.begin(), record.end()}});
        // The driver changes its mind while the device works.
        image.ring_byte(std::to_integer<std::size_t>(input[5]) * 3 +
                        static_cast<std::size_t>(pop)) ^= input[6];
        if (held.size() == kMaxHeld) {
            queue->log_written(held.front().chain, 100);
            queue->push(held.front().chain, 100);
            held.pop_front();
            (void)queue->take_notification();
            queue->disable_kicks();
            ZBDKIT_ASSERT(queue->set_memory(image.memory()).has_value());
        }
    }
    if (input[7] != std::byte{0}) reconnect(queue, setup, held);
    for (; !held.empty(); held.pop_back()) queue->push(held.back().chain, 0);
    (void)queue->take_notification();
    (void)queue->base();
}

}  // namespace
}  // namespace zbdkit

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    zbdkit::run(std::as_bytes(std::span(data, size)));
    return 0;
}
