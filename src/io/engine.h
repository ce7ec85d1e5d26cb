// SPDX-License-Identifier: Apache-2.0
// The seam to the kernel. Everything above it runs unmodified over io_uring in production and over
// a simulated disk with a virtual clock in tests. One engine belongs to one thread; only wake()
// may be called from others.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/error.h"
#include "base/units.h"
#include "io/lent_buffers.h"

namespace zbdkit {

enum class IoKind : std::uint8_t {
    read,       ///< into `segments`; result = bytes read, short only at the end of the file
    write,      ///< from `segments`; result = bytes written
    sync_data,  ///< fdatasync
    fallocate,  ///< `fallocate_mode` on `range`
    poll,       ///< until one of `poll_events` is ready; result = the ready events
    command,    ///< what the driver behind `fd` makes of a CommandOp
};

/// Whether a read or write may be done at once, by a system call on the engine's thread, instead of
/// being handed to the kernel: where the data is in memory that is several times cheaper.
enum class AtOnce : std::uint8_t {
    never,
    if_ready,  ///< if the kernel need not wait for anything (RWF_NOWAIT)
    always,    ///< in any case: the file is in memory
};

/// One operation. It lives at a stable address, with its segments, until `complete` is called.
struct IoOp {
    IoKind kind = IoKind::read;
    int fd = -1;
    ByteRange range{};                ///< read, write: offset and length; fallocate: both
    const iovec* segments = nullptr;  ///< read, write
    unsigned segment_count = 0;       ///< read, write: 1 to kMaxSegments
    unsigned poll_events = 0;         ///< poll: POLLIN, POLLOUT, ...
    int fallocate_mode = 0;
    /// read, write: what the owner of `fd` allows attempt(); null: never. It becomes `never` when
    /// the file turns out to have no such thing.
    AtOnce* at_once = nullptr;

    /// Bytes, events or 0 on success; a negative errno on failure (-ECANCELED after cancel()).
    std::int32_t result = 0;
    /// Called once, on the engine's thread, from IoEngine::poll() and never from submit().
    void (*complete)(IoOp&) = nullptr;

    /// For the engine's own queue; untouched by others.
    IoOp* next = nullptr;
};

inline constexpr unsigned kMaxSegments = 1024;  // IOV_MAX

/// An operation of kind `command`: it goes to the driver of a character device as it is
/// (IORING_OP_URING_CMD). It ends when the driver says so, which may take for ever.
struct CommandOp : IoOp {
    std::uint32_t code = 0;                ///< as an ioctl encodes it
    std::array<std::byte, 16> argument{};  ///< what the driver defines
    std::uint64_t address = 0;             ///< goes along; what it is the driver defines
    /// If not null: this word, 8 bytes aligned, is 0 from the moment on at which the driver has the
    /// command. The kernel clears it on its way to the command, so that this process cannot die
    /// between the two: whoever sees it later knows whether the command was given.
    std::uint64_t* clears = nullptr;
    int zeroes = -1;  ///< a descriptor of /dev/zero; needed with `clears`
};
/// Commands that one engine can have in flight beside as many other operations.
inline constexpr unsigned kMaxCommands = 1024;

class IoEngine {
  public:
    static constexpr std::uint64_t kForever = ~std::uint64_t{0};

    IoEngine() = default;
    IoEngine(const IoEngine&) = delete;
    IoEngine& operator=(const IoEngine&) = delete;
    virtual ~IoEngine() = default;

    /// Does the operation at once, if `at_once` allows it and it can be.
    /// @return whether it has ended: `result` is set and `complete` is not called. If not, nothing
    ///         happened, and it is to be submitted
    [[nodiscard]] virtual bool attempt(IoOp& /*op*/) { return false; }

    /// Takes the operation. Cannot fail: what does not fit into the kernel's queue waits in ours.
    virtual void submit(IoOp& op) = 0;

    /// Ends a poll early: it completes with -ECANCELED unless it was ready already. Only for
    /// IoKind::poll; transfers are never cancelled, and commands end as their driver has it. The
    /// operation must be in flight.
    virtual void cancel(IoOp& op) = 0;

    /// Hands queued operations to the kernel and calls `complete` of what has ended.
    /// @param deadline_ns  if nothing has ended, wait until then (now_ns() time), or until wake().
    ///                     0 = do not wait, kForever = no limit
    virtual void poll(std::uint64_t deadline_ns) = 0;

    /// Makes a waiting or the next poll() return. Thread: any.
    virtual void wake() = 0;

    /// Monotonic time in nanoseconds.
    [[nodiscard]] virtual std::uint64_t now_ns() const = 0;

    /// Sets places aside for commands that will be in flight for long. Without, they would leave
    /// none for others.
    /// @return false if there are not so many left of kMaxCommands
    [[nodiscard]] bool reserve_commands(unsigned count) {
        if (count > kMaxCommands - reserved_commands_) return false;
        reserved_commands_ += count;
        return true;
    }
    void release_commands(unsigned count) { reserved_commands_ -= count; }

    /// Takes places for buffers that drivers lend with their requests. Writes of one segment may
    /// have their data there: the kernel takes it from its buffer. Thread: the engine's.
    /// @param each  bytes
    /// Errors: not_supported by this engine or this kernel; no places left.
    [[nodiscard]] virtual Result<LentRange> take_lent(std::uint16_t /*count*/,
                                                      std::uint64_t /*each*/) {
        return fail(Errc::not_supported, "the engine has no lent buffers");
    }
    /// Gives back what take_lent() returned. No operation may be in flight there.
    virtual void give_back_lent(const LentRange& /*range*/) {}

  private:
    unsigned reserved_commands_ = 0;
};

}  // namespace zbdkit
