// SPDX-License-Identifier: Apache-2.0
#include "tests/support/export/server_thread.h"

#include <cstdlib>
#include <filesystem>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "graph/backend.h"
#include "tests/support/io/uring_reactor.h"

namespace zbdkit::test {

TempFolder::TempFolder() {
    path_ = (std::filesystem::temp_directory_path() / "zbdkit-XXXXXX").string();
    ZBDKIT_ASSERT(::mkdtemp(path_.data()) != nullptr);
}

TempFolder::~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

ServerThread::ServerThread(const Options& options) : thread_([this, options] { serve(options); }) {
    ready_.acquire();
}

void ServerThread::serve(const Options& options) {
    spdlog::set_level(spdlog::level::off);  // the tests do everything that is to be logged
    UringReactor reactor;
    auto disk = std::make_unique<FakeDisk>(reactor, options.model);
    disk_ = disk.get();
    BlockBackend backend(std::move(disk));
    auto server = vhost_user::Server::listen(reactor, backend,
                                             {.socket_path = path_, .device = options.device});
    ZBDKIT_ASSERT(server.has_value());
    reactor_ = &reactor;
    server_ = server->get();
    ready_.release();
    reactor.run_to_end(server_->run());
    const Outcome<void> closed = reactor.run_to_end(backend.close());
    ZBDKIT_ASSERT(closed.has_value());
    const std::scoped_lock no_more_posts(post_lock_);
    reactor_ = nullptr;
}

bool ServerThread::post(std::move_only_function<void()> work) {
    const std::scoped_lock held(post_lock_);
    if (reactor_ == nullptr) return false;
    reactor_->post(std::move(work));
    return true;
}

void ServerThread::begin_stop() {
    post([server = server_] { server->stop(); });
}

void ServerThread::stop() {
    if (!thread_.joinable()) return;
    begin_stop();
    thread_.join();
}

}  // namespace zbdkit::test
