// SPDX-License-Identifier: Apache-2.0
#include "io/alarm.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "io/scope.h"
#include "io/task.h"
#include "tests/support/io/manual_engine.h"

namespace zbdkit {
namespace {

constexpr std::uint64_t kHour = 3600ULL * 1'000'000'000;

Task<void> sleep(Alarm& alarm, std::uint64_t due_ns, std::optional<bool>* passed) {
    const bool has_passed = co_await alarm.until(due_ns);
    *passed = has_passed;
}

struct SleepingAlarm : testing::Test {
    void run_to_end() {
        while (scope.running() != 0) reactor.turn(true);
    }

    Reactor reactor{std::make_unique<test::ManualEngine>()};
    Alarm alarm{reactor};
    std::optional<bool> passed;
    TaskScope scope;
};

TEST_F(SleepingAlarm, left_alone_sleeps_until_the_time_has_come) {
    const std::uint64_t start_ns = reactor.now_ns();
    scope.spawn(sleep(alarm, start_ns + kHour, &passed));
    EXPECT_EQ(passed, std::nullopt);
    run_to_end();
    EXPECT_EQ(passed, true);
    EXPECT_GE(reactor.now_ns(), start_ns + kHour);
}

TEST_F(SleepingAlarm, cut_wakes_before_the_time_and_in_a_later_turn) {
    const std::uint64_t start_ns = reactor.now_ns();
    scope.spawn(sleep(alarm, start_ns + kHour, &passed));
    alarm.cut();
    alarm.cut();
    EXPECT_EQ(passed, std::nullopt);
    run_to_end();
    EXPECT_EQ(passed, false);
    EXPECT_LT(reactor.now_ns(), start_ns + kHour);
}

TEST_F(SleepingAlarm, cut_without_a_sleeper_leaves_the_next_one_alone) {
    alarm.cut();
    scope.spawn(sleep(alarm, reactor.now_ns() + kHour, &passed));
    run_to_end();
    EXPECT_EQ(passed, true);
}

TEST_F(SleepingAlarm, cut_among_others_leaves_their_order) {
    Alarm early(reactor);
    Alarm late(reactor);
    std::optional<bool> early_passed;
    std::optional<bool> late_passed;
    const std::uint64_t start_ns = reactor.now_ns();
    scope.spawn(sleep(late, start_ns + 3 * kHour, &late_passed));
    scope.spawn(sleep(alarm, start_ns + kHour, &passed));
    scope.spawn(sleep(early, start_ns + 2 * kHour, &early_passed));
    alarm.cut();
    while (!early_passed) reactor.turn(true);
    EXPECT_EQ(passed, false);
    EXPECT_EQ(late_passed, std::nullopt);
    run_to_end();
    EXPECT_EQ(late_passed, true);
}

}  // namespace
}  // namespace zbdkit
