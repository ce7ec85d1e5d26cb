// SPDX-License-Identifier: Apache-2.0
// What a node more in the graph costs a request: filters that pass everything on, and
// one that counts.
#include <benchmark/benchmark.h>

#include <array>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "bench/micro/must.h"
#include "graph/backend.h"
#include "graph/graph.h"
#include "io/blocking_pool.h"
#include "io/reactor.h"
#include "io/uring_engine.h"

namespace zbdkit::bench {
namespace {

constexpr int kRequests = 1000;
constexpr std::size_t kBlock = 4096;

Task<void> read_often(BlockBackend* backend, MutableBytes to) {
    const std::array segments = {segment_of(to)};
    for (int i = 0; i < kRequests; ++i) {
        Request request = read_request({std::uint64_t(i) * kBlock, kBlock}, segments);
        const Result<void> done = co_await backend->submit(request);
        ZBDKIT_ASSERT(done.has_value());
    }
}

/// A filter that came for nothing.
class Hop final : public PassthroughFilter {
  public:
    explicit Hop(std::unique_ptr<BlockNode> child) : PassthroughFilter("hop", std::move(child)) {}
};

/// @param hops  filters on top of the node that the options describe
void read(benchmark::State& state, const char* options, std::int64_t hops) {
    // What filters say when they are closed is not wanted between the results.
    spdlog::set_level(spdlog::level::warn);
    Reactor reactor(must(make_uring_engine()));
    BlockingPool pool(1);
    OpenContext context{reactor, pool};
    NamedNodes named;
    std::unique_ptr<BlockNode> node =
        must(reactor.run_to_end(open_node(context, must(parse_node_options(options)), named)));
    for (std::int64_t i = 0; i < hops; ++i) node = std::make_unique<Hop>(std::move(node));
    BlockBackend backend(std::move(node));
    std::array<std::byte, kBlock> to{};
    for (auto _ : state) reactor.run_to_end(read_often(&backend, to));
    state.SetItemsProcessed(state.iterations() * kRequests);
    must(reactor.run_to_end(backend.close()));
}

void hop(benchmark::State& state) { read(state, "driver=null,size=64M", state.range(0)); }
BENCHMARK(hop)->ArgName("filters")->Arg(0)->Arg(1)->Arg(4);

/// One that looks at the clock twice and counts.
void account(benchmark::State& state) {
    read(state, "driver=account,file.driver=null,file.size=64M", 0);
}
BENCHMARK(account);

}  // namespace
}  // namespace zbdkit::bench
