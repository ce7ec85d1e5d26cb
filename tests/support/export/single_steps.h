// SPDX-License-Identifier: Apache-2.0
// Every state that memory goes through while some work is done on it: what a process that is killed
// over that work may leave. The work runs in a child, one machine instruction after the other.
#pragma once

#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <optional>
#include <vector>

#include "base/bytes.h"

namespace zbdkit::test {

using MemoryState = std::vector<std::byte>;

/// @param shared  memory that a child shares with this process
/// @param work    what the child does; nothing of it is seen here but what it does to `shared`
/// @return the states in their order, the first of them that before the work; none if the child did
///         not end well; nothing if this process may not trace another one
template <class Work>
[[nodiscard]] std::optional<std::vector<MemoryState>> states_during(ConstBytes shared, Work work) {
    constexpr int kUntraced = 77;
    const pid_t child = ::fork();
    if (child == 0) {
        if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(kUntraced);
        ::raise(SIGSTOP);
        work();
        ::_exit(0);
    }
    std::vector<MemoryState> states = {MemoryState(shared.begin(), shared.end())};
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child) return std::nullopt;
    if (WIFEXITED(status) && WEXITSTATUS(status) == kUntraced) return std::nullopt;
    while (WIFSTOPPED(status)) {
        // Another signal than those of the trace: the work went wrong.
        const int stop = WSTOPSIG(status);
        if (stop != SIGTRAP && stop != SIGSTOP) {
            ::kill(child, SIGKILL);
            ::waitpid(child, &status, 0);
            break;
        }
        if (!std::ranges::equal(shared, states.back())) {
            states.emplace_back(shared.begin(), shared.end());
        }
        if (::ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) != 0) return std::nullopt;
        if (::waitpid(child, &status, 0) != child) return std::nullopt;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) states.clear();
    return states;
}

}  // namespace zbdkit::test
