// SPDX-License-Identifier: Apache-2.0
// Task<T>: a lazy coroutine with one owner. It starts when it is awaited, on the awaiter's thread,
// and its frame is gone before the awaiter's next statement. No exceptions: a value that can fail
// is a Task<Result<T>>, and `co_await ok(task)` unwraps it or returns the error from the enclosing
// coroutine.
//
// A task that needs to wait for nothing is as good as a call: it runs on the awaiter's stack, and
// the awaiter does not suspend. One that waits is resumed later, and with it whoever awaits it, by
// the trampoline (run_queue.h): the stack is as deep as tasks that start are nested, and does not
// grow with how many there are.
//
// Rules (docs/style.md, "Coroutines"): co_await stands alone; arguments of an awaited call are
// named, scalar or trivially destructible.
#pragma once

#include <coroutine>
#include <cstdlib>
#include <expected>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/assert.h"
#include "base/error.h"
#include "io/frame_pool.h"
#include "io/run_queue.h"

namespace zbdkit {

template <class T>
class Task;

namespace detail {

/// @param handle  nobody for a task whose awaiter has not suspended: it ended at once
inline void run_next(std::coroutine_handle<> handle) {
    if (handle) set_next(handle);
}

struct PromiseBase {
    /// Who awaits this task.
    std::coroutine_handle<> continuation;
    /// Set by ok(): the promise of the coroutine that awaits, and the function that decides
    /// whether it goes on or is left with the error.
    PromiseBase* enclosing = nullptr;
    std::coroutine_handle<> (*route)(PromiseBase& finished) = nullptr;

    /// Who runs after this coroutine has its value.
    std::coroutine_handle<> successor() { return route == nullptr ? continuation : route(*this); }

    static void* operator new(std::size_t size) { return allocate_frame(size); }
    static void operator delete(void* frame, std::size_t size) noexcept { free_frame(frame, size); }

    struct FinalAwaiter {
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        void await_suspend(std::coroutine_handle<Promise> self) const noexcept {
            run_next(self.promise().successor());
        }
        void await_resume() const noexcept {}
    };

    std::suspend_always initial_suspend() const noexcept { return {}; }
    FinalAwaiter final_suspend() const noexcept { return {}; }
    [[noreturn]] void unhandled_exception() const noexcept { std::abort(); }
};

template <class T>
struct Promise : PromiseBase {
    std::optional<T> value;

    Task<T> get_return_object();
    template <class U>
    void return_value(U&& result) {
        value.emplace(std::forward<U>(result));
    }
    T take() {
        ZBDKIT_ASSERT(value.has_value());
        return std::move(*value);
    }
    /// Whether the coroutine has ended, or was left by ok(): there is nothing to wait for.
    [[nodiscard]] bool has_ended() const { return value.has_value(); }
};

template <>
struct Promise<void> : PromiseBase {
    Task<void> get_return_object();
    void return_void() noexcept { ended = true; }
    void take() const noexcept {}
    [[nodiscard]] bool has_ended() const { return ended; }

    bool ended = false;
};

}  // namespace detail

template <class T>
class [[nodiscard]] Task {
  public:
    using promise_type = detail::Promise<T>;
    using value_type = T;

    Task() = default;
    explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
    Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
    Task& operator=(Task&& other) noexcept {
        if (this != &other) {
            destroy();
            handle_ = std::exchange(other.handle_, {});
        }
        return *this;
    }
    Task(const Task&) = delete;
    Task& operator=(const Task&) = delete;
    ~Task() { destroy(); }

    struct Awaiter {
        std::coroutine_handle<promise_type> handle;

        Awaiter(std::coroutine_handle<promise_type> task) : handle(task) {}
        Awaiter(Awaiter&& other) noexcept : handle(std::exchange(other.handle, {})) {}
        Awaiter(const Awaiter&) = delete;
        Awaiter& operator=(const Awaiter&) = delete;
        Awaiter& operator=(Awaiter&&) = delete;
        ~Awaiter() {
            if (handle) handle.destroy();
        }

