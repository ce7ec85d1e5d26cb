// SPDX-License-Identifier: Apache-2.0
#include "export/vhost_user/poll_window.h"

#include <gtest/gtest.h>

namespace zbdkit::vhost_user {
namespace {

constexpr std::uint64_t kBound = 50'000;

/// A pause of that length, from the moment at which nothing was found.
void pause(PollWindow& window, std::uint64_t length_ns) {
    static_cast<void>(window.nothing_found(1'000'000));
    window.something_found(1'000'000 + length_ns);
}

TEST(PollWindow, without_a_bound_nobody_looks_again) {
    PollWindow window(0);
    EXPECT_TRUE(window.is_off());
    EXPECT_FALSE(window.nothing_found(5));
    window.something_found(6);
    EXPECT_EQ(window.window_ns(), 0);
}

TEST(PollWindow, looks_until_the_window_has_passed) {
    PollWindow window(kBound);
    EXPECT_TRUE(window.nothing_found(100));
    EXPECT_TRUE(window.nothing_found(100 + kBound - 1));
    EXPECT_FALSE(window.nothing_found(100 + kBound));
    EXPECT_FALSE(window.nothing_found(100 + kBound + 1));
}

TEST(PollWindow, the_window_begins_anew_after_work) {
    PollWindow window(kBound);
    EXPECT_TRUE(window.nothing_found(100));
    window.something_found(200);
    EXPECT_TRUE(window.nothing_found(100 + kBound));
    EXPECT_FALSE(window.nothing_found(100 + 2 * kBound));
}

TEST(PollWindow, pauses_within_the_window_leave_it) {
    PollWindow window(kBound);
    pause(window, kBound - 1);
    EXPECT_EQ(window.window_ns(), kBound);
}

TEST(PollWindow, long_pauses_close_it) {
    PollWindow window(kBound);
    pause(window, kBound);
    EXPECT_EQ(window.window_ns(), kBound / 2);
    for (int i = 0; i < 10; ++i) pause(window, 10 * kBound);
    EXPECT_EQ(window.window_ns(), 0);
    EXPECT_FALSE(window.nothing_found(7));
}

TEST(PollWindow, a_pause_that_it_could_have_covered_opens_it) {
    PollWindow window(kBound);
    for (int i = 0; i < 10; ++i) pause(window, 10 * kBound);
    pause(window, 12'000);
    EXPECT_EQ(window.window_ns(), 24'000);
    pause(window, 30'000);
    EXPECT_EQ(window.window_ns(), kBound);
}

TEST(PollWindow, work_that_never_paused_changes_nothing) {
    PollWindow window(kBound);
    window.something_found(5 * kBound);
    EXPECT_EQ(window.window_ns(), kBound);
}

/// Storage that takes `storage_ns`, and a driver that takes `driver_ns` to go on.
void rounds(RingPolling& polling, std::uint64_t storage_ns, std::uint64_t driver_ns) {
    std::uint64_t now = 1'000'000;
    for (int i = 0; i < 20; ++i) {
        polling.requests_taken(now, 1);
        static_cast<void>(polling.nothing_found(now));
        now += storage_ns;
        static_cast<void>(polling.answered(now, 1, 0));
        now += driver_ns;
    }
    polling.requests_taken(now, 1);
}

TEST(RingPolling, without_a_bound_nobody_looks_again) {
    RingPolling polling(0);
    EXPECT_TRUE(polling.is_off());
    polling.requests_taken(1, 1);
    EXPECT_FALSE(polling.nothing_found(2));
    EXPECT_FALSE(polling.answered(3, 1, 0));
    EXPECT_FALSE(polling.nothing_found(4));
}

TEST(RingPolling, slow_storage_closes_its_own_window_only) {
    RingPolling polling(kBound);
    rounds(polling, 10 * kBound, 2'000);
    EXPECT_FALSE(polling.nothing_found(9'000'000'000));
    EXPECT_TRUE(polling.answered(9'000'500'000, 1, 0));
    EXPECT_TRUE(polling.nothing_found(9'000'501'000));
}

TEST(RingPolling, slow_driver_closes_its_own_window_only) {
    RingPolling polling(kBound);
    rounds(polling, 2'000, 10 * kBound);
    EXPECT_TRUE(polling.nothing_found(9'000'000'000));
    EXPECT_FALSE(polling.answered(9'000'001'000, 1, 0));
    EXPECT_FALSE(polling.nothing_found(9'000'001'000));
}

TEST(RingPolling, more_requests_meanwhile_are_no_answer) {
    RingPolling polling(kBound);
    polling.requests_taken(0, 1);
    EXPECT_TRUE(polling.nothing_found(0));
    polling.requests_taken(kBound / 2, 2);
    EXPECT_FALSE(polling.nothing_found(kBound));
}

TEST(RingPolling, answers_of_many_requests_are_not_looked_for) {
    RingPolling polling(kBound);
    polling.requests_taken(0, RingPolling::kFewRequests);
    EXPECT_TRUE(polling.nothing_found(0));
    polling.requests_taken(1, RingPolling::kFewRequests + 1);
    EXPECT_FALSE(polling.nothing_found(2));
    EXPECT_TRUE(polling.answered(3, 1, 0));
}

TEST(RingPolling, requests_after_many_answers_are_not_looked_for) {
    RingPolling polling(kBound);
    polling.requests_taken(0, 9);
    EXPECT_TRUE(polling.answered(1, RingPolling::kFewRequests, 0));
    EXPECT_FALSE(polling.answered(2, RingPolling::kFewRequests + 1, 0));
}

TEST(RingPolling, requests_beside_many_in_flight_are_not_looked_for) {
    RingPolling polling(kBound);
    polling.requests_taken(0, 9);
    EXPECT_FALSE(polling.answered(1, 1, 8));
    EXPECT_FALSE(polling.nothing_found(2));
    EXPECT_TRUE(polling.answered(3, 1, RingPolling::kFewRequests - 1));
    EXPECT_TRUE(polling.nothing_found(4));
}

TEST(RingPolling, requests_that_are_served_at_once_leave_only_the_driver_to_wait_for) {
    RingPolling polling(kBound);
    rounds(polling, 10 * kBound, 2'000);
    polling.requests_taken(9'000'000'000, 0);
    EXPECT_TRUE(polling.nothing_found(9'000'000'100));
}

}  // namespace
}  // namespace zbdkit::vhost_user
