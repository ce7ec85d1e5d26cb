// SPDX-License-Identifier: Apache-2.0
#include "bench/micro/device_loop.h"

#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "base/assert.h"
#include "bench/micro/must.h"
#include "graph/graph.h"
#include "io/uring_engine.h"
#include "node/format/zoned_create.h"

namespace zbdkit::bench {
namespace {

constexpr std::uint32_t kRingSize = 256;
constexpr std::uint32_t kLongestChain = 128;
constexpr std::uint32_t kTail = 16;

}  // namespace

RingLoop::RingLoop(bool packed, test::ChainForm form) : form_(form) {
    driver_ =
        test::RingDriver::make(memory_, {.features = {.indirect = form != test::ChainForm::direct,
                                                      .event_idx = true,
                                                      .packed = packed},
                                         .size = kRingSize});
    queue_ = must(VirtQueue::make(driver_->device_setup(memory_.guest_memory(), kLongestChain)));
    for (std::uint32_t i = 0; i < kBatch; ++i) {
        slots_.push_back({memory_.allocate(sizeof(BlkHeader)), memory_.allocate(kBlock, kBlock),
                          memory_.allocate(kTail)});
    }
}

void RingLoop::write_header(const Slot& slot, BlkRequestType type, std::uint64_t sector) {
    BlkHeader header{};
    header.type = static_cast<std::uint32_t>(type);
    header.sector = sector;
    std::memcpy(memory_.at({slot.header, sizeof header}).data(), &header, sizeof header);
}

void RingLoop::add(const Slot& slot, BlkRequestType type) {
    const bool is_read = type == BlkRequestType::in;
    const std::uint32_t tail = type == BlkRequestType::zone_append ? kTail : 1;
    const auto id = driver_->add({{slot.header, sizeof(BlkHeader), false},
                                  {slot.data, kBlock, is_read},
                                  {slot.tail, tail, true}},
                                 form_);
    ZBDKIT_ASSERT(id.has_value());
}

void RingLoop::take_batch(BlkRequestType type) {
    for (std::uint32_t i = 0; i < kBatch; ++i) ZBDKIT_ASSERT(driver_->take_used().has_value());
    for (const Slot& slot : slots_) {
        const std::size_t status_at = type == BlkRequestType::zone_append ? kTail - 1 : 0;
        ZBDKIT_ASSERT(memory_.at({slot.tail, kTail})[status_at] == std::byte{0});
    }
}

Disk::Disk(const std::string& options) : reactor_(must(make_uring_engine())) {
    NamedNodes named;
    open(options, named);
}

Disk::Disk(std::uint64_t size, const std::string& create_options)
    : reactor_(must(make_uring_engine())) {
    const zoned::NewImage image = must(zoned::plan_image(
        size, must(OptionValues::parse(create_options, "", "the image of a benchmark"))));
    const std::uint64_t bytes = zoned::layout_of(image.geometry).image_size;
    NamedNodes named;
    std::unique_ptr<BlockNode> memory = must(reactor_.run_to_end(open_node(
        context_, must(parse_node_options(fmt::format("driver=memory,size={}", bytes))), named)));
    must(reactor_.run_to_end(zoned::format_image(*memory, image)));
    must(named.put_as("memory", std::move(memory)));
    open("driver=zoned,file=memory", named);
}

void Disk::open(const std::string& options, NamedNodes& named) {
    backend_ = std::make_unique<BlockBackend>(
        must(reactor_.run_to_end(open_node(context_, must(parse_node_options(options)), named))));
    device_ = std::make_unique<BlkDevice>(*backend_, BlkDevice::Options{},
                                          [this] { return reactor_.now_ns(); });
    device_->set_features(device_->offered_features());
}

Disk::~Disk() { static_cast<void>(reactor_.run_to_end(backend_->close())); }

Task<void> Disk::serve(RingLoop& ring, DescriptorChain& chain) {
    const std::uint32_t written = co_await device_->handle(chain);
    ring.queue().push(chain, written);
    chain.clear();
}

void Disk::serve_batch(RingLoop& ring) {
    for (std::uint32_t i = 0; i < RingLoop::kBatch; ++i) {
        DescriptorChain& chain = ring.chain(i);
        const VirtQueue::Pop popped = ring.queue().pop(chain);
        ZBDKIT_ASSERT(popped == VirtQueue::Pop::chain);
        scope_.spawn(serve(ring, chain));
    }
    while (scope_.running() != 0) reactor_.turn(true);
    static_cast<void>(ring.queue().take_notification());
}

void Disk::submit(Request& request) {
    const Result<void> done = reactor_.run_to_end(backend_->submit(request));
    ZBDKIT_ASSERT(done.has_value());
}

}  // namespace zbdkit::bench
