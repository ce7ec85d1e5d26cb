// SPDX-License-Identifier: Apache-2.0
// A client of a Ceph cluster, shared by the images of this process that ask for the same one: each
// costs twelve threads. All of it blocks, so it is for threads of a BlockingPool, also the
// destruction of the last owner.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/options.h"

namespace zbdkit {

struct RbdLibrary;

/// What the options of driver "rbd" ask for.
struct RbdWish {
    std::string name;  ///< of the image, for messages
    std::string pool;
    std::string name_space;  ///< "" for the pool's own
    std::string image;
    std::string snapshot;  ///< "" for the image itself
    std::string conf;      ///< "" for the usual places
    std::string user;      ///< "" for the usual one
    bool read_only = false;
    bool force_takeover = false;
    bool own_connection = false;
    std::uint64_t connect_timeout_s = 0;
    std::uint64_t op_timeout_s = 0;  ///< 0: wait for ever
};

/// Errors: pool or image missing, and values that are none. Waits: never.
[[nodiscard]] Outcome<RbdWish> rbd_wish_of(const OptionValues& options);

/// "cannot open 'rbd:pool/image': PROBLEM"
[[nodiscard]] std::unexpected<Failure> rbd_failure(const RbdWish& wish, std::string_view problem,
                                                   Errc code = Errc::io);

/// What the cluster's answer to something else than a request means.
/// @param result  a negative errno
[[nodiscard]] std::string rbd_problem(const RbdWish& wish, int result);

class RbdConnection {
  public:
    /// One that another image uses, if it may be shared and works; else a new one.
    /// Errors: no library, no configuration, no cluster that answers in time.
    /// Thread: any. Waits: up to connect_timeout_s.
    [[nodiscard]] static Outcome<std::shared_ptr<RbdConnection>> get(const RbdWish& wish);

    RbdConnection(const RbdLibrary& library, void* rados) : library_(library), rados_(rados) {}
    RbdConnection(const RbdConnection&) = delete;
    RbdConnection& operator=(const RbdConnection&) = delete;
    ~RbdConnection();

    [[nodiscard]] const RbdLibrary& library() const { return library_; }
    /// The rados_t.
    [[nodiscard]] void* rados() { return rados_; }

    /// The client's address as owners of locks have one, or "" if it does not know. Thread: any.
    [[nodiscard]] std::string address();

    /// The cluster refuses this client from now on; only a new one gets in. Thread: any.
    void set_fenced() { is_fenced_ = true; }
    [[nodiscard]] bool is_fenced() const { return is_fenced_; }

  private:
    const RbdLibrary& library_;
    void* rados_;
    std::atomic<bool> is_fenced_{false};
};

/// A pool, and a namespace in it, as seen by a connection: a rados_ioctx_t. Blocks.
class RbdPool {
  public:
    /// Errors: no such pool, no answer in time.
    [[nodiscard]] static Outcome<RbdPool> open(std::shared_ptr<RbdConnection> connection,
                                               const RbdWish& wish);
    RbdPool(RbdPool&& other) noexcept
        : connection_(std::move(other.connection_)), io_(std::exchange(other.io_, nullptr)) {}
    RbdPool(const RbdPool&) = delete;
    RbdPool& operator=(const RbdPool&) = delete;
    RbdPool& operator=(RbdPool&&) = delete;
    ~RbdPool();

    [[nodiscard]] RbdConnection& connection() { return *connection_; }
    [[nodiscard]] const RbdConnection& connection() const { return *connection_; }
    /// The rados_ioctx_t.
    [[nodiscard]] void* io() { return io_; }

  private:
    RbdPool(std::shared_ptr<RbdConnection> connection, void* io)
        : connection_(std::move(connection)), io_(io) {}

    std::shared_ptr<RbdConnection> connection_;  // shared with the other images of the process
    void* io_;
};

}  // namespace zbdkit
