// SPDX-License-Identifier: Apache-2.0
// Catches what goes to the log while it lives.
#pragma once

#include <spdlog/sinks/ostream_sink.h>

#include <memory>
#include <sstream>
#include <string>

#include "base/log.h"

namespace zbdkit::test {

class CapturedLog {
  public:
    CapturedLog() : before_(spdlog::default_logger()) {
        // Shared by spdlog and its loggers.
        auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(text_);
        auto logger = std::make_shared<spdlog::logger>("captured", std::move(sink));
        logger->set_pattern("%l: %v");
        spdlog::set_default_logger(std::move(logger));
    }
    CapturedLog(const CapturedLog&) = delete;
    CapturedLog& operator=(const CapturedLog&) = delete;
    ~CapturedLog() { spdlog::set_default_logger(before_); }

    /// One line a message: "info: text".
    [[nodiscard]] std::string text() const { return text_.str(); }

  private:
    std::shared_ptr<spdlog::logger> before_;  ///< shared with spdlog, which it goes back to
    std::ostringstream text_;
};

}  // namespace zbdkit::test
