// SPDX-License-Identifier: Apache-2.0
#include "bench/server_process.h"

#include <dirent.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace zbdkit::bench {
namespace {

std::vector<pid_t> threads_of(pid_t pid) {
    std::vector<pid_t> threads;
    DIR* folder = ::opendir(fmt::format("/proc/{}/task", pid).c_str());
    if (folder == nullptr) return threads;
    while (const dirent* entry = ::readdir(folder)) {
        const std::string_view name(entry->d_name);
        pid_t thread = 0;
        const auto [end, error] = std::from_chars(name.begin(), name.end(), thread);
        if (error == std::errc() && end == name.end()) threads.push_back(thread);
    }
    ::closedir(folder);
    return threads;
}

std::string read_file(const std::string& path) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

/// The first number of schedstat: time on a CPU, in ns.
std::optional<std::uint64_t> cpu_of_schedstat(const std::string& text) {
    std::istringstream words(text);
    std::uint64_t cpu_ns = 0;
    if (words >> cpu_ns) return cpu_ns;
    return {};
}

/// The fields 14 and 15 of stat: ticks in user and kernel mode. A name may have spaces and
/// brackets.
std::optional<std::uint64_t> cpu_of_stat(const std::string& text) {
    const std::size_t name_end = text.rfind(')');
    if (name_end == std::string::npos) return {};
    std::istringstream words(text.substr(name_end + 1));
    std::string skipped;
    for (int field = 3; field < 14; ++field) words >> skipped;
    std::uint64_t user = 0;
    std::uint64_t kernel = 0;
    if (!(words >> user >> kernel)) return {};
    return (user + kernel) * (1'000'000'000 / static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK)));
}

std::optional<std::uint64_t> switches_of(const std::string& text) {
    constexpr std::string_view kKey = "\nvoluntary_ctxt_switches:";
    const std::size_t at = text.find(kKey);
    if (at == std::string::npos) return {};
    std::istringstream words(text.substr(at + kKey.size()));
    std::uint64_t switches = 0;
    if (words >> switches) return switches;
    return {};
}

}  // namespace

ProcessSample sample_process(pid_t pid) {
    ProcessSample sample;
    if (pid == 0) return sample;
    const std::vector<pid_t> threads = threads_of(pid);
    sample.has_cpu = !threads.empty();
    sample.has_switches = !threads.empty();
    for (const pid_t thread : threads) {
        const std::string folder = fmt::format("/proc/{}/task/{}/", pid, thread);
        std::optional<std::uint64_t> cpu = cpu_of_schedstat(read_file(folder + "schedstat"));
        if (!cpu) cpu = cpu_of_stat(read_file(folder + "stat"));
        const std::optional<std::uint64_t> switches = switches_of(read_file(folder + "status"));
        // One that ended while we looked has nothing left to read.
        const bool is_gone = ::access(folder.c_str(), F_OK) != 0;
        if (is_gone) continue;
        sample.has_cpu = sample.has_cpu && cpu.has_value();
        sample.has_switches = sample.has_switches && switches.has_value();
        sample.threads[thread] = {.cpu_ns = cpu.value_or(0),
                                  .voluntary_switches = switches.value_or(0)};
    }
    return sample;
}

ProcessUse use_between(const ProcessSample& before, const ProcessSample& after) {
    std::uint64_t cpu_ns = 0;
    std::uint64_t switches = 0;
    for (const auto& [thread, now] : after.threads) {
        const auto found = before.threads.find(thread);
        const ProcessSample::Thread then =
            found == before.threads.end() ? ProcessSample::Thread() : found->second;
        cpu_ns += now.cpu_ns - then.cpu_ns;
        switches += now.voluntary_switches - then.voluntary_switches;
    }
    ProcessUse use;
    if (before.has_cpu && after.has_cpu) use.cpu_ns = cpu_ns;
    if (before.has_switches && after.has_switches) use.voluntary_switches = switches;
    return use;
}

}  // namespace zbdkit::bench
