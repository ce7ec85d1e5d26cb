// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/host_device.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "base/unique_fd.h"
#include "node/protocol/block_device.h"
#include "node/protocol/file_node.h"
#include "node/protocol/host_zoned_node.h"
#include "node/protocol/host_zones.h"

namespace zbdkit {
namespace {

constexpr std::array kOptions = {
    OptionInfo{"filename", "PATH", "the block device, such as /dev/nullb0"},
    OptionInfo{"read-only", "on|off", "open for reading only (default off)"},
    OptionInfo{"cache.direct", "on|off",
               "bypass the host's page cache, O_DIRECT (default on; a zoned device needs it)"},
    OptionInfo{"locking", "on|off",
               "open for writing only what nobody has mounted or claimed, O_EXCL (default on)"},
};

struct Wish {
    std::string filename;
    bool read_only = false;
    bool direct = true;
    bool locking = true;
};

/// What was found behind the file name.
struct Found {
    UniqueFd fd;
    FileShape shape;
    std::optional<ZoneGeometry> zones;
};

// --- Looking at the device: these calls block ---------------------------------------------------

/// Before the open, which may have effects on something else than a block device.
Outcome<void> check_is_block_device(const std::string& filename) {
    struct stat status{};
    if (::stat(filename.c_str(), &status) != 0) {
        return failure(fmt::format("cannot open '{}': {}", filename, std::strerror(errno)));
    }
    if (S_ISBLK(status.st_mode)) return {};
    if (S_ISREG(status.st_mode)) {
        return failure(fmt::format("'{}' is a regular file: expected a block device, or "
                                   "driver=file",
                                   filename),
                       Errc::not_supported);
    }
    return failure(fmt::format("'{}' is no block device", filename), Errc::not_supported);
}

std::unexpected<Failure> read_only_device(const std::string& filename) {
    return failure(fmt::format("'{}' is a read-only device: expected read-only=on", filename),
                   Errc::read_only);
}

Outcome<UniqueFd> open_device(const Wish& wish) {
    int flags = O_CLOEXEC | (wish.read_only ? O_RDONLY : O_RDWR);
    if (wish.direct) flags |= O_DIRECT;
    if (wish.locking && !wish.read_only) flags |= O_EXCL;
    UniqueFd fd(::open(wish.filename.c_str(), flags));
    if (fd) return fd;
    switch (errno) {
        case EBUSY:
            return failure(
                fmt::format("'{}' is in use: it is mounted, or another program has "
                            "claimed it (locking=off opens it all the same)",
                            wish.filename));
        case EROFS: return read_only_device(wish.filename);
        default: break;
    }
    return failure(
        fmt::format("cannot open '{}' for {}: {}", wish.filename,
                    wish.read_only ? "reading" : "reading and writing", std::strerror(errno)),
        errno == EACCES ? Errc::read_only : Errc::io);
}

/// Some drivers open a write-protected device for writing and fail each write.
Outcome<void> check_writable(int fd, const Wish& wish) {
    int is_read_only = 0;
    if (wish.read_only || ::ioctl(fd, BLKROGET, &is_read_only) != 0 || is_read_only == 0) return {};
    return read_only_device(wish.filename);
}

Outcome<Found> look(const Wish& wish) {
    if (Outcome<void> block = check_is_block_device(wish.filename); !block) {
        return std::unexpected(std::move(block.error()));
    }
    Outcome<UniqueFd> fd = open_device(wish);
    if (!fd) return std::unexpected(std::move(fd.error()));
    Found found{.fd = std::move(*fd)};
    if (Outcome<void> writable = check_writable(found.fd.get(), wish); !writable) {
        return std::unexpected(std::move(writable.error()));
    }
    const bool is_zoned = is_zoned_block_device(found.fd.get());
    if (is_zoned && !wish.direct) {
        return failure(fmt::format("'{}' is a zoned device: cache.direct=off would write through "
                                   "the page cache, which does not keep the order of writes; "
                                   "expected cache.direct=on",
                                   wish.filename),
                       Errc::not_supported);
    }
    Outcome<FileShape> shape = file_shape(found.fd.get(), wish.filename, wish.direct);
    if (!shape) return std::unexpected(std::move(shape.error()));
    found.shape = *shape;
    if (!is_zoned) return found;
    Outcome<ZoneGeometry> zones = host_zone_geometry(found.fd.get(), wish.filename);
    if (!zones) return std::unexpected(std::move(zones.error()));
    found.zones = *zones;
    return found;
}

// --- Opening ------------------------------------------------------------------------------------

HostZonedParts zoned_parts(Wish wish, Found found) {
    HostZonedParts parts{.filename = std::move(wish.filename), .fd = std::move(found.fd)};
    parts.control = make_host_zone_control(parts.fd.get());
    parts.info = {.size = found.shape.size,
                  .block_size = found.shape.block_size,
                  .physical_block_size = found.shape.physical_block_size,
                  .memory_alignment = found.shape.memory_alignment,
                  .read_only = wish.read_only,
                  .zones = *found.zones};
    return parts;
}

FileNodeParts plain_parts(Wish wish, Found found) {
    return {.driver = "host_device",
            .filename = std::move(wish.filename),
            .fd = std::move(found.fd),
            .shape = found.shape,
            .read_only = wish.read_only};
}

Task<Outcome<std::unique_ptr<BlockNode>>> open_host_device(OpenContext& context,
                                                           const OptionValues& options,
                                                           ChildNodes& /*children*/) {
    Wish wish;
    wish.filename = co_await ok(options.required_text("filename"));
    wish.read_only = co_await ok(options.flag("read-only", false));
    wish.direct = co_await ok(options.flag("cache.direct", true));
    wish.locking = co_await ok(options.flag("locking", true));
    std::optional<Outcome<Found>> looked;
    BlockingPool::Call call =
        context.pool.run(context.reactor, [&wish, &looked] { looked = look(wish); });
    co_await call;
    Found found = co_await ok(std::move(*looked));
    if (!found.zones) {
        co_return make_file_node(context.reactor, plain_parts(std::move(wish), std::move(found)));
    }
    HostZonedParts parts = zoned_parts(std::move(wish), std::move(found));
    co_return co_await open_host_zoned_node(context, std::move(parts));
}

}  // namespace

const DriverInfo kHostDeviceDriver = {"host_device",
                                      DriverKind::protocol,
                                      "a block device of the host, with its zones",
                                      kOptions,
                                      {},
                                      open_host_device};

}  // namespace zbdkit
