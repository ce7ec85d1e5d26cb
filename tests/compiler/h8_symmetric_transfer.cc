// SPDX-License-Identifier: Apache-2.0
// H8: symmetric transfer. Where the compiler makes no tail call of it, each await of a ready task
// stays on the stack; GCC makes none without optimisation or with a sanitizer. Task uses a
// trampoline instead (R3); this canary says when that is not needed any more.
#include <gtest/gtest.h>

#include <coroutine>
#include <cstdlib>
#include <utility>

namespace zbdkit::canary {
namespace {

/// The textbook task, with a handle returned from each await_suspend.
class Transfer {
  public:
    struct promise_type {
        std::coroutine_handle<> continuation = std::noop_coroutine();
        int value = 0;

        struct Final {
            bool await_ready() const noexcept { return false; }
            std::coroutine_handle<> await_suspend(
                std::coroutine_handle<promise_type> self) const noexcept {
                return self.promise().continuation;
            }
            void await_resume() const noexcept {}
        };
        Transfer get_return_object() {
            return Transfer(std::coroutine_handle<promise_type>::from_promise(*this));
        }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        Final final_suspend() const noexcept { return {}; }
        void return_value(int result) { value = result; }
        [[noreturn]] void unhandled_exception() const noexcept { std::abort(); }
    };

    explicit Transfer(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
    Transfer(Transfer&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
    Transfer(const Transfer&) = delete;
    Transfer& operator=(const Transfer&) = delete;
    Transfer& operator=(Transfer&&) = delete;
    ~Transfer() {
        if (handle_) handle_.destroy();
    }

    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiting) const noexcept {
        handle_.promise().continuation = awaiting;
        return handle_;
    }
    int await_resume() const noexcept { return handle_.promise().value; }

    int run() const {
        handle_.resume();
        return handle_.promise().value;
    }

  private:
    std::coroutine_handle<promise_type> handle_;
};

Transfer one() { co_return 1; }

Transfer add_up(int count) {
    int total = 0;
    for (int i = 0; i < count; ++i) {
        const int value = co_await one();
        total += value;
    }
    co_return total;
}

TEST(H8, two_million_symmetric_transfers_do_not_grow_the_stack) {
#ifndef __clang__
    GTEST_SKIP() << "GCC overflows the stack here at -O0 and with sanitizers";
#endif
    EXPECT_EQ(add_up(2'000'000).run(), 2'000'000);
}

}  // namespace
}  // namespace zbdkit::canary
