// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "base/buffer.h"
#include "base/log.h"
#include "base/text.h"
#include "base/unique_fd.h"
#include "io/file_io.h"
#include "node/protocol/image_lock.h"

namespace zbdkit {
namespace {

constexpr std::array kOptions = {
    OptionInfo{"filename", "PATH", "the file or block device"},
    OptionInfo{"read-only", "on|off", "open for reading only (default off)"},
    OptionInfo{"cache.direct", "on|off", "bypass the host's page cache, O_DIRECT (default off)"},
    OptionInfo{"locking", "on|off", "one writer, or several readers (default on)"},
};

/// What the file is, found out once.
struct FileShape {
    std::uint64_t size = 0;
    std::uint32_t block_size = 1;
    std::uint32_t physical_block_size = 512;
    std::uint32_t memory_alignment = 1;
    bool is_block_device = false;
};

/// Pieces that are zeroed by writing, where the file system can do nothing better.
constexpr std::uint64_t kZeroChunk = kMiB;

class FileNode final : public BlockNode {
  public:
    FileNode(Reactor& reactor, UniqueFd fd, std::string filename, const FileShape& shape,
             bool read_only)
        : BlockNode("file"),
          reactor_(reactor),
          fd_(std::move(fd)),
          filename_(std::move(filename)),
          read_only_(read_only) {
        set_info({.size = shape.size,
                  .block_size = shape.block_size,
                  .physical_block_size = shape.physical_block_size,
                  .memory_alignment = shape.memory_alignment,
                  .read_only = read_only,
                  .ops = {Op::read, Op::write, Op::write_zeroes, Op::discard, Op::flush}});
    }

    [[nodiscard]] std::string describe() const override { return filename_; }
    [[nodiscard]] Result<NodeMapping> map(ByteRange range) override;

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        switch (request.op) {
            case Op::read: return transfer(request);
            case Op::write: return write(request);
            case Op::write_zeroes: return write_zeroes(request);
            case Op::discard: return punch(request.range);
            case Op::flush: return sync_data(reactor_, fd_.get());
            case Op::append:
            case Op::report_zones:
            case Op::zone_open:
            case Op::zone_close:
            case Op::zone_finish:
            case Op::zone_reset:
            case Op::zone_reset_all: break;
        }
        return no_zones();
    }

  private:
    static Task<Result<void>> no_zones() {
        co_return fail(Errc::not_supported, "a file has no zones");
    }

    /// O_DIRECT wants aligned memory and segment lengths; a guest's are what they are.
    [[nodiscard]] bool is_aligned_for_direct(IoSegments segments) const {
        const std::uint32_t alignment = info().memory_alignment;
        return alignment <= 1 || std::ranges::all_of(segments, [&](const iovec& segment) {
                   const auto address = std::bit_cast<std::uintptr_t>(segment.iov_base);
                   return is_aligned(address, alignment) &&
                          is_aligned(segment.iov_len, info().block_size);
               });
    }

    Task<Result<void>> transfer(Request& request) {
        return is_aligned_for_direct(request.segments) ? transfer_direct(request)
                                                       : transfer_bounced(request);
    }
    Task<Result<void>> write(Request& request) {
        return request.fua ? write_through(request) : transfer(request);
    }
    Task<Result<void>> write_through(Request& request);
    Task<Result<void>> transfer_direct(Request& request);
    Task<Result<void>> transfer_bounced(Request& request);
    Task<Result<void>> punch(ByteRange range);
    Task<Result<void>> write_zeroes(const Request& request);
    Task<Result<void>> zero(ByteRange range);

