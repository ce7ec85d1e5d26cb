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

}  // namespace
}  // namespace zbdkit::vhost_user