        /// Runs the task up to its first wait.
        bool await_ready() const {
            handle.resume();
            return handle.promise().has_ended();
        }
        void await_suspend(std::coroutine_handle<> awaiting) noexcept {
            handle.promise().continuation = awaiting;
        }
        T await_resume() {
            // The frame goes now, and with it the guards of a coroutine that ok() left early.
            const FrameOwner owner{std::exchange(handle, {})};
            return owner.handle.promise().take();
        }

        struct FrameOwner {
            std::coroutine_handle<promise_type> handle;
            ~FrameOwner() { handle.destroy(); }
        };
    };

    /// Of a task that was started: waits for the rest of it.
    struct Rest : Awaiter {
        using Awaiter::Awaiter;
        bool await_ready() const { return this->handle.promise().has_ended(); }
    };

    /// Runs the task up to its first wait, for an owner that awaits it only if it has one: then
    /// with rest(). Once.
    /// @return whether it has ended
    bool start() {
        ZBDKIT_ASSERT(handle_);
        handle_.resume();
        return handle_.promise().has_ended();
    }
    Rest rest() && {
        ZBDKIT_ASSERT(handle_);
        return Rest(std::exchange(handle_, {}));
    }

    Awaiter operator co_await() && {
        ZBDKIT_ASSERT(handle_);
        return Awaiter(std::exchange(handle_, {}));
    }

  private:
    void destroy() {
        if (handle_) std::exchange(handle_, {}).destroy();
    }

    std::coroutine_handle<promise_type> handle_;
};

template <class T>
Task<T> detail::Promise<T>::get_return_object() {
    return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}
inline Task<void> detail::Promise<void>::get_return_object() {
    return Task<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}

namespace detail {

/// Leaves the coroutine of `enclosing` with an error: its value becomes the error, and its own
/// awaiter goes on and destroys the frame, which runs the guards in it.
/// @return who runs next
template <class Promise, class E>
std::coroutine_handle<> leave_with_error(Promise& enclosing, E&& error) {
    enclosing.value.emplace(std::unexpected(std::forward<E>(error)));
    return enclosing.successor();
}

template <class T, class E>
struct OkValueAwaiter {
    std::expected<T, E> result;

    bool await_ready() const noexcept { return result.has_value(); }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> enclosing) {
        run_next(leave_with_error(enclosing.promise(), std::move(result.error())));
    }
    T await_resume() {
        if constexpr (!std::is_void_v<T>) return std::move(*result);
    }
};

template <class T, class E>
struct OkTaskAwaiter {
    using Inner = Promise<std::expected<T, E>>;

    typename Task<std::expected<T, E>>::Awaiter inner;

    bool await_ready() const {
        return inner.await_ready() && inner.handle.promise().value->has_value();
    }

    template <class Enclosing>
    void await_suspend(std::coroutine_handle<Enclosing> enclosing) {
        Inner& promise = inner.handle.promise();
        promise.enclosing = &enclosing.promise();
        if (promise.has_ended()) {
            run_next(route<Enclosing>(promise));
            return;
        }
        promise.route = &route<Enclosing>;
        inner.await_suspend(enclosing);
    }

    template <class Enclosing>
    static std::coroutine_handle<> route(PromiseBase& finished) {
        Inner& promise = static_cast<Inner&>(finished);
        if (promise.value->has_value()) return promise.continuation;
        return leave_with_error(static_cast<Enclosing&>(*promise.enclosing),
                                std::move(promise.value->error()));
    }

    T await_resume() {
        std::expected<T, E> result = inner.await_resume();
        if constexpr (!std::is_void_v<T>) return std::move(*result);
    }
};

}  // namespace detail

/// `T value = co_await ok(task);` unwraps the task's expected, or returns its error from the
/// enclosing coroutine (which must return a Task of an expected with the same error type).
template <class T, class E>
[[nodiscard]] auto ok(Task<std::expected<T, E>> task) {
    return detail::OkTaskAwaiter<T, E>{std::move(task).operator co_await()};
}

/// The same for a value that is already there.
template <class T, class E>
[[nodiscard]] auto ok(std::expected<T, E> result) {
    return detail::OkValueAwaiter<T, E>{std::move(result)};
}

}  // namespace zbdkit
