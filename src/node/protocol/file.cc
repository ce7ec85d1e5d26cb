// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/file.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/unique_fd.h"
#include "node/protocol/block_device.h"
#include "node/protocol/file_node.h"
#include "node/protocol/image_lock.h"

namespace zbdkit {
namespace {

constexpr std::array kOptions = {
    OptionInfo{"filename", "PATH", "the file or block device"},
    OptionInfo{"read-only", "on|off", "open for reading only (default off)"},
    OptionInfo{"cache.direct", "on|off", "bypass the host's page cache, O_DIRECT (default off)"},
    OptionInfo{"locking", "on|off", "one writer, or several readers (default on)"},
};

Outcome<UniqueFd> open_fd(const std::string& filename, bool read_only, bool direct) {
    const int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | (direct ? O_DIRECT : 0);
    // The open of a FIFO would wait for somebody at its other end. Afterwards the flag must be
    // gone: with it io_uring gives up where a read or write has to wait.
    UniqueFd fd(::open(filename.c_str(), flags | O_NONBLOCK));
    if (fd && ::fcntl(fd.get(), F_SETFL, flags & ~O_CLOEXEC) == 0) return fd;
    const int os_errno = errno;
    std::string hint;
    if (os_errno == EINVAL && direct) hint = " (its file system has no O_DIRECT: cache.direct=off)";
    if (os_errno == ENOENT) hint = " (zbdkit create makes a new image)";
    return failure(
        fmt::format("cannot open '{}' for {}: {}{}", filename,
                    read_only ? "reading" : "reading and writing", std::strerror(os_errno), hint),
        os_errno == EROFS || os_errno == EACCES ? Errc::read_only : Errc::io);
}

Outcome<void> check_not_zoned(int fd, const std::string& filename) {
    if (!is_zoned_block_device(fd)) return {};
    return failure(fmt::format("'{}' is a zoned block device ({}): driver 'file' would lose its "
                               "zones; expected driver=host_device",
                               filename, queue_attribute(fd, "zoned")),
                   Errc::not_supported);
}

Task<Outcome<std::unique_ptr<BlockNode>>> open_file(OpenContext& context,
                                                    const OptionValues& options,
                                                    ChildNodes& /*children*/) {
    FileNodeParts parts{.driver = "file"};
    parts.filename = co_await ok(options.required_text("filename"));
    parts.read_only = co_await ok(options.flag("read-only", false));
    const bool direct = co_await ok(options.flag("cache.direct", false));
    const bool locking = co_await ok(options.flag("locking", true));
    parts.fd = co_await ok(open_fd(parts.filename, parts.read_only, direct));
    const LockMode mode = parts.read_only ? LockMode::shared : LockMode::exclusive;
    if (locking) parts.lock = co_await ok(lock_image(parts.fd.get(), parts.filename, mode));
    co_await ok(check_not_zoned(parts.fd.get(), parts.filename));
    parts.shape = co_await ok(file_shape(parts.fd.get(), parts.filename, direct));
    co_return make_file_node(context.reactor, std::move(parts));
}

}  // namespace

const DriverInfo kFileDriver = {
    "file", DriverKind::protocol, "a file or block device", kOptions, {}, open_file};

}  // namespace zbdkit
