// SPDX-License-Identifier: Apache-2.0
#include "app/stop_signals.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "app/exit_status.h"

namespace zbdkit::app {
namespace {

sigset_t stop_set() {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, number);
    return set;
}

/// Only what a signal handler may do.
void on_second_signal(int /*number*/) {
    constexpr char kText[] =
        "zbdkit: serve: second signal: leaving at once, the image stays "
        "marked as in use\n";
    const ssize_t written = ::write(STDERR_FILENO, kText, sizeof kText - 1);
    static_cast<void>(written);
    ::_exit(kFailure);
}

}  // namespace

Outcome<StopSignals> StopSignals::take() {
    const sigset_t set = stop_set();
    ::signal(SIGPIPE, SIG_IGN);
    if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0) {
        return failure(fmt::format("cannot block signals: {}", std::strerror(errno)));
    }
    UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd) return failure(fmt::format("cannot make a signalfd: {}", std::strerror(errno)));
    return StopSignals(std::move(fd));
}

const char* StopSignals::read() {
    signalfd_siginfo info{};
    if (::read(fd_.get(), &info, sizeof info) != sizeof info) return "";
    switch (info.ssi_signo) {
        case SIGINT: return "SIGINT";
        case SIGTERM: return "SIGTERM";
        case SIGHUP: return "SIGHUP";
        default: return "a signal";
    }
}

void StopSignals::end_at_once() {
    const sigset_t set = stop_set();
    struct sigaction action{};
    action.sa_handler = on_second_signal;
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(number, &action, nullptr);
    ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace zbdkit::app
