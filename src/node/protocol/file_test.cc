// SPDX-License-Identifier: Apache-2.0
#include "node/protocol/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>

#include "base/buffer.h"
#include "base/unique_fd.h"
#include "io/blocking_pool.h"
#include "io/uring_engine.h"
#include "tests/support/io/manual_engine.h"

namespace zbdkit {
namespace {

class File : public testing::Test {
  protected:
    void SetUp() override {
        std::string folder = (std::filesystem::temp_directory_path() / "zbdkit-XXXXXX").string();
        ASSERT_NE(::mkdtemp(folder.data()), nullptr);
        folder_ = folder;
        std::ofstream(path()).close();
        std::filesystem::resize_file(path(), kMiB);
    }
    void TearDown() override {
        node_.reset();
        std::filesystem::remove_all(folder_);
    }
    [[nodiscard]] std::string path() const { return (folder_ / "x.img").string(); }

    Outcome<std::unique_ptr<BlockNode>> try_open(const std::string& more) {
        OpenContext context{reactor_, pool_};
        ChildNodes none;
        const std::string text = "filename=" + path() + more;
        const OptionValues options = OptionValues::parse(text, "", "driver 'file'").value();
        return reactor_.run_to_end(kFileDriver.open(context, options, none));
    }
    std::string open(const std::string& more = "") {
        Outcome<std::unique_ptr<BlockNode>> node = try_open(more);
        if (!node) return node.error().message;
        node_ = std::move(*node);
        return "";
    }
    std::optional<Errc> submit(Request request) {
        const Result<void> result = reactor_.run_to_end(node_->submit(request));
        if (result) return std::nullopt;
        return result.error().code;
    }
    std::optional<Errc> write(ByteRange range, std::uint8_t value) {
        AlignedBuffer buffer(range.length);
        std::ranges::fill(buffer.bytes(), std::byte{value});
        const iovec segment = segment_of(buffer.bytes());
        return submit(write_request(range, IoSegments(&segment, 1)));
    }
    std::uint8_t byte_at(std::uint64_t offset) {
        std::array<char, 1> byte{};
        std::ifstream file(path(), std::ios::binary);
        file.seekg(static_cast<std::streamoff>(offset));
        file.read(byte.data(), 1);
        return static_cast<std::uint8_t>(byte[0]);
    }

