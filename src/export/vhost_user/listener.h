// SPDX-License-Identifier: Apache-2.0
// Listener: a listening Unix socket with its file. It takes over a file that a dead server left
// behind, nothing else, and removes its file when it is closed.
#pragma once

#include <sys/stat.h>

#include <string>
#include <utility>

#include "base/error.h"
#include "base/unique_fd.h"

namespace zbdkit::vhost_user {

class Listener {
  public:
    /// Binds and listens, non-blocking. Whoever may write to the file may connect: its owner, and
    /// its group if the umask allows.
    /// Errors: a path that is empty or too long, a live server there, something that is no socket,
    /// and what bind says; each message names the path.
    [[nodiscard]] static Outcome<Listener> open(const std::string& path);

    Listener(Listener&&) noexcept = default;
    Listener& operator=(Listener&&) = delete;
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;
    ~Listener() { close(); }

    /// @return a connection, non-blocking; none with errno set
    [[nodiscard]] UniqueFd accept();
    [[nodiscard]] int fd() const { return fd_.get(); }

    /// Stops listening and removes the file, unless somebody else's is there now. Nothing may wait
    /// for fd() any more. Twice is harmless.
    void close();

  private:
    Listener(UniqueFd fd, std::string path, const struct stat& file)
        : fd_(std::move(fd)), path_(std::move(path)), file_(file) {}

    UniqueFd fd_;
    std::string path_;
    struct stat file_;  // of the socket file that bind() made
};

}  // namespace zbdkit::vhost_user
