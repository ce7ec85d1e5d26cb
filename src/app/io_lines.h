// SPDX-License-Identifier: Apache-2.0
// Where `zbdkit io` reads its lines from when no -c gives them: a terminal, with editing, history
// and completion, or anything else, line by line. While it waits, requests under way go on.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "io/file_io.h"
#include "io/reactor.h"

namespace zbdkit::app {

class LineSource {
  public:
    LineSource() = default;
    LineSource(const LineSource&) = delete;
    LineSource& operator=(const LineSource&) = delete;
    virtual ~LineSource() = default;

    /// Shows the prompt and waits for a line.
    /// @return without its end; nothing at the end of the input
    [[nodiscard]] virtual std::optional<std::string> next() = 0;
};

/// @param fd  must outlive the source
[[nodiscard]] std::unique_ptr<LineSource> make_plain_lines(Reactor& reactor, int fd);

/// Lines of the terminal that stdin and stdout are.
/// @return null if there is no usable terminal
[[nodiscard]] std::unique_ptr<LineSource> make_edited_lines(Reactor& reactor);

/// Runs the reactor until the waiter's descriptor can be read.
void wait_for_input(Reactor& reactor, ReadinessWaiter& waiter);

/// What both show.
inline constexpr const char* kIoPrompt = "qemu-io> ";

/// The file that keeps the lines of earlier sessions: zbdkit/io_history below $XDG_STATE_HOME if
/// that is set, else ~/.zbdkit_io_history. @return "" if there is no home
[[nodiscard]] std::string io_history_path();

}  // namespace zbdkit::app