    Reactor& reactor_;
    UniqueFd fd_;
    std::string filename_;
    bool read_only_;
};

Task<Result<void>> FileNode::transfer_direct(Request& request) {
    if (request.op == Op::read) {
        return read_exactly(reactor_, fd_.get(), request.range.offset, request.segments);
    }
    return write_exactly(reactor_, fd_.get(), request.range.offset, request.segments);
}

Task<Result<void>> FileNode::transfer_bounced(Request& request) {
    AlignedBuffer buffer(request.range.length);
    const iovec segment = segment_of(buffer.bytes());
    const IoSegments segments(&segment, 1);
    if (request.op == Op::write) {
        copy_from(request.segments, 0, buffer.bytes());
        co_await ok(write_exactly(reactor_, fd_.get(), request.range.offset, segments));
    } else {
        co_await ok(read_exactly(reactor_, fd_.get(), request.range.offset, segments));
        copy_to(request.segments, 0, buffer.bytes());
    }
    co_return Result<void>{};
}

Task<Result<void>> FileNode::punch(ByteRange range) {
    if (range.length == 0) co_return Result<void>{};
    co_await ok(
        fallocate_range(reactor_, fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, range));
    co_return Result<void>{};
}

Task<Result<void>> FileNode::write_through(Request& request) {
    co_await ok(transfer(request));
    co_await ok(sync_data(reactor_, fd_.get()));
    co_return Result<void>{};
}

Task<Result<void>> FileNode::write_zeroes(const Request& request) {
    co_await ok(zero(request.range));
    if (request.fua) co_await ok(sync_data(reactor_, fd_.get()));
    co_return Result<void>{};
}

Task<Result<void>> FileNode::zero(ByteRange range) {
    if (range.length == 0) co_return Result<void>{};
    const Result<void> punched = co_await punch(range);
    if (punched || punched.error().code != Errc::not_supported) co_return punched;
    const AlignedBuffer zeroes(std::min(range.length, kZeroChunk));
    while (range.length > 0) {
        const std::uint64_t length = std::min(range.length, kZeroChunk);
        iovec segment = segment_of(zeroes.bytes().first(length));
        co_await ok(write_exactly(reactor_, fd_.get(), range.offset, IoSegments(&segment, 1)));
        range = {range.offset + length, range.length - length};
    }
    co_return Result<void>{};
}

Result<NodeMapping> FileNode::map(ByteRange range) {
    if (!range.is_sane() || range.end() > info().size || range.length == 0) {
        return fail(Errc::out_of_range, "beyond the end of the file");
    }
    const int protection = read_only_ ? PROT_READ : PROT_READ | PROT_WRITE;
    void* memory = ::mmap(nullptr, range.length, protection, MAP_SHARED, fd_.get(),
                          static_cast<off_t>(range.offset));
    if (memory == MAP_FAILED) return std::unexpected(error_from_errno(errno, "mmap"));
    const MutableBytes bytes(byte_pointer(memory), range.length);
    return NodeMapping(bytes, [bytes] { ::munmap(bytes.data(), bytes.size()); });
}

// --- Opening ------------------------------------------------------------------------------------

/// The value of a block device's attribute in sysfs, or "".
std::string queue_attribute(const struct stat& status, const char* name) {
    std::string value;
    for (const char* place : {"queue", "../queue"}) {  // a partition's queue is its disk's
        std::ifstream file(fmt::format("/sys/dev/block/{}:{}/{}/{}", major(status.st_rdev),
                                       minor(status.st_rdev), place, name));
        if (std::getline(file, value)) return value;
    }
    return {};
}

Outcome<FileShape> shape_of_device(int fd, const struct stat& status, const std::string& filename) {
    const std::string zoned = queue_attribute(status, "zoned");
    if (!zoned.empty() && zoned != "none") {
        return failure(fmt::format("'{}' is a zoned block device ({}): driver 'file' would lose "
                                   "its zones; expected driver=host_device",
                                   filename, zoned),
                       Errc::not_supported);
    }
    FileShape shape{.is_block_device = true};
    int logical = 0;
    unsigned physical = 0;
    if (::ioctl(fd, BLKGETSIZE64, &shape.size) != 0 || ::ioctl(fd, BLKSSZGET, &logical) != 0 ||
        ::ioctl(fd, BLKPBSZGET, &physical) != 0) {
        return failure(fmt::format("cannot read the size of block device '{}': {}", filename,
                                   std::strerror(errno)));
    }
    shape.block_size = static_cast<std::uint32_t>(logical);
    shape.physical_block_size = std::max<std::uint32_t>(physical, shape.block_size);
    return shape;
}

Outcome<FileShape> shape_of(int fd, const std::string& filename, bool direct) {
    struct stat status{};
    if (::fstat(fd, &status) != 0) {
        return failure(fmt::format("cannot stat '{}': {}", filename, std::strerror(errno)));
    }
    FileShape shape;
    if (S_ISBLK(status.st_mode)) {
        Outcome<FileShape> device = shape_of_device(fd, status, filename);
        if (!device) return device;
        shape = *device;
    } else if (S_ISREG(status.st_mode)) {
        shape.size = static_cast<std::uint64_t>(status.st_size);
    } else {
        return failure(fmt::format("'{}' is neither a regular file nor a block device", filename));
    }
    if (!direct) return shape;
    struct statx extended{};
    constexpr std::uint32_t kFallbackAlignment = 4096;
    std::uint32_t offset_alignment = kFallbackAlignment;
    shape.memory_alignment = kFallbackAlignment;
#ifdef STATX_DIOALIGN
    if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &extended) == 0 &&
        (extended.stx_mask & STATX_DIOALIGN) != 0 && extended.stx_dio_offset_align != 0) {
        offset_alignment = extended.stx_dio_offset_align;
        shape.memory_alignment = extended.stx_dio_mem_align;
    }
#else
    static_cast<void>(extended);
#endif
    shape.block_size = std::max(shape.block_size, offset_alignment);
    shape.physical_block_size = std::max(shape.physical_block_size, shape.block_size);
    return shape;
}

Outcome<UniqueFd> open_fd(const std::string& filename, bool read_only, bool direct) {
    const int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | (direct ? O_DIRECT : 0);
    UniqueFd fd(::open(filename.c_str(), flags));
    if (fd) return fd;
    const int os_errno = errno;
    std::string hint;
    if (os_errno == EINVAL && direct) hint = " (its file system has no O_DIRECT: cache.direct=off)";
    if (os_errno == ENOENT) hint = " (zbdkit create makes a new image)";
    return failure(
        fmt::format("cannot open '{}' for {}: {}{}", filename,
                    read_only ? "reading" : "reading and writing", std::strerror(os_errno), hint),
        os_errno == EROFS || os_errno == EACCES ? Errc::read_only : Errc::io);
}

Task<Outcome<std::unique_ptr<BlockNode>>> open_file(OpenContext& context,
                                                    const OptionValues& options,
                                                    ChildNodes& /*children*/) {
    std::string filename = co_await ok(options.required_text("filename"));
    const bool read_only = co_await ok(options.flag("read-only", false));
    const bool direct = co_await ok(options.flag("cache.direct", false));
    const bool locking = co_await ok(options.flag("locking", true));
    UniqueFd fd = co_await ok(open_fd(filename, read_only, direct));
    const LockMode mode = read_only ? LockMode::shared : LockMode::exclusive;
    if (locking) co_await ok(lock_image(fd.get(), filename, mode));
    const FileShape shape = co_await ok(shape_of(fd.get(), filename, direct));
    std::unique_ptr<BlockNode> node = std::make_unique<FileNode>(
        context.reactor, std::move(fd), std::move(filename), shape, read_only);
    co_return node;
}

}  // namespace

const DriverInfo kFileDriver = {
    "file", DriverKind::protocol, "a file or block device", kOptions, {}, open_file};

}  // namespace zbdkit
