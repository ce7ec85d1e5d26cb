// SPDX-License-Identifier: Apache-2.0
// IoThread: a thread with a reactor of its own over io_uring, for graphs that are served beside
// those of other threads. What it is to do comes by post() of its reactor or by run(). It belongs
// to another thread, which ends it.
#pragma once

#include <coroutine>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "base/error.h"
#include "io/reactor.h"
#include "io/scope.h"
#include "io/task.h"

namespace zbdkit {

class IoThread {
  public:
    /// Makes what a thread is to run; called on that thread.
    using Work = std::move_only_function<Task<void>()>;

    /// Makes an io_uring and a thread, which then waits for work.
    /// @param id  goes into the thread's name, "zbdkit/ID", of which the kernel keeps 15 bytes
    /// Errors: the host has no usable io_uring, or no thread left; the message names the id.
    [[nodiscard]] static Outcome<std::unique_ptr<IoThread>> start(const std::string& id);
    IoThread(const IoThread&) = delete;
    IoThread& operator=(const IoThread&) = delete;
    /// Ends the thread after what was posted so far, and waits for that. No run() may be under way.
    ~IoThread();

    [[nodiscard]] Reactor& reactor() { return reactor_; }

    struct Call {
        IoThread& thread;
        Reactor& home;
        Work work;

        Call(IoThread& owner, Reactor& reactor, Work function)
            : thread(owner), home(reactor), work(std::move(function)) {}
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> waiting);
        void await_resume() const noexcept {}
    };

    /// Runs a coroutine on the thread, from its first line to its last, and resumes the caller on
    /// `home`, whose reactor must outlive this thread. What the coroutine did is visible then.
    /// The awaited call must be a named object (see the coroutine rules):
    /// `IoThread::Call call = thread.run(home, work); co_await call;`
    /// Thread: that of `home`.
    [[nodiscard]] Call run(Reactor& home, Work work) { return Call(*this, home, std::move(work)); }

  private:
    explicit IoThread(std::unique_ptr<IoEngine> engine) : reactor_(std::move(engine)) {}
    [[nodiscard]] static Task<void> drive(Call& call, std::coroutine_handle<> waiting);

    Reactor reactor_;
    TaskScope scope_;  // of the calls under way; touched by the thread alone
    std::thread thread_;
};

}  // namespace zbdkit
