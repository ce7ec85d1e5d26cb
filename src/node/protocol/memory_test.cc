// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/units.h"
#include "block/request.h"
#include "tests/support/io/uring_reactor.h"

namespace zbdkit {
namespace {

constexpr std::byte kWritten{0x5a};

/// A node whose memory is locked, as all memory of a server of local disks is.
struct LockedMemory : testing::Test {
    LockedMemory() {
        OptionValues options("driver 'memory'");
        options.replace("size", "64K");
        node = std::move(*reactor.run_to_end(kMemoryDriver.open(context, options, children)));
        mapping = std::move(*node->map({0, 64 * kKiB}));
        std::ranges::fill(mapping.bytes(), kWritten);
        // By number: the sanitizers make the functions do nothing.
        is_locked = ::syscall(SYS_mlock, mapping.bytes().data(), mapping.bytes().size()) == 0;
    }

    [[nodiscard]] Result<void> submit(Request request) {
        return reactor.run_to_end(node->submit(request));
    }
    [[nodiscard]] std::size_t count_zeroes(ByteRange range) const {
        const MutableBytes bytes = mapping.bytes().subspan(range.offset, range.length);
        return static_cast<std::size_t>(std::ranges::count(bytes, std::byte{0}));
    }

    test::UringReactor reactor;
    BlockingPool pool{1};
    OpenContext context{reactor, pool};
    ChildNodes children;
    std::unique_ptr<BlockNode> node;
    NodeMapping mapping;
    bool is_locked = false;
};

TEST_F(LockedMemory, write_zeroes_of_pages_and_parts_of_pages_reads_as_zeroes) {
    ASSERT_TRUE(is_locked);
    ASSERT_TRUE(submit(range_request(Op::write_zeroes, {1000, 20000})));
    EXPECT_EQ(count_zeroes({0, 64 * kKiB}), 20000U);
    EXPECT_EQ(count_zeroes({1000, 20000}), 20000U);
}

TEST_F(LockedMemory, discard_is_taken_and_leaves_what_is_around) {
    ASSERT_TRUE(is_locked);
    ASSERT_TRUE(submit(range_request(Op::discard, {4096, 8192})));
    EXPECT_EQ(count_zeroes({0, 4096}), 0U);
    EXPECT_EQ(count_zeroes({12288, 52 * kKiB}), 0U);
}

}  // namespace
}  // namespace zbdkit
