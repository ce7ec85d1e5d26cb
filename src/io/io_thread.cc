// SPDX-License-Identifier: Apache-2.0
#include "io/io_thread.h"

#include <fmt/format.h>
#include <pthread.h>

#include <system_error>
#include <utility>

#include "io/run_queue.h"
#include "io/uring_engine.h"

namespace zbdkit {
namespace {

/// What the kernel keeps of a thread's name.
constexpr std::size_t kNameBytes = 15;

}  // namespace

Outcome<std::unique_ptr<IoThread>> IoThread::start(const std::string& id) {
    Outcome<std::unique_ptr<IoEngine>> engine = make_uring_engine();
    if (!engine) {
        return failure(fmt::format("iothread '{}': {}", id, engine.error().message),
                       engine.error().code);
    }
    std::unique_ptr<IoThread> made(new IoThread(std::move(*engine)));
    const std::string name = fmt::format("zbdkit/{}", id).substr(0, kNameBytes);
    try {
        made->thread_ = std::thread([&reactor = made->reactor_, name] {
            ::pthread_setname_np(::pthread_self(), name.c_str());
            reactor.run();
        });
    } catch (const std::system_error& error) {
        return failure(fmt::format("iothread '{}': cannot start a thread: {}", id, error.what()),
                       Errc::no_space);
    }
    return made;
}

IoThread::~IoThread() {
    if (!thread_.joinable()) return;
    // By a post, so that what was posted before is done first.
    reactor_.post([this] { reactor_.stop(); });
    thread_.join();
}

void IoThread::Call::await_suspend(std::coroutine_handle<> waiting) {
    thread.reactor_.post([this, waiting] { thread.scope_.spawn(drive(*this, waiting)); });
}

Task<void> IoThread::drive(Call& call, std::coroutine_handle<> waiting) {
    Reactor& home = call.home;
    Task<void> task = call.work();
    co_await std::move(task);
    // From here on the caller may run, and the call with its frame be gone.
    home.post([waiting] { run_chain(waiting); });
}

}  // namespace zbdkit
