// SPDX-License-Identifier: Apache-2.0
#include "io/wake_signal.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <utility>

namespace zbdkit {
namespace {

WakeSignal make_signal() { return WakeSignal(UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))); }

bool is_readable(int fd) {
    pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
    return ::poll(&entry, 1, 0) == 1;
}

TEST(WakeSignal, raised_before_the_wait_forbids_to_sleep) {
    WakeSignal signal = make_signal();
    signal.raise();
    EXPECT_FALSE(signal.begin_wait());
}

TEST(WakeSignal, raised_while_nobody_waits_needs_no_eventfd) {
    WakeSignal signal = make_signal();
    signal.raise();
    EXPECT_FALSE(is_readable(signal.fd()));
}

TEST(WakeSignal, raised_during_the_wait_makes_the_eventfd_readable) {
    WakeSignal signal = make_signal();
    EXPECT_TRUE(signal.begin_wait());
    signal.raise();
    EXPECT_TRUE(is_readable(signal.fd()));
}

TEST(WakeSignal, many_raises_are_one) {
    WakeSignal signal = make_signal();
    EXPECT_TRUE(signal.begin_wait());
    for (int i = 0; i < 1000; ++i) signal.raise();
    eventfd_t count = 0;
    EXPECT_EQ(::eventfd_read(signal.fd(), &count), 0);
    EXPECT_EQ(count, 1U);
}

TEST(WakeSignal, taken_down_it_lets_the_next_wait_sleep) {
    WakeSignal signal = make_signal();
    signal.raise();
    signal.end_wait();
    EXPECT_TRUE(signal.begin_wait());
}

TEST(WakeSignal, drained_eventfd_is_not_readable) {
    WakeSignal signal = make_signal();
    EXPECT_TRUE(signal.begin_wait());
    signal.raise();
    signal.drain();
    signal.drain();
    EXPECT_FALSE(is_readable(signal.fd()));
}

}  // namespace
}  // namespace zbdkit
