// SPDX-License-Identifier: Apache-2.0
#include "bench/server_process.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <ctime>

namespace zbdkit::bench {
namespace {

TEST(ServerProcess, our_own_use_grows) {
    const ProcessSample before = sample_process(::getpid());
    const std::clock_t start = std::clock();
    while (std::clock() - start < CLOCKS_PER_SEC / 20) {
    }
    const ProcessUse use = use_between(before, sample_process(::getpid()));
    ASSERT_TRUE(use.cpu_ns.has_value());
    EXPECT_GT(*use.cpu_ns, 20'000'000U);
    EXPECT_TRUE(use.voluntary_switches.has_value());
}

TEST(ServerProcess, of_nobody_nothing_is_known) {
    const ProcessUse use = use_between(sample_process(0), sample_process(0));
    EXPECT_FALSE(use.cpu_ns.has_value());
    EXPECT_FALSE(use.voluntary_switches.has_value());
}

TEST(ServerProcess, threads_that_come_and_go_do_not_make_it_shrink) {
    ProcessSample before{.threads = {}, .has_cpu = true, .has_switches = true};
    before.threads[1] = {.cpu_ns = 100, .voluntary_switches = 1};
    before.threads[2] = {.cpu_ns = 5000, .voluntary_switches = 50};
    ProcessSample after{.threads = {}, .has_cpu = true, .has_switches = true};
    after.threads[1] = {.cpu_ns = 300, .voluntary_switches = 4};
    after.threads[3] = {.cpu_ns = 40, .voluntary_switches = 2};
    const ProcessUse use = use_between(before, after);
    EXPECT_EQ(use.cpu_ns, 240U);
    EXPECT_EQ(use.voluntary_switches, 5U);
}

}  // namespace
}  // namespace zbdkit::bench
