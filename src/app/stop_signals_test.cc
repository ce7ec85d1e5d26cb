// SPDX-License-Identifier: Apache-2.0
#include "app/stop_signals.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <string_view>

namespace zbdkit::app {
namespace {

/// Signals once, and once more; runs in a child.
[[noreturn]] void signal_twice() {
    Outcome<StopSignals> signals = StopSignals::take();
    if (!signals) ::_exit(100);
    ::raise(SIGTERM);
    pollfd readable = {.fd = signals->fd(), .events = POLLIN, .revents = 0};
    if (::poll(&readable, 1, 0) != 1) ::_exit(101);
    if (std::string_view(signals->read()) != "SIGTERM") ::_exit(102);
    if (std::string_view(signals->read()) != "") ::_exit(103);
    StopSignals::end_at_once();
    ::raise(SIGINT);
    ::_exit(104);
}

TEST(StopSignalsDeathTest, second_signal_ends_at_once_and_says_so) {
    EXPECT_EXIT(signal_twice(), testing::ExitedWithCode(1), "second signal: leaving at once");
}

}  // namespace
}  // namespace zbdkit::app
