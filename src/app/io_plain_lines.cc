// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>

#include "app/io_lines.h"
#include "base/assert.h"
#include "io/task.h"

namespace zbdkit::app {
namespace {

/// A longer line is cut into several.
constexpr std::size_t kMostLineBytes = 65536;

class PlainLines final : public LineSource {
  public:
    PlainLines(Reactor& reactor, int fd) : reactor_(reactor), fd_(fd), readable_(reactor, fd) {}

    std::optional<std::string> next() override {
        std::fputs(kIoPrompt, stdout);
        std::fflush(stdout);
        while (!at_end_ && buffer_.find('\n') == std::string::npos &&
               buffer_.size() < kMostLineBytes) {
            read_more();
        }
        return take_line();
    }

  private:
    void read_more() {
        wait_for_input(reactor_, readable_);
        std::array<char, 4096> piece{};
        const ssize_t length = ::read(fd_, piece.data(), piece.size());
        if (length < 0 && (errno == EINTR || errno == EAGAIN)) return;
        if (length <= 0) {
            at_end_ = true;
        } else {
            buffer_.append(piece.data(), static_cast<std::size_t>(length));
        }
    }

    std::optional<std::string> take_line() {
        if (buffer_.empty()) return std::nullopt;
        const std::size_t end = buffer_.find('\n');
        std::string line = buffer_.substr(0, end);
        buffer_.erase(0, end == std::string::npos ? end : end + 1);
        return line;
    }

    Reactor& reactor_;
    int fd_;
    ReadinessWaiter readable_;
    std::string buffer_;
    bool at_end_ = false;
};

Task<void> wait(ReadinessWaiter& waiter) {
    const bool is_ready = co_await waiter.wait(POLLIN);
    ZBDKIT_ASSERT(is_ready);  // nobody stops it
}

}  // namespace

void wait_for_input(Reactor& reactor, ReadinessWaiter& waiter) { reactor.run_to_end(wait(waiter)); }

std::unique_ptr<LineSource> make_plain_lines(Reactor& reactor, int fd) {
    return std::make_unique<PlainLines>(reactor, fd);
}

}  // namespace zbdkit::app
