// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/daemon.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <utility>

#include "tests/crash/disk_client.h"

namespace zbdkit::crash {
namespace {

pid_t spawn(std::vector<std::string> words, const std::string& log) {
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const pid_t parent = ::getpid();
    const pid_t child = ::fork();
    if (child < 0) give_up("cannot fork");
    if (child > 0) return child;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (::getppid() != parent || out < 0) ::_exit(127);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(out, STDERR_FILENO);
    ::execv(arguments.front(), arguments.data());
    ::_exit(127);
}

int wait_for(pid_t child) {
    int status = 0;
    if (::waitpid(child, &status, 0) != child) give_up("a child is gone");
    return status;
}

}  // namespace

void run_to_end(const std::vector<std::string>& words, const std::string& log) {
    const int status = wait_for(spawn(words, log));
    if (status != 0) give_up(fmt::format("'{}' failed; see {}", fmt::join(words, " "), log));
}

Daemon::~Daemon() {
    if (pid_ != 0) kill();
}

void Daemon::start() {
    std::vector<std::string> words{
        options_.zbdkit, "serve", options_.image, "--vhost-user", options_.socket,
        "--num-queues",  "2"};
    words.insert(words.end(), options_.more.begin(), options_.more.end());
    pid_ = spawn(std::move(words), options_.log);
}

void Daemon::kill() {
    ::kill(pid_, SIGKILL);
    const int status = wait_for(std::exchange(pid_, 0));
    // One that had ended before did so on its own.
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
        give_up("the daemon ended before it was killed; see " + options_.log);
    }
}

void Daemon::stop() {
    ::kill(pid_, SIGTERM);
    if (wait_for(std::exchange(pid_, 0)) != 0) {
        give_up("the daemon did not end well; see " + options_.log);
    }
}

}  // namespace zbdkit::crash
