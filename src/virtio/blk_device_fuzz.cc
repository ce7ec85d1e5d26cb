// SPDX-License-Identifier: Apache-2.0
// Sends requests made of the input to a device over a fake zoned disk, with writes to its
// configuration and new negotiations between them, and checks that each is answered once, in the
// last writable byte. The memory of each segment is an allocation of its own.
//
//   input = step...    step = what:u8 type:u8 sector:u16 readable:u16 writable:u16 piece:u8
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/assert.h"
#include "tests/support/virtio/blk_chain.h"
#include "tests/support/virtio/fake_zoned_node.h"
#include "virtio/blk_device.h"

namespace zbdkit {
namespace {

using test::operator+;

constexpr std::size_t kStepSize = 9;
constexpr std::size_t kMostSteps = 8;
constexpr std::size_t kMostPieces = 16;

std::uint64_t no_time() { return 0; }

class Fuzzer {
  public:
    explicit Fuzzer(unsigned flags) : device_(backend_of(flags), {.serial = "fuzz"}, no_time) {}

    void step(ConstBytes bytes) {
        const auto u8 = [&](std::size_t at) { return std::to_integer<unsigned>(bytes[at]); };
        const auto u16 = [&](std::size_t at) { return load_le<std::uint16_t>(&bytes[at]); };
        const unsigned what = u8(0);
        if (what % 16 == 1) device_.set_features((what & 16) != 0 ? ~std::uint64_t{0} : u16(2));
        if (what % 16 == 2) device_.reset();
        if (what % 16 == 3) write_config(u8(1), bytes.subspan(2, 3));
        node_->error.reset();
        if (what % 16 == 4) node_->error = Error{Errc(1 + u8(2) % 12), 0, "fuzz"};
        node_->append_offset = std::uint64_t{u16(2)} * 512;
        request(what, u8(1) % 32, u16(2), u16(4) % 8192, u16(6) % 8192, 1 + u8(8));
    }

  private:
    BlockBackend& backend_of(unsigned flags) {
        auto node = std::make_unique<test::FakeZonedNode>(
            flags % 4 == 0   ? test::FakeZonedNode::plain()
            : flags % 4 == 1 ? test::FakeZonedNode::small_host_aware()
                             : test::FakeZonedNode::small_host_managed());
        node_ = node.get();
        backend_ = std::make_unique<BlockBackend>(std::move(node));
        return *backend_;
    }

    void write_config(std::uint32_t offset, ConstBytes from) {
        const Outcome<void> written = device_.write_config(offset, from);
        std::array<std::byte, 3> now{};
        device_.read_config(offset, now);
        ZBDKIT_ASSERT(!written || std::ranges::equal(now, from));
    }

    void request(unsigned what, unsigned type, std::uint64_t sector, std::size_t readable_size,
                 std::size_t writable_size, std::size_t piece) {
        // Mostly whole sectors and the start of a zone, so that many requests are in order.
        const bool exact = (what & 32) != 0;
        const std::size_t data = exact ? readable_size : readable_size / 512 * 512;
        const std::size_t writable = exact ? writable_size : writable_size / 512 * 512 + 1;
        const std::uint64_t at = exact ? sector : sector % 17 * 128;
        test::BlkChain guest(test::header_bytes(type, at) + test::bytes(data, what), writable,
                             pieces(piece, data + 16), pieces(piece, writable));
        const std::uint32_t length = test::run_now(device_.handle(guest.chain));
        ZBDKIT_ASSERT(length == writable);
        ZBDKIT_ASSERT(writable == 0 || guest.status() <= 6);
        ZBDKIT_ASSERT(backend_->in_flight() == 0);
    }

    /// Segments of one length that do not pass `total`.
    static std::vector<std::size_t> pieces(std::size_t piece, std::size_t total) {
        return std::vector<std::size_t>(std::min<std::size_t>(total / piece, kMostPieces), piece);
    }

    test::FakeZonedNode* node_ = nullptr;
    std::unique_ptr<BlockBackend> backend_;
    BlkDevice device_;
};

void run(ConstBytes bytes) {
    if (bytes.empty()) return;
    spdlog::set_level(spdlog::level::off);
    Fuzzer fuzzer(std::to_integer<unsigned>(bytes[0]));
    bytes = bytes.subspan(1);
    const std::size_t count = std::min(bytes.size() / kStepSize, kMostSteps);
    for (std::size_t i = 0; i < count; ++i) fuzzer.step(bytes.subspan(i * kStepSize, kStepSize));
}

}  // namespace
}  // namespace zbdkit

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    zbdkit::run(std::as_bytes(std::span(data, size)));
    return 0;
}
