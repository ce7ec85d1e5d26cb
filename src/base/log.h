// SPDX-License-Identifier: Apache-2.0
// The log: spdlog to stderr, and a limiter for messages that a guest or a peer can trigger.
#pragma once

#include <spdlog/spdlog.h>

#include <cstdint>
#include <memory>
#include <string>

namespace zbdkit {

/// A log to stderr with time and level, for whoever needs one apart from the default.
/// @return shared with nobody: spdlog's registry does not know it
[[nodiscard]] std::shared_ptr<spdlog::logger> make_stderr_log(spdlog::level::level_enum level);

/// Sends the log to stderr with time and level. Call once, before other threads start.
/// @param level  spdlog level, for example spdlog::level::info
void init_log(spdlog::level::level_enum level);

/// Lets the first `burst` messages pass and then one in each `interval_ns`, so that a guest
/// cannot fill the host's disk with a log. Not thread safe: one owner.
class LogLimiter {
  public:
    explicit LogLimiter(std::uint32_t burst = 10, std::uint64_t interval_ns = 5'000'000'000)
        : left_(burst), interval_ns_(interval_ns) {}

    /// @param now_ns  monotonic time
    /// @return true if the message should be logged
    [[nodiscard]] bool allow(std::uint64_t now_ns);
    /// @return messages held back since the last one that passed; resets the count
    [[nodiscard]] std::uint64_t take_suppressed();
    /// " (and 3 more)" for those messages, or "": for the end of the one that passes.
    [[nodiscard]] std::string and_more();

  private:
    std::uint32_t left_;
    std::uint64_t interval_ns_;
    std::uint64_t next_ns_ = 0;
    std::uint64_t suppressed_ = 0;
};

}  // namespace zbdkit
