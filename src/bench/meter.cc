// SPDX-License-Identifier: Apache-2.0
#include "bench/meter.h"

#include <ctime>

namespace zbdkit::bench {
namespace {

std::uint64_t read_clock(clockid_t clock) {
    timespec time{};
    ::clock_gettime(clock, &time);
    constexpr std::uint64_t kSecond = 1'000'000'000;
    return static_cast<std::uint64_t>(time.tv_sec) * kSecond +
           static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace

std::uint64_t clock_ns() { return read_clock(CLOCK_MONOTONIC); }

void Meter::begin() {
    server_begin_ = sample_process(server_pid_);
    client_cpu_begin_ns_ = read_clock(CLOCK_THREAD_CPUTIME_ID);
    begin_ns_ = clock_ns();
    is_running_ = true;
}

void Meter::end(std::uint64_t now_ns) {
    is_running_ = false;
    elapsed_ns = now_ns - begin_ns_;
    client_cpu_ns = read_clock(CLOCK_THREAD_CPUTIME_ID) - client_cpu_begin_ns_;
    server = use_between(server_begin_, sample_process(server_pid_));
}

}  // namespace zbdkit::bench
