// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/file_node.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/buffer.h"
#include "io/file_io.h"
#include "node/protocol/transfer.h"

namespace zbdkit {
namespace {

/// With O_DIRECT, where data goes from its pages to the device. Into the page cache it is copied in
/// any case, best at once. Aligned more than to a sector lent pages need not be.
bool takes_lent_data(const FileShape& shape) {
    return shape.is_direct && shape.memory_alignment <= kSectorSize;
}

/// Pieces that are zeroed by writing, where the file system can do nothing better.
constexpr std::uint64_t kZeroChunk = kMiB;

class FileNode final : public BlockNode {
  public:
    FileNode(Reactor& reactor, FileNodeParts parts)
        : BlockNode(std::move(parts.driver)),
          reactor_(reactor),
          fd_(std::move(parts.fd)),
          lock_(std::move(parts.lock)),
          filename_(std::move(parts.filename)),
          reads_at_once_(parts.shape.at_once),
          writes_at_once_(parts.shape.at_once) {
        set_info({.size = parts.shape.size,
                  .block_size = parts.shape.block_size,
                  .physical_block_size = parts.shape.physical_block_size,
                  .memory_alignment = parts.shape.memory_alignment,
                  .read_only = parts.read_only,
                  .takes_lent_data = takes_lent_data(parts.shape),
                  .ops = {Op::read, Op::write, Op::write_zeroes, Op::discard, Op::flush}});
    }

    [[nodiscard]] std::string describe() const override { return filename_; }
    [[nodiscard]] Result<NodeMapping> map(ByteRange range) override;
    [[nodiscard]] Task<Outcome<void>> close() override {
        // Others may have the image now. The node may last longer, if its daemon has other disks.
        lock_ = ImageLock();
        fd_.reset();
        co_return Outcome<void>{};
    }

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        switch (request.op) {
            case Op::read: return move_data(request);
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
        co_return fail(Errc::not_supported, "the storage has no zones");
    }

    Task<Result<void>> move_data(Request& request) {
        AtOnce& at_once = request.op == Op::read ? reads_at_once_ : writes_at_once_;
        return transfer(reactor_, fd_.get(), info(), request, &at_once);
    }
    Task<Result<void>> write(Request& request) {
        return request.fua ? write_through(request) : move_data(request);
    }
    Task<Result<void>> write_through(Request& request);
    Task<Result<void>> punch(ByteRange range);
    Task<Result<void>> write_zeroes(const Request& request);
    Task<Result<void>> zero(ByteRange range);

    Reactor& reactor_;
    UniqueFd fd_;
    ImageLock lock_;
    std::string filename_;
    // Apart, because some file systems can do only one of them (ext4: reads).
    AtOnce reads_at_once_;
    AtOnce writes_at_once_;
};

Task<Result<void>> FileNode::punch(ByteRange range) {
    if (range.length == 0) co_return Result<void>{};
    co_await ok(
        fallocate_range(reactor_, fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, range));
    co_return Result<void>{};
}

Task<Result<void>> FileNode::write_through(Request& request) {
    co_await ok(move_data(request));
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
    // A store to memory whose block has no space to go to kills the process (SIGBUS). Block devices
    // have theirs; a file system that cannot tell is taken at its word.
    const bool has_space =
        info().read_only || ::fallocate(fd_.get(), 0, static_cast<off_t>(range.offset),
                                        static_cast<off_t>(range.length)) == 0;
    if (!has_space && (errno == ENOSPC || errno == EDQUOT)) {
        return std::unexpected(error_from_errno(errno, "no space for what is to be mapped"));
    }
    const int protection = info().read_only ? PROT_READ : PROT_READ | PROT_WRITE;
    void* memory = ::mmap(nullptr, range.length, protection, MAP_SHARED, fd_.get(),
                          static_cast<off_t>(range.offset));
    if (memory == MAP_FAILED) return std::unexpected(error_from_errno(errno, "mmap"));
    const MutableBytes bytes(byte_pointer(memory), range.length);
    return NodeMapping(bytes, [bytes] { ::munmap(bytes.data(), bytes.size()); });
}

// --- Shape --------------------------------------------------------------------------------------

Outcome<FileShape> shape_of_device(int fd, const std::string& filename) {
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

/// With O_DIRECT each transfer waits for the device; a file in memory never does. In between, the
/// page cache may have what is wanted: the kernel knows.
AtOnce at_once_of(int fd, bool direct) {
    if (direct) return AtOnce::never;
    struct statfs file_system{};
    if (::fstatfs(fd, &file_system) != 0) return AtOnce::never;
    const bool is_in_memory =
        file_system.f_type == TMPFS_MAGIC || file_system.f_type == RAMFS_MAGIC;
    return is_in_memory ? AtOnce::always : AtOnce::if_ready;
}

/// What O_DIRECT asks of offsets and memory, as far as the host tells; else `fallback` of both.
struct DirectAlignment {
    std::uint32_t offset = 0;  ///< bytes
    std::uint32_t memory = 0;  ///< bytes
};

DirectAlignment direct_alignment(int fd, std::uint32_t fallback) {
#ifdef STATX_DIOALIGN
    struct statx extended{};
    if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &extended) == 0 &&
        (extended.stx_mask & STATX_DIOALIGN) != 0 && extended.stx_dio_offset_align != 0) {
        return {extended.stx_dio_offset_align, extended.stx_dio_mem_align};
    }
#else
    static_cast<void>(fd);
#endif
    return {fallback, fallback};
}

}  // namespace

Outcome<FileShape> file_shape(int fd, const std::string& filename, bool direct) {
    struct stat status{};
    if (::fstat(fd, &status) != 0) {
        return failure(fmt::format("cannot stat '{}': {}", filename, std::strerror(errno)));
    }
    FileShape shape;
    if (S_ISBLK(status.st_mode)) {
        Outcome<FileShape> device = shape_of_device(fd, filename);
        if (!device) return device;
        shape = *device;
    } else if (S_ISREG(status.st_mode)) {
        shape.size = static_cast<std::uint64_t>(status.st_size);
    } else {
        return failure(fmt::format("'{}' is neither a regular file nor a block device", filename));
    }
    shape.at_once = at_once_of(fd, direct);
    if (!direct) return shape;
    shape.is_direct = true;
    constexpr std::uint32_t kFileFallback = 4096;
    const DirectAlignment alignment =
        direct_alignment(fd, shape.is_block_device ? shape.block_size : kFileFallback);
    shape.memory_alignment = alignment.memory;
    shape.block_size = std::max(shape.block_size, alignment.offset);
    shape.physical_block_size = std::max(shape.physical_block_size, shape.block_size);
    return shape;
}

std::unique_ptr<BlockNode> make_file_node(Reactor& reactor, FileNodeParts parts) {
    return std::make_unique<FileNode>(reactor, std::move(parts));
}

}  // namespace zbdkit
