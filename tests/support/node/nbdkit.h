// SPDX-License-Identifier: Apache-2.0
// A real NBD server, nbdkit, as a child process for as long as this object lives. Its socket is
// made here and handed to it, so whoever connects waits for it and nobody has to wait for it to be
// ready.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace zbdkit::test {

class Nbdkit {
  public:
    /// Whether the host has one: without, a test is skipped.
    [[nodiscard]] static bool is_installed();

    /// Makes a folder and a socket; starts nothing.
    Nbdkit();
    Nbdkit(const Nbdkit&) = delete;
    Nbdkit& operator=(const Nbdkit&) = delete;
    ~Nbdkit();

    /// @param arguments  after those that say where and how it serves: plugin, filters, ...
    void start(const std::vector<std::string>& arguments);
    /// The same on TCP, on a port of this host that is free.
    /// @param address  127.0.0.1 or ::1
    void start_on(const std::string& address, const std::vector<std::string>& arguments);
    /// After kill(): on the port of start_on(), which listens all the time.
    void start_again(const std::vector<std::string>& arguments) {
        start_with(port_listener_, arguments);
    }
    /// Ends it as a crash does. What it has acknowledged and not given to the host is gone.
    void kill();
    /// Holds it: it answers nothing, and its connections stay.
    void freeze() const;
    void thaw() const;

    [[nodiscard]] std::string uri(const std::string& scheme = "nbd",
                                  const std::string& export_name = "") const;
    /// The port after start_on().
    [[nodiscard]] std::uint16_t port() const;
    [[nodiscard]] std::filesystem::path folder() const { return folder_; }
    [[nodiscard]] std::filesystem::path socket() const { return folder_ / "nbd.sock"; }

  private:
    void start_with(const UniqueFd& listener, const std::vector<std::string>& arguments);

    std::filesystem::path folder_;
    UniqueFd port_listener_;
    pid_t process_ = 0;
};

}  // namespace zbdkit::test
