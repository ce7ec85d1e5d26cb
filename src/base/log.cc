// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>

#include <utility>

namespace zbdkit {

std::shared_ptr<spdlog::logger> make_stderr_log(spdlog::level::level_enum level) {
    auto logger = std::make_shared<spdlog::logger>(
        "zbdkit", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    logger->set_pattern("zbdkit: %H:%M:%S.%e %l: %v");
    logger->set_level(level);
    return logger;
}

void init_log(spdlog::level::level_enum level) {
    spdlog::set_default_logger(make_stderr_log(level));
}

bool LogLimiter::allow(std::uint64_t now_ns) {
    if (left_ > 0) {
        --left_;
        next_ns_ = now_ns + interval_ns_;
        return true;
    }
    if (now_ns >= next_ns_) {
        next_ns_ = now_ns + interval_ns_;
        return true;
    }
    ++suppressed_;
    return false;
}

std::uint64_t LogLimiter::take_suppressed() { return std::exchange(suppressed_, 0); }

std::string LogLimiter::and_more() {
    const std::uint64_t suppressed = take_suppressed();
    return suppressed == 0 ? "" : " (and " + std::to_string(suppressed) + " more)";
}

}  // namespace zbdkit
