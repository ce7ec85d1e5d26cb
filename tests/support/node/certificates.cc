// SPDX-License-Identifier: Apache-2.0
#include "tests/support/node/certificates.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "base/assert.h"

namespace zbdkit::test {
namespace {

constexpr const char* kOpenssl = "/usr/bin/openssl";

void run_openssl(std::vector<std::string> words) {
    words.insert(words.begin(), kOpenssl);
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    pid_t process = 0;
    const int spawned =
        ::posix_spawn(&process, kOpenssl, &actions, nullptr, argv.data(), ::environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ZBDKIT_ASSERT(spawned == 0);
    int status = 0;
    ZBDKIT_ASSERT(::waitpid(process, &status, 0) == process);
    ZBDKIT_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

std::vector<std::string> new_key(const std::filesystem::path& file) {
    return {"-newkey", "ec",      "-pkeyopt",   "ec_paramgen_curve:prime256v1",
            "-nodes",  "-keyout", file.string()};
}

void append(std::vector<std::string>& words, const std::vector<std::string>& more) {
    words.insert(words.end(), more.begin(), more.end());
}

}  // namespace

bool Authority::is_available() { return ::access(kOpenssl, X_OK) == 0; }

Authority::Authority(std::filesystem::path folder) : folder_(std::move(folder)) {
    std::filesystem::create_directories(folder_);
    std::vector<std::string> words = {"req", "-x509"};
    append(words, new_key(folder_ / "ca-key.pem"));
    append(words, {"-out", folder_ / "ca-cert.pem", "-days", "2", "-subj", "/CN=test authority"});
    run_openssl(words);
}

void Authority::certify_server(const std::filesystem::path& folder, const std::string& name,
                               int days) {
    certify(folder, "server", name, days);
}

void Authority::certify_client(const std::filesystem::path& folder) {
    certify(folder, "client", "DNS:client", 2);
}

void Authority::certify(const std::filesystem::path& folder, const std::string& role,
                        const std::string& name, int days) {
    std::filesystem::create_directories(folder);
    const std::string request = folder / (role + "-request.pem");
    std::vector<std::string> words = {"req"};
    append(words, new_key(folder / (role + "-key.pem")));
    append(words, {"-out", request, "-subj", "/CN=" + role, "-addext", "subjectAltName=" + name});
    run_openssl(words);
    run_openssl({"x509", "-req", "-in", request, "-CA", folder_ / "ca-cert.pem", "-CAkey",
                 folder_ / "ca-key.pem", "-CAcreateserial", "-days", std::to_string(days),
                 "-copy_extensions", "copyall", "-out", folder / (role + "-cert.pem")});
    std::filesystem::copy_file(folder_ / "ca-cert.pem", folder / "ca-cert.pem",
                               std::filesystem::copy_options::overwrite_existing);
}

}  // namespace zbdkit::test
