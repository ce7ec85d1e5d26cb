// SPDX-License-Identifier: Apache-2.0
// Images with many zones: opening one, and reporting its zones, as the graph does it and as virtio
// shows it. One item is one zone.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/unique_fd.h"
#include "bench/micro/device_loop.h"
#include "bench/micro/must.h"
#include "io/uring_engine.h"
#include "node/format/zoned_create.h"
#include "tests/support/virtio/blk_chain.h"
#include "virtio/blk_report.h"

namespace zbdkit::bench {
namespace {

constexpr std::uint64_t kZoneSize = 4 * kMiB;
constexpr const char* kCreateOptions = "zone.size=4M";
constexpr std::uint32_t kReportedZones = 100'000;

void report(benchmark::State& state) {
    Disk disk(kReportedZones * kZoneSize, kCreateOptions);
    std::vector<ZoneDescriptor> zones(kReportedZones);
    for (auto _ : state) {
        Request request = report_request(0, zones);
        disk.submit(request);
        ZBDKIT_ASSERT(request.zones_reported == kReportedZones);
    }
    state.SetItemsProcessed(state.iterations() * kReportedZones);
}
BENCHMARK(report)->Unit(benchmark::kMillisecond);

/// As a driver asks: again from where an answer ends.
void report_by_virtio(benchmark::State& state) {
    Disk disk(kReportedZones * kZoneSize, kCreateOptions);
    constexpr std::size_t kReplySize =
        sizeof(BlkReportHeader) + kMaxReportedZones * sizeof(BlkZoneDescriptor) + 1;
    for (auto _ : state) {
        for (std::uint64_t zone = 0; zone < kReportedZones;) {
            state.PauseTiming();  // while the buffer is made
            const std::uint64_t sector = zone * (kZoneSize / kSectorSize);
            constexpr auto kType = static_cast<std::uint32_t>(BlkRequestType::zone_report);
            test::BlkChain request(test::header_bytes(kType, sector), kReplySize);
            const auto answer = std::as_const(request.chain).writable.front();
            state.ResumeTiming();
            disk.reactor().run_to_end(disk.device().handle(request.chain));
            const std::byte* const reply = byte_pointer(answer.iov_base);
            ZBDKIT_ASSERT(reply[kReplySize - 1] == std::byte{0});
            zone += load_le<std::uint64_t>(reply);
        }
    }
    state.SetItemsProcessed(state.iterations() * kReportedZones);
}
BENCHMARK(report_by_virtio)->Unit(benchmark::kMillisecond);

/// An image in a file in memory that is opened often.
class Image {
  public:
    explicit Image(std::uint64_t zones)
        : file_(::memfd_create("image", MFD_CLOEXEC)),
          name_(fmt::format("filename=/proc/self/fd/{}", file_.get())) {
        const zoned::NewImage image = must(zoned::plan_image(
            zones * kZoneSize, must(OptionValues::parse(kCreateOptions, "", "the image"))));
        const std::uint64_t size = zoned::layout_of(image.geometry).image_size;
        ZBDKIT_ASSERT(::ftruncate(file_.get(), static_cast<off_t>(size)) == 0);
        NamedNodes named;
        const std::unique_ptr<BlockNode> node = must(reactor_.run_to_end(
            open_node(context_, must(parse_node_options("driver=file," + name_)), named)));
        must(reactor_.run_to_end(zoned::format_image(*node, image)));
        must(reactor_.run_to_end(node->close()));
    }

    [[nodiscard]] std::unique_ptr<BlockNode> open() {
        NamedNodes named;
        return must(reactor_.run_to_end(open_node(
            context_, must(parse_node_options("driver=zoned,file.driver=file,file." + name_)),
            named)));
    }
    void close(BlockNode& node) { must(reactor_.run_to_end(node.close())); }

  private:
    UniqueFd file_;
    std::string name_;
    Reactor reactor_{must(make_uring_engine())};
    BlockingPool pool_{1};
    OpenContext context_{reactor_, pool_};
};

void open(benchmark::State& state) {
    Image image(static_cast<std::uint64_t>(state.range(0)));
    for (auto _ : state) {
        const std::unique_ptr<BlockNode> node = image.open();
        state.PauseTiming();
        image.close(*node);
        state.ResumeTiming();
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(open)->ArgName("zones")->Arg(1000)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace zbdkit::bench
