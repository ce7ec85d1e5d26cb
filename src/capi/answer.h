// SPDX-License-Identifier: Apache-2.0
// Answer: what one thread waits for and another gives, once. Lives with the thread that waits.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

namespace zbdkit::capi {

template <class T>
class Answer {
  public:
    /// Thread: any. The answer may be gone when this returns.
    void give(T value) {
        // Notified under the lock: otherwise whoever waits could see the value and be gone before.
        const std::scoped_lock lock(mutex_);
        value_.emplace(std::move(value));
        given_.notify_one();
    }

    /// Waits: until it is given.
    [[nodiscard]] T wait() {
        std::unique_lock lock(mutex_);
        given_.wait(lock, [this] { return value_.has_value(); });
        return std::move(*value_);
    }

  private:
    std::mutex mutex_;
    std::condition_variable given_;
    std::optional<T> value_;  // guarded by mutex_
};

}  // namespace zbdkit::capi
