// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/text.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24  // Linux 5.18
#endif

namespace zbdkit {
namespace {

constexpr std::array kOptions = {
    OptionInfo{"size", "SIZE", "size of the storage"},
};

constexpr std::uint64_t kPageSize = 4096;

/// Anonymous memory that takes up room only where it was written.
class Mapping {
  public:
    Mapping() = default;
    explicit Mapping(MutableBytes bytes) : bytes_(bytes) {}
    Mapping(Mapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    Mapping& operator=(Mapping&&) = delete;
    ~Mapping() {
        if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
    }
    [[nodiscard]] MutableBytes bytes() const { return bytes_; }

  private:
    MutableBytes bytes_;
};

class MemoryNode final : public BlockNode {
  public:
    MemoryNode(Mapping own, MutableBytes memory)
        : BlockNode("memory"), own_(std::move(own)), memory_(memory) {
        set_info({.size = memory.size(),
                  .block_size = 1,
                  .ops = {Op::read, Op::write, Op::write_zeroes, Op::discard, Op::flush},
                  .resident = memory});
    }
    [[nodiscard]] std::string describe() const override {
        return fmt::format("memory of {}", format_size(memory_.size()));
    }
    [[nodiscard]] Result<NodeMapping> map(ByteRange range) override {
        if (!range.is_sane() || range.end() > memory_.size()) {
            return fail(Errc::out_of_range, "beyond the end of the memory");
        }
        return NodeMapping(memory_.subspan(range.offset, range.length), {});
    }

  protected:
    Task<Result<void>> do_submit(Request& request) override {
        const MutableBytes bytes =
            request.op == Op::flush ? MutableBytes{}
                                    : memory_.subspan(request.range.offset, request.range.length);
        switch (request.op) {
            case Op::read: copy_to(request.segments, 0, bytes); break;
            case Op::write: copy_from(request.segments, 0, bytes); break;
            case Op::write_zeroes: zero(bytes); break;
            case Op::discard: forget(bytes); break;
            case Op::flush: break;
            case Op::append:
            case Op::report_zones:
            case Op::zone_open:
            case Op::zone_close:
            case Op::zone_finish:
            case Op::zone_reset:
            case Op::zone_reset_all: co_return fail(Errc::not_supported, "memory has no zones");
        }
        co_return Result<void>{};
    }

  private:
    /// The whole pages in a range of our own mapping.
    [[nodiscard]] MutableBytes pages_in(MutableBytes bytes) const {
        if (own_.bytes().empty()) return {};
        const auto begin = static_cast<std::uint64_t>(bytes.data() - memory_.data());
        const std::uint64_t first = round_up(begin, kPageSize);
        const std::uint64_t last = round_down(begin + bytes.size(), kPageSize);
        return first < last ? memory_.subspan(first, last - first) : MutableBytes{};
    }

    /// Whole pages of our own mapping are given back to the host; the rest is overwritten.
    void zero(MutableBytes bytes) const {
        const MutableBytes pages = pages_in(bytes);
        if (pages.empty()) {
            std::ranges::fill(bytes, std::byte{0});
            return;
        }
        std::fill(bytes.begin(), bytes.begin() + (pages.data() - bytes.data()), std::byte{0});
        const std::byte* const behind = pages.data() + pages.size();
        std::ranges::fill(bytes.subspan(static_cast<std::size_t>(behind - bytes.data())),
                          std::byte{0});
        if (!give_back(pages)) std::ranges::fill(pages, std::byte{0});
    }

    /// Gives pages back to the host; they read as zeroes then. Memory that is locked, as that of a
    /// server of local disks is, has an advice of its own.
    /// @return false if the kernel has no such thing: nothing has changed
    [[nodiscard]] static bool give_back(MutableBytes pages) {
        return ::madvise(pages.data(), pages.size(), MADV_DONTNEED) == 0 ||
               ::madvise(pages.data(), pages.size(), MADV_DONTNEED_LOCKED) == 0;
    }

    /// The host may take whole pages back when it needs memory. Until then they stay, so that
    /// writing to them once more costs neither a fault nor zeroes. What is read there is either.
    void forget(MutableBytes bytes) const {
        const MutableBytes pages = pages_in(bytes);
        if (own_.bytes().empty()) {
            zero(bytes);
        } else if (!pages.empty() && ::madvise(pages.data(), pages.size(), MADV_FREE) != 0) {
            zero(pages);  // locked pages cannot be marked so
        }
    }

    Mapping own_;
    MutableBytes memory_;
};

Task<Outcome<std::unique_ptr<BlockNode>>> open_memory(OpenContext& /*context*/,
                                                      const OptionValues& options,
                                                      ChildNodes& /*children*/) {
    co_await ok(options.required_text("size"));
    const std::uint64_t size = co_await ok(options.size("size", 0));
    if (size == 0) co_return failure("driver 'memory': option 'size' must not be 0");
    void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        co_return failure(fmt::format("driver 'memory': cannot map {}: {}", format_size(size),
                                      std::strerror(errno)),
                          Errc::no_space);
    }
    // Large pages where the host has them: storage that is all over the place misses the TLB less,
    // and fresh storage costs a fault for 2 MiB instead of 4 KiB. Without them all is the same.
    ::madvise(memory, size, MADV_HUGEPAGE);
    const MutableBytes bytes(byte_pointer(memory), size);
    std::unique_ptr<BlockNode> node = std::make_unique<MemoryNode>(Mapping(bytes), bytes);
    co_return node;
}

}  // namespace

std::unique_ptr<BlockNode> make_memory_node(MutableBytes memory) {
    return std::make_unique<MemoryNode>(Mapping(), memory);
}

const DriverInfo kMemoryDriver = {"memory", DriverKind::protocol, "storage in RAM", kOptions,
                                  {},       open_memory};

}  // namespace zbdkit