    Reactor reactor_{make_uring_engine(16).value()};
    BlockingPool pool_{1};
    std::filesystem::path folder_;
    std::unique_ptr<BlockNode> node_;
};

TEST_F(File, buffered_file_takes_any_alignment) {
    ASSERT_EQ(open(), "");
    EXPECT_EQ(node_->info().size, 1048576U);
    EXPECT_EQ(write({7, 3}, 0xaa), std::nullopt);
    EXPECT_EQ(byte_at(6), 0);
    EXPECT_EQ(byte_at(7), 0xaa);
    EXPECT_EQ(byte_at(9), 0xaa);
    EXPECT_EQ(byte_at(10), 0);
}

TEST_F(File, direct_file_takes_memory_of_any_alignment) {
    if (const std::string message = open(",cache.direct=on"); !message.empty()) {
        GTEST_SKIP() << message;
    }
    const std::uint32_t block = node_->info().block_size;
    AlignedBuffer buffer(block + 64);
    std::ranges::fill(buffer.bytes(), std::byte{0x3c});
    std::array<iovec, 2> segments = {segment_of(buffer.bytes().subspan(1, 100)),
                                     segment_of(buffer.bytes().subspan(101, block - 100))};
    EXPECT_EQ(submit(write_request({block, block}, segments)), std::nullopt);
    EXPECT_EQ(byte_at(block), 0x3c);
    std::ranges::fill(buffer.bytes(), std::byte{0});
    EXPECT_EQ(submit(read_request({block, block}, segments)), std::nullopt);
    EXPECT_EQ(buffer.bytes()[1], std::byte{0x3c});
    EXPECT_EQ(buffer.bytes()[block], std::byte{0x3c});
}

TEST_F(File, zeroed_and_discarded_ranges_read_as_zeroes) {
    ASSERT_EQ(open(), "");
    ASSERT_EQ(write({0, 65536}, 0xff), std::nullopt);
    EXPECT_EQ(submit(range_request(Op::write_zeroes, {4096, 8192})), std::nullopt);
    EXPECT_EQ(submit(range_request(Op::discard, {32768, 4096})), std::nullopt);
    EXPECT_EQ(byte_at(4095), 0xff);
    EXPECT_EQ(byte_at(4096), 0);
    EXPECT_EQ(byte_at(12288), 0xff);
    EXPECT_EQ(byte_at(32768), 0);
}

TEST_F(File, mapping_shows_what_is_written_and_writes_through_it) {
    ASSERT_EQ(open(), "");
    Result<NodeMapping> mapping = node_->map({4096, 4096});
    ASSERT_TRUE(mapping.has_value());
    mapping->bytes()[5] = std::byte{0x5a};
    EXPECT_EQ(byte_at(4101), 0x5a);
    ASSERT_EQ(write({4096, 1}, 0x77), std::nullopt);
    EXPECT_EQ(mapping->bytes()[0], std::byte{0x77});
    EXPECT_FALSE(node_->map({kMiB, 4096}).has_value());
}

// A store to the mapping would end the process.
TEST_F(File, mapping_without_space_for_it_is_refused) {
    if (::mount("tmpfs", folder_.c_str(), "tmpfs", 0, "size=16k") != 0) {
        GTEST_SKIP() << "cannot mount a file system of 16 KiB";
    }
    std::ofstream(path()).close();
    std::filesystem::resize_file(path(), kMiB);
    EXPECT_EQ(open(), "");
    const Result<NodeMapping> too_much = node_->map({0, 64 * kKiB});
    EXPECT_FALSE(too_much.has_value());
    if (!too_much) EXPECT_EQ(too_much.error().code, Errc::no_space);
    EXPECT_TRUE(node_->map({0, 4096}).has_value());
    node_.reset();
    EXPECT_EQ(::umount2(folder_.c_str(), MNT_DETACH), 0);
}

TEST_F(File, lock_that_outlives_its_process_is_waited_for_and_then_refused) {
    const UniqueFd inherited(::open(path().c_str(), O_RDWR | O_CLOEXEC));
    const pid_t child = ::fork();
    if (child == 0) ::_exit(::flock(inherited.get(), LOCK_EX));
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0);

    EXPECT_NE(open().find(fmt::format("is in use by process {}:", child)), std::string::npos);
}

TEST_F(File, second_writer_is_refused_and_told_who_has_it) {
    ASSERT_EQ(open(), "");
    const Outcome<std::unique_ptr<BlockNode>> second = try_open("");
    ASSERT_FALSE(second.has_value());
    EXPECT_NE(second.error().message.find("is in use by process"), std::string::npos)
        << second.error().message;
    EXPECT_FALSE(try_open(",read-only=on").has_value());
    EXPECT_TRUE(try_open(",read-only=on,locking=off").has_value());
    EXPECT_TRUE(try_open(",locking=off").has_value());
    node_.reset();
    EXPECT_TRUE(try_open("").has_value());
}

TEST_F(File, closed_node_leaves_the_image_to_others) {
    ASSERT_EQ(open(), "");
    ASSERT_FALSE(try_open("").has_value());
    ASSERT_TRUE(reactor_.run_to_end(node_->close()).has_value());
    EXPECT_TRUE(try_open("").has_value());
}

/// How many descriptors of this process are of that file.
std::size_t open_descriptors(const std::string& path) {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code error;
        if (std::filesystem::read_symlink(entry.path(), error) == path) ++count;
    }
    return count;
}

