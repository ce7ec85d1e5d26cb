// SPDX-License-Identifier: Apache-2.0
// The price of a coroutine: awaited and ended at once, suspended until a later turn, and spawned.
#include <benchmark/benchmark.h>

#include "bench/micro/must.h"
#include "io/next_turn.h"
#include "io/reactor.h"
#include "io/scope.h"
#include "io/task.h"
#include "io/uring_engine.h"

namespace zbdkit::bench {
namespace {

constexpr int kCalls = 1000;
/// Coroutines that share a turn, as requests in flight do.
constexpr int kTogether = 32;

// Not inlined: the compiler would put the frame into that of its caller, and this is to measure
// one of its own.
[[gnu::noinline]] Task<int> end_at_once(int value) { co_return value; }
[[gnu::noinline]] Task<void> end_in_later_turn() { co_await NextTurn(); }
[[gnu::noinline]] Task<void> end_when_spawned() { co_return; }

Task<void> await_often() {
    for (int i = 0; i < kCalls; ++i) {
        const int value = co_await end_at_once(i);
        benchmark::DoNotOptimize(value);
    }
}

void await_ready(benchmark::State& state) {
    Reactor reactor(must(make_uring_engine()));
    for (auto _ : state) reactor.run_to_end(await_often());
    state.SetItemsProcessed(state.iterations() * kCalls);
}
BENCHMARK(await_ready);

Task<void> suspend_often() {
    for (int i = 0; i < kCalls; ++i) co_await end_in_later_turn();
}

Task<void> suspend_together() {
    TaskScope scope;
    for (int i = 0; i < kTogether; ++i) scope.spawn(suspend_often());
    co_await scope.join();
}

/// Each also has its share of a turn.
void await_suspended(benchmark::State& state) {
    Reactor reactor(must(make_uring_engine()));
    for (auto _ : state) reactor.run_to_end(suspend_together());
    state.SetItemsProcessed(state.iterations() * kCalls * kTogether);
}
BENCHMARK(await_suspended);

void spawn(benchmark::State& state) {
    TaskScope scope;
    for (auto _ : state) scope.spawn(end_when_spawned());
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(spawn);

}  // namespace
}  // namespace zbdkit::bench
