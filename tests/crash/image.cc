// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/image.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <thread>
#include <utility>

#include "tests/crash/daemon.h"
#include "tests/crash/disk_client.h"

namespace zbdkit::crash {
namespace {

constexpr std::chrono::seconds kPatience(30);
constexpr const char* kConfVariable = "ZBDKIT_TEST_CEPH_CONF";

/// A name that is not in use, also by what was made before.
std::string new_rbd_name() {
    static int count = 0;
    const char* const conf = std::getenv(kConfVariable);
    return fmt::format("rbd:rbd/killed-{}-{}:conf={}", ::getpid(), ++count,
                       conf == nullptr ? "" : conf);
}

/// How many sockets of this host have the name: one listens, each other one is a connection that
/// the server has not closed.
int sockets_at(const std::string& path) {
    std::ifstream table("/proc/net/unix");
    int count = 0;
    for (std::string line; std::getline(table, line);) {
        if (line.ends_with(" " + path)) ++count;
    }
    return count;
}

}  // namespace

Image::Image(Medium medium, std::string file) : medium_(medium) {
    if (medium != Medium::rbd) file_ = std::move(file);
    name_ = file_;
}

std::string Image::why_not(Medium medium) {
    if (medium == Medium::nbd && !test::Nbdkit::is_installed()) return "nbdkit is not installed";
    if (medium == Medium::rbd && std::getenv(kConfVariable) == nullptr) {
        return fmt::format("{} names no cluster: tests/ceph/cluster.py starts one", kConfVariable);
    }
    return "";
}

void Image::make(const std::string& zbdkit, const std::vector<std::string>& layout,
                 const std::string& log) {
    // What a killed daemon had open cannot be made anew before the cluster misses that.
    if (medium_ == Medium::rbd) name_ = new_rbd_name();
    std::vector<std::string> words{zbdkit, "create", "--force", file_.empty() ? name_ : file_};
    words.insert(words.end(), layout.begin(), layout.end());
    run_to_end(words, log);
    if (medium_ == Medium::nbd && !server_) {
        server_ = std::make_unique<test::Nbdkit>();
        // nbdkit 1.32 with several threads for a connection fails an assertion of its own
        // when the client is gone while they answer. There are several connections.
        server_->start({"--threads=1", "file", file_});
        name_ = server_->uri();
    }
}

std::vector<std::string> Image::serve_options() const {
    if (medium_ == Medium::rbd) return {"--force-takeover"};
    return {};
}

void Image::settle() const {
    if (!server_) return;
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (sockets_at(server_->socket().string()) > 1) {
        if (std::chrono::steady_clock::now() > deadline) give_up("nbdkit keeps a dead client");
        std::this_thread::sleep_for(std::chrono::milliseconds(1));  // nobody tells of it
    }
}

std::chrono::microseconds Image::start_time() const {
    // In a cluster it connects, takes a lock, and may have to break one first.
    return std::chrono::milliseconds(medium_ == Medium::rbd ? 200 : 20);
}

}  // namespace zbdkit::crash