TEST_F(File, closed_node_lets_go_of_a_claim_of_the_device) {
    ASSERT_EQ(open(), "");
    ASSERT_GT(open_descriptors(path()), 0U);
    ASSERT_TRUE(reactor_.run_to_end(node_->close()).has_value());
    EXPECT_EQ(open_descriptors(path()), 0U);
}

TEST_F(File, lock_goes_with_the_node_while_the_kernel_still_uses_the_file) {
    ASSERT_EQ(open(), "");
    // A mapping keeps the file open, as requests do that io_uring has not put away yet.
    const Result<NodeMapping> mapping = node_->map({0, 4096});
    ASSERT_TRUE(mapping.has_value());
    node_.reset();
    EXPECT_EQ(open(), "");
}

TEST_F(File, several_readers_share_a_file_and_keep_writers_off) {
    ASSERT_EQ(open(",read-only=on"), "");
    EXPECT_TRUE(try_open(",read-only=on").has_value());
    EXPECT_FALSE(try_open("").has_value());
}

TEST_F(File, missing_file_and_folder_are_refused) {
    std::filesystem::remove(path());
    EXPECT_NE(open().find("No such file or directory"), std::string::npos);
    std::filesystem::create_directory(path());
    EXPECT_NE(open(",read-only=on").find("is neither a regular file nor a block device"),
              std::string::npos);
}

// Nobody is at the FIFO's other end, for whom a plain open would wait.
TEST_F(File, fifo_is_refused_without_waiting) {
    std::filesystem::remove(path());
    ASSERT_EQ(::mkfifo(path().c_str(), 0600), 0);
    for (const char* more : {"", ",read-only=on"}) {
        EXPECT_NE(open(more).find("is neither a regular file nor a block device"),
                  std::string::npos);
    }
}

TEST_F(File, read_only_file_refuses_writes) {
    ASSERT_EQ(open(",read-only=on"), "");
    EXPECT_EQ(write({0, 4096}, 1), Errc::read_only);
}

/// With an engine that only records, what is asked of the kernel is seen.
TEST(FileFua, write_with_fua_is_synced_before_it_completes) {
    std::string name = (std::filesystem::temp_directory_path() / "zbdkit-XXXXXX").string();
    UniqueFd(::mkstemp(name.data())).reset();
    std::filesystem::resize_file(name, kMiB);
    auto owned = std::make_unique<test::ManualEngine>();
    test::ManualEngine& engine = *owned;
    Reactor reactor(std::move(owned));
    BlockingPool pool(1);
    OpenContext context{reactor, pool};
    ChildNodes none;
    const OptionValues options = OptionValues::parse("filename=" + name, "", "test").value();
    const std::unique_ptr<BlockNode> node =
        reactor.run_to_end(kFileDriver.open(context, options, none)).value();
    AlignedBuffer buffer(4096);
    const iovec segment = segment_of(buffer.bytes());
    Request request = write_request({0, 4096}, IoSegments(&segment, 1), true);
    TaskScope scope;
    bool done = false;
    constexpr auto drive = [](BlockNode& target, Request& sent, bool* flag) -> Task<void> {
        const Result<void> result = co_await target.submit(sent);
        *flag = result.has_value();
    };
    scope.spawn(drive(*node, request, &done));
    ASSERT_EQ(engine.in_flight.size(), 1U);
    EXPECT_EQ(engine.in_flight[0]->kind, IoKind::write);
    engine.end(*engine.in_flight[0], 4096);
    reactor.turn(false);
    ASSERT_EQ(engine.in_flight.size(), 1U);
    EXPECT_EQ(engine.in_flight[0]->kind, IoKind::sync_data);
    EXPECT_FALSE(done);
    engine.end(*engine.in_flight[0], 0);
    reactor.turn(false);
    EXPECT_TRUE(done);
    std::filesystem::remove(name);
}

}  // namespace
}  // namespace zbdkit
