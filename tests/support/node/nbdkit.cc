// SPDX-License-Identifier: Apache-2.0
#include "tests/support/node/nbdkit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "base/assert.h"
#include "tests/support/node/listening_port.h"

namespace zbdkit::test {
namespace {

/// Where a server looks for sockets that it is handed.
constexpr int kFirstHandedFd = 3;
constexpr std::string_view kPidVariable = "LISTEN_PID=";

UniqueFd listening_socket(const std::string& path) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    ZBDKIT_ASSERT(path.size() < sizeof(address.sun_path));
    std::ranges::copy(path, std::begin(address.sun_path));
    std::filesystem::remove(path);
    ZBDKIT_ASSERT(::bind(fd.get(), static_cast<sockaddr*>(static_cast<void*>(&address)),
                         sizeof(address)) == 0);
    ZBDKIT_ASSERT(::listen(fd.get(), 16) == 0);
    return fd;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
    std::vector<char*> list;
    for (std::string& word : words) list.push_back(word.data());
    list.push_back(nullptr);
    return list;
}

/// That of this process, without what concerns sockets that this one was handed.
std::vector<std::string> environment_for(std::size_t socket_count) {
    std::vector<std::string> words;
    for (char** entry = ::environ; *entry != nullptr; ++entry) {
        if (!std::string_view(*entry).starts_with("LISTEN_")) words.emplace_back(*entry);
    }
    words.push_back("LISTEN_FDS=" + std::to_string(socket_count));
    // The number goes in after the fork, where nothing may be allocated.
    words.push_back(std::string(kPidVariable) + std::string(20, '\0'));
    return words;
}

}  // namespace

bool Nbdkit::is_installed() { return ::access("/usr/bin/nbdkit", X_OK) == 0; }

Nbdkit::Nbdkit() {
    std::string name = (std::filesystem::temp_directory_path() / "zbdkit-nbd-XXXXXX").string();
    ZBDKIT_ASSERT(::mkdtemp(name.data()) != nullptr);
    folder_ = name;
}

Nbdkit::~Nbdkit() {
    kill();
    std::filesystem::remove_all(folder_);
}

void Nbdkit::start(const std::vector<std::string>& arguments) {
    start_with(listening_socket(socket().string()), arguments);
}

void Nbdkit::start_on(const std::string& address, const std::vector<std::string>& arguments) {
    port_listener_ = listening_port(address);
    ZBDKIT_ASSERT(port_listener_);
    start_with(port_listener_, arguments);
}

void Nbdkit::start_with(const UniqueFd& listener, const std::vector<std::string>& arguments) {
    ZBDKIT_ASSERT(process_ == 0);
    const UniqueFd log(
        ::open((folder_ / "server.log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    std::vector<std::string> words = {"/usr/bin/nbdkit", "--foreground"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<std::string> environment = environment_for(1);
    const std::vector<char*> argv = pointers(words);
    const std::vector<char*> envp = pointers(environment);
    std::string& pid = environment.back();
    process_ = ::fork();
    if (process_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        std::to_chars(pid.data() + kPidVariable.size(), pid.data() + pid.size(), ::getpid());
        // A copy onto itself would keep its mark to be closed.
        const int moved = ::fcntl(listener.get(), F_DUPFD, kFirstHandedFd + 1);
        ::dup2(moved, kFirstHandedFd);
        ::close(moved);
        ::dup2(log.get(), STDERR_FILENO);
        ::execve(argv[0], argv.data(), envp.data());
        ::_exit(127);
    }
    ZBDKIT_ASSERT(process_ > 0);
}

void Nbdkit::kill() {
    if (process_ == 0) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
    process_ = 0;
}

void Nbdkit::freeze() const {
    ::kill(process_, SIGSTOP);
    int status = 0;
    ZBDKIT_ASSERT(::waitpid(process_, &status, WUNTRACED) == process_ && WIFSTOPPED(status));
}

void Nbdkit::thaw() const { ::kill(process_, SIGCONT); }

std::uint16_t Nbdkit::port() const { return port_of(port_listener_); }

std::string Nbdkit::uri(const std::string& scheme, const std::string& export_name) const {
    return scheme + "+unix:///" + export_name + "?socket=" + socket().string();
}

}  // namespace zbdkit::test
