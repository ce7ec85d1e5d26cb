// SPDX-License-Identifier: Apache-2.0
// The image of a crash test: a file, a file that an NBD server has, which lives on when daemons
// die, or an image in the cluster of Ceph beside this program. One thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/node/nbdkit.h"

namespace zbdkit::crash {

enum class Medium : std::uint8_t { file, nbd, rbd };

class Image {
  public:
    /// Makes nothing.
    /// @param file  where its bytes are to be; not of Medium::rbd
    Image(Medium medium, std::string file);

    /// @return why there can be no such image here, or ""
    [[nodiscard]] static std::string why_not(Medium medium);

    /// Makes it; again, an empty one in its place.
    /// @param layout  as `zbdkit create` takes it: size and options
    void make(const std::string& zbdkit, const std::vector<std::string>& layout,
              const std::string& log);

    /// As commands take it. Another one after each make() of Medium::rbd.
    [[nodiscard]] const std::string& name() const { return name_; }
    /// The file that has the bytes; "" if they are in a cluster.
    [[nodiscard]] const std::string& file() const { return file_; }
    /// What `zbdkit serve` has to be told, so that it serves the image of a daemon that was killed.
    [[nodiscard]] std::vector<std::string> serve_options() const;
    /// What a daemon needs to open it and to serve it, and somewhat more.
    [[nodiscard]] std::chrono::microseconds start_time() const;

    /// Waits until nothing that a killed daemon has asked for will still be done. An NBD server may
    /// do so for a moment, and nothing keeps the next daemon from being served meanwhile. A file
    /// has no such moment, and a cluster lets nothing of a client pass once the next one has the
    /// lock.
    void settle() const;

    /// Removes what the destructor would, for a process that ends without.
    void drop() { server_.reset(); }

  private:
    Medium medium_;
    std::string file_;
    std::string name_;
    std::unique_ptr<test::Nbdkit> server_;  ///< of Medium::nbd, once the image is made
};

}  // namespace zbdkit::crash
