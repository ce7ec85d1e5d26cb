// SPDX-License-Identifier: Apache-2.0
// An RBD image that is open, and its exclusive lock if it is open for writing. Open, close and what
// asks the cluster block: they are for threads of a BlockingPool. Requests are started and reaped
// by the reactor of its node; how is in rbd_node.cc.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/unique_fd.h"
#include "node/protocol/rbd_connection.h"

namespace zbdkit {

class RbdImage {
  public:
    /// Opens the image and, for writing, takes its lock.
    /// Errors: what is missing, who has the lock, what the cluster says.
    /// Waits: up to the timeouts of the wish, each step.
    [[nodiscard]] static Outcome<std::unique_ptr<RbdImage>> open(const RbdWish& wish);

    RbdImage(const RbdImage&) = delete;
    RbdImage& operator=(const RbdImage&) = delete;
    /// Closes it, which gives the lock back. Waits as open().
    ~RbdImage();

    /// The same, for who wants to know. Once.
    [[nodiscard]] Outcome<void> close();

    /// bytes, when it was opened
    [[nodiscard]] std::uint64_t size() const { return size_; }
    /// Whether librbd keeps writes in memory of this host, against our wish: options that are kept
    /// with an image outweigh those of a client.
    [[nodiscard]] bool has_cache() const { return has_cache_; }
    [[nodiscard]] const RbdWish& wish() const { return wish_; }
    [[nodiscard]] RbdConnection& connection() { return pool_.connection(); }
    [[nodiscard]] const RbdLibrary& library() const { return pool_.connection().library(); }
    /// The rbd_image_t.
    [[nodiscard]] void* handle() { return image_; }

    /// Readable once a request has ended or the image was changed.
    [[nodiscard]] int event_fd() const { return event_fd_.get(); }
    /// Whether somebody may have changed the image since the last call. Thread: any.
    [[nodiscard]] bool take_changed() { return changed_.exchange(false); }
    /// How large it is now, in bytes. Waits as open(). Errors: what the cluster says.
    [[nodiscard]] Result<std::uint64_t> size_now();

  private:
    RbdImage(RbdPool pool, RbdWish wish) : pool_(std::move(pool)), wish_(std::move(wish)) {}
    [[nodiscard]] static Outcome<std::unique_ptr<RbdImage>> attempt(const RbdWish& wish,
                                                                    bool& is_fenced);
    [[nodiscard]] int open_handle();
    [[nodiscard]] Outcome<void> set_up();
    [[nodiscard]] Outcome<void> take_lock();
    [[nodiscard]] Outcome<void> break_lock(const std::string& owner);
    [[nodiscard]] std::unexpected<Failure> taken_by(const std::string& owner) const;
    [[nodiscard]] bool find_cache();
    static void note_change(void* image);

    RbdPool pool_;
    RbdWish wish_;
    UniqueFd event_fd_;
    void* image_ = nullptr;
    std::uint64_t watch_ = 0;
    bool has_watch_ = false;
    std::uint64_t size_ = 0;
    bool has_cache_ = false;
    std::atomic<bool> changed_{false};
};

/// Who has the lock of the image now, asked by a client of its own: that of this process may have
/// been fenced. Waits: as open, but not for ever.
/// @return an address, or "" if nobody has it or nobody knows
[[nodiscard]] std::string rbd_lock_owner(RbdWish wish);

/// Creates the image, with the default features of the cluster and an exclusive lock. Waits as
/// open.
/// @return false if there is such an image already
/// Errors: as open.
[[nodiscard]] Outcome<bool> create_image(const RbdWish& wish, std::uint64_t size);

}  // namespace zbdkit
