// SPDX-License-Identifier: Apache-2.0
// The driver "rbd" on a real cluster, whose configuration ZBDKIT_TEST_CEPH_CONF names
// (tests/ceph/cluster.py run). Each test has an image of its own.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rados/librados.h>
#include <rbd/librbd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/buffer.h"
#include "io/blocking_pool.h"
#include "io/scope.h"
#include "io/uring_engine.h"
#include "node/protocol/rbd.h"
#include "tests/support/node/captured_log.h"

namespace zbdkit {
namespace {

constexpr std::uint64_t kImageSize = 64 * kMiB;
constexpr const char* kFenced = "another client has taken the image over";
/// Attempts at seeing something that another client did; each takes a request's time.
constexpr int kAttempts = 20'000;

std::string conf() {
    const char* const path = std::getenv("ZBDKIT_TEST_CEPH_CONF");
    return path == nullptr ? "" : path;
}

/// Another program with the same cluster, straight through librbd.
class Peer {
  public:
    Peer() {
        EXPECT_EQ(::rados_create(&rados_, nullptr), 0);
        EXPECT_EQ(::rados_conf_read_file(rados_, conf().c_str()), 0);
        EXPECT_EQ(::rados_connect(rados_), 0);
        EXPECT_EQ(::rados_ioctx_create(rados_, "rbd", &io_), 0);
    }
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;
    ~Peer() {
        if (image_ != nullptr) ::rbd_close(image_);
        ::rados_ioctx_destroy(io_);
        ::rados_shutdown(rados_);
    }
    void open(const std::string& name) {
        ASSERT_EQ(::rbd_open(io_, name.c_str(), &image_, nullptr), 0);
    }
    [[nodiscard]] rbd_image_t image() { return image_; }
    [[nodiscard]] rados_ioctx_t io() { return io_; }

  private:
    rados_t rados_ = nullptr;
    rados_ioctx_t io_ = nullptr;
    rbd_image_t image_ = nullptr;
};

class Rbd : public testing::Test {
  protected:
    static void SetUpTestSuite() { ASSERT_NE(conf(), "") << "expected ZBDKIT_TEST_CEPH_CONF"; }
    void SetUp() override {
        image_ = testing::UnitTest::GetInstance()->current_test_info()->name();
        create(image_, kImageSize);
    }
    void TearDown() override {
        if (node_) close(std::move(node_));
    }

    OptionValues options(const std::string& image, const std::string& more) {
        const std::string text = fmt::format("pool=rbd,image={},conf={}{}", image, conf(), more);
        return OptionValues::parse(text, "", "driver 'rbd'").value();
    }
    Outcome<bool> try_create(const std::string& image, std::uint64_t size) {
        const OptionValues values = options(image, "");
        return reactor_.run_to_end(kRbdDriver.create(context_, values, size));
    }
    void create(const std::string& image, std::uint64_t size) {
        const Outcome<bool> created = try_create(image, size);
        ASSERT_TRUE(created) << created.error().message;
        ASSERT_TRUE(*created);
    }
    Outcome<std::unique_ptr<BlockNode>> try_open(const std::string& image,
                                                 const std::string& more = "") {
        ChildNodes none;
        const OptionValues values = options(image, more);
        return reactor_.run_to_end(kRbdDriver.open(context_, values, none));
    }
    std::unique_ptr<BlockNode> opened(const std::string& image, const std::string& more = "") {
        Outcome<std::unique_ptr<BlockNode>> node = try_open(image, more);
        EXPECT_TRUE(node) << node.error().message;
        return node ? std::move(*node) : nullptr;
    }
    void open(const std::string& more = "") {
        node_ = opened(image_, more);
        ASSERT_NE(node_, nullptr);
    }
    std::string refusal(const std::string& image, const std::string& more) {
        Outcome<std::unique_ptr<BlockNode>> node = try_open(image, more);
        if (!node) return node.error().message;
        close(std::move(*node));
        return "opened";
    }
    void close(std::unique_ptr<BlockNode> node) {
        const Outcome<void> closed = reactor_.run_to_end(node->close());
        EXPECT_TRUE(closed) << closed.error().message;
    }

    Result<void> submit(BlockNode& node, Request request) {
        return reactor_.run_to_end(node.submit(request));
    }
    Result<void> write(BlockNode& node, ByteRange range, std::uint8_t value) {
        AlignedBuffer buffer(range.length);
        std::ranges::fill(buffer.bytes(), std::byte{value});
        const iovec segment = segment_of(buffer.bytes());
        return submit(node, write_request(range, IoSegments(&segment, 1)));
    }
    void fill(ByteRange range, std::uint8_t value) {
        const Result<void> written = write(*node_, range, value);
        ASSERT_TRUE(written) << zbdkit::describe(written.error());
    }
    Result<void> read(BlockNode& node, ByteRange range) {
        AlignedBuffer buffer(range.length);
        const iovec segment = segment_of(buffer.bytes());
        return submit(node, read_request(range, IoSegments(&segment, 1)));
    }
    /// Whether the whole range has that value; a read that fails says so.
    bool holds(ByteRange range, std::uint8_t value) {
        AlignedBuffer buffer(range.length);
        const iovec segment = segment_of(buffer.bytes());
        const Result<void> got = submit(*node_, read_request(range, IoSegments(&segment, 1)));
        EXPECT_TRUE(got) << zbdkit::describe(got.error());
        return std::ranges::all_of(buffer.bytes(),
                                   [value](std::byte byte) { return byte == std::byte{value}; });
    }
    Task<void> write_one(ByteRange range, std::uint8_t value, int* succeeded) {
        AlignedBuffer buffer(range.length);
        std::ranges::fill(buffer.bytes(), std::byte{value});
        const iovec segment = segment_of(buffer.bytes());
        Request request = write_request(range, IoSegments(&segment, 1));
        const Result<void> written = co_await node_->submit(request);
        if (written) ++*succeeded;
    }
    Task<void> write_many(int count, int* succeeded) {
        TaskScope scope;
        for (int i = 0; i < count; ++i) {
            const ByteRange range{static_cast<std::uint64_t>(i) * 4096, 4096};
            scope.spawn(write_one(range, static_cast<std::uint8_t>(i), succeeded));
        }
        co_await scope.join();
    }
    /// Whether the log has a text, at once or while the reactor runs for some more requests.
    bool appears_in(const test::CapturedLog& log, const std::string& text) {
        for (int i = 0; i < kAttempts; ++i) {
            if (log.text().find(text) != std::string::npos) return true;
            EXPECT_TRUE(read(*node_, {0, 512}));
        }
        return false;
    }
    /// Repeats a write until it fails.
    std::string text_of_first_failed_write(ByteRange range) {
        for (int i = 0; i < kAttempts; ++i) {
            const Result<void> written = write(*node_, range, 1);
            if (!written) return written.error().text;
        }
        return "no write failed";
    }

    Reactor reactor_{make_uring_engine(64).value()};
    BlockingPool pool_{2};
    OpenContext context_{reactor_, pool_};
    std::string image_;
    std::unique_ptr<BlockNode> node_;
};

// --- What the node is ---------------------------------------------------------------------------

TEST_F(Rbd, OpenImage_SaysWhatItIs) {
    open();

    EXPECT_EQ(node_->info().size, 67'108'864U);
    EXPECT_EQ(node_->info().block_size, 512U);
    EXPECT_EQ(node_->info().physical_block_size, 4096U);
    EXPECT_FALSE(node_->info().read_only);
    EXPECT_TRUE(node_->info().durable_on_completion);
    EXPECT_EQ(node_->describe(), "rbd:rbd/OpenImage_SaysWhatItIs");
}

TEST_F(Rbd, PartOfABlockAtTheEnd_IsLeftOut) {
    create("odd-size", 1'000'000);
    node_ = opened("odd-size");

    EXPECT_EQ(node_->info().size, 999'936U);
    EXPECT_TRUE(write(*node_, {999'424, 512}, 1));
}

TEST_F(Rbd, CacheAskedForByTheImage_IsNotDurableUnflushed) {
    {
        Peer peer;
        peer.open(image_);
        ASSERT_EQ(::rbd_metadata_set(peer.image(), "conf_rbd_cache", "true"), 0);
    }

    open();

    EXPECT_FALSE(node_->info().durable_on_completion);
    AlignedBuffer buffer(4096);
    const iovec segment = segment_of(buffer.bytes());
    EXPECT_TRUE(submit(*node_, write_request({0, 4096}, IoSegments(&segment, 1), true)));
}

TEST_F(Rbd, ImageThatExists_IsNotCreatedAgain) {
    const Outcome<bool> created = try_create(image_, kMiB);

    ASSERT_TRUE(created) << created.error().message;
    EXPECT_FALSE(*created);
    open();
    EXPECT_EQ(node_->info().size, kImageSize);
}

TEST_F(Rbd, MissingPoolImageOrSnapshot_IsNamed) {
    EXPECT_EQ(refusal("nothing", ""),
              "'rbd:rbd/nothing': there is no image 'nothing' in pool 'rbd'");
    EXPECT_EQ(refusal("nothing", ",namespace=n"),
              "'rbd:rbd/n/nothing': there is no image 'nothing' in namespace 'n' of pool 'rbd'");
    EXPECT_EQ(refusal("nothing", ",snapshot=s"),
              "'rbd:rbd/nothing@s': there is no image 'nothing' with snapshot 's' in pool 'rbd'");
    const OptionValues values =
        OptionValues::parse("pool=nowhere,image=i,conf=" + conf(), "", "driver 'rbd'").value();
    ChildNodes none;
    const auto node = reactor_.run_to_end(kRbdDriver.open(context_, values, none));
    ASSERT_FALSE(node);
    EXPECT_EQ(node.error().message, "'rbd:nowhere/i': the cluster has no pool 'nowhere'");
}

TEST_F(Rbd, TimeoutsThatAreNone_AreRefused) {
    EXPECT_EQ(refusal(image_, ",connect-timeout=0"),
              "driver 'rbd': option 'connect-timeout' must not be 0: expected seconds");
    EXPECT_NE(refusal(image_, ",op-timeout=-1"), "opened");
    EXPECT_NE(refusal(image_, ",op-timeout=86401"), "opened");
}

TEST_F(Rbd, ImageWithoutLock_IsRefusedForWritingOnly) {
    Peer peer;
    int order = 0;
    ASSERT_EQ(::rbd_create2(peer.io(), "no-lock", kMiB, RBD_FEATURE_LAYERING, &order), 0);

    EXPECT_EQ(refusal("no-lock", ""),
              "'rbd:rbd/no-lock': the image has no exclusive lock, so nothing would keep other "
              "writers off it: rbd feature enable rbd/no-lock exclusive-lock");
    EXPECT_EQ(refusal("no-lock", ",read-only=on"), "opened");
}

// --- Requests -----------------------------------------------------------------------------------

TEST_F(Rbd, WriteOfSegments_IsReadBackInOthers) {
    open();
    std::vector<std::byte> data(1536);
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i % 251);
    const MutableBytes bytes(data);
    const std::array out = {segment_of(bytes.subspan(0, 7)), segment_of(bytes.subspan(7, 1000)),
                            segment_of(bytes.subspan(1007))};
    std::vector<std::byte> got(1536);
    const MutableBytes room(got);
    const std::array in = {segment_of(room.subspan(0, 600)), segment_of(room.subspan(600))};

    ASSERT_TRUE(submit(*node_, write_request({4'193'792, 1536}, out)));
    ASSERT_TRUE(submit(*node_, read_request({4'193'792, 1536}, in)));

    EXPECT_EQ(got, data);
}

TEST_F(Rbd, ManyWritesAtOnce_AllEnd) {
    open();
    int succeeded = 0;

    reactor_.run_to_end(write_many(1000, &succeeded));

    EXPECT_EQ(succeeded, 1000);
    EXPECT_TRUE(holds({4096ULL * 999, 4096}, 231));
}

TEST_F(Rbd, RequestsOfNoBytes_Succeed) {
    open();

    EXPECT_TRUE(submit(*node_, read_request({kImageSize, 0}, {})));
    EXPECT_TRUE(submit(*node_, write_request({0, 0}, {}, true)));
    EXPECT_TRUE(submit(*node_, range_request(Op::write_zeroes, {512, 0})));
    EXPECT_TRUE(submit(*node_, range_request(Op::discard, {512, 0})));
}

TEST_F(Rbd, UnalignedZeroes_AreExact) {
    open();
    fill({0, 262'144}, 7);

    ASSERT_TRUE(submit(*node_, range_request(Op::write_zeroes, {512, 100'352})));

    EXPECT_TRUE(holds({0, 512}, 7));
    EXPECT_TRUE(holds({512, 100'352}, 0));
    EXPECT_TRUE(holds({100'864, 161'280}, 7));
}

TEST_F(Rbd, ZeroesAfterAnUnalignedDiscard_AreZeroes) {
    open();
    fill({0, 262'144}, 7);

    ASSERT_TRUE(submit(*node_, range_request(Op::discard, {512, 1024})));
    ASSERT_TRUE(submit(*node_, range_request(Op::write_zeroes, {512, 1024})));

    EXPECT_TRUE(holds({512, 1024}, 0));
    EXPECT_TRUE(holds({1536, 4096}, 7));
}

TEST_F(Rbd, Discard_LeavesWhatIsAround) {
    open();
    fill({0, 12 * kMiB}, 7);

    ASSERT_TRUE(submit(*node_, range_request(Op::discard, {512, 8 * kMiB})));

    EXPECT_TRUE(holds({0, 512}, 7));
    EXPECT_TRUE(holds({4 * kMiB, 4 * kMiB}, 0));  // a whole object went
    EXPECT_TRUE(holds({8 * kMiB + 512, 4 * kMiB - 512}, 7));
}

TEST_F(Rbd, ZeroesOfMoreThanOneCall_AreComplete) {
    create("large", 3 * kGiB);
    node_ = opened("large");
    fill({kGiB - 512, 1024}, 7);
    fill({3 * kGiB - 512, 512}, 7);

    ASSERT_TRUE(submit(*node_, range_request(Op::write_zeroes, {512, 3 * kGiB - 512})));

    EXPECT_TRUE(holds({kGiB - 512, 1024}, 0));
    EXPECT_TRUE(holds({3 * kGiB - 512, 512}, 0));
}

TEST_F(Rbd, RequestsAcrossTheEnd_AreRefusedAsAWhole) {
    open();
    fill({kImageSize - 512, 512}, 7);

    const Result<void> across = write(*node_, {kImageSize - 512, 1024}, 9);
    const Result<void> behind = write(*node_, {kImageSize, 512}, 9);

    ASSERT_FALSE(across);
    EXPECT_EQ(across.error().code, Errc::out_of_range);
    ASSERT_FALSE(behind);
    EXPECT_EQ(behind.error().code, Errc::out_of_range);
    EXPECT_TRUE(holds({kImageSize - 512, 512}, 7));
}

TEST_F(Rbd, DurableWriteAndFlush_Succeed) {
    open();
    AlignedBuffer buffer(4096);
    const iovec segment = segment_of(buffer.bytes());

    EXPECT_TRUE(submit(*node_, write_request({0, 4096}, IoSegments(&segment, 1), true)));
    EXPECT_TRUE(submit(*node_, flush_request()));
}

TEST_F(Rbd, ZonedRequest_IsRefused) {
    open();

    const Result<void> result = submit(*node_, zone_request(Op::zone_reset, 0));

    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Errc::not_supported);
}

// --- Readers ------------------------------------------------------------------------------------

TEST_F(Rbd, Reader_OpensBesideAWriterAndCannotWrite) {
    open();
    fill({0, 512}, 7);
    std::unique_ptr<BlockNode> writer = std::exchange(node_, opened(image_, ",read-only=on"));

    const Result<void> written = write(*node_, {0, 512}, 9);

    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().code, Errc::read_only);
    EXPECT_TRUE(holds({0, 512}, 7));
    close(std::move(writer));
}

TEST_F(Rbd, Snapshot_HoldsWhatWasThere) {
    open();
    fill({0, 4096}, 7);
    Peer peer;
    peer.open(image_);
    ASSERT_EQ(::rbd_snap_create(peer.image(), "before"), 0);
    fill({0, 4096}, 9);
    std::unique_ptr<BlockNode> writer = std::exchange(node_, opened(image_, ",snapshot=before"));

    EXPECT_TRUE(node_->info().read_only);
    EXPECT_TRUE(holds({0, 4096}, 7));
    close(std::move(writer));
}

// --- The lock -----------------------------------------------------------------------------------

TEST_F(Rbd, SecondWriter_IsRefusedAndHearsByWhom) {
    open();

    const std::string message = refusal(image_, ",own-connection=on");

    EXPECT_TRUE(
        message.starts_with("'rbd:rbd/SecondWriter_IsRefusedAndHearsByWhom': in use by the "
                            "client at 127.0.0.1:"))
        << message;
    EXPECT_NE(message.find("force-takeover=on"), std::string::npos) << message;
    EXPECT_TRUE(write(*node_, {0, 512}, 1));
}

TEST_F(Rbd, SecondWriterOfTheSameClient_IsRefused) {
    open();

    constexpr const char* kMessage =
        "'rbd:rbd/SecondWriterOfTheSameClient_IsRefused': this process has the image open for "
        "writing already";
    EXPECT_EQ(refusal(image_, ""), kMessage);
    EXPECT_EQ(refusal(image_, ",force-takeover=on"), kMessage);
    EXPECT_TRUE(write(*node_, {0, 512}, 1));
}

TEST_F(Rbd, WriterThatTakesTheLockByItself_KeepsIt) {
    Peer peer;
    peer.open(image_);
    ASSERT_EQ(::rbd_write(peer.image(), 0, 5, "hello"), 5);

    EXPECT_NE(refusal(image_, ""), "opened");

    EXPECT_EQ(::rbd_write(peer.image(), 0, 5, "hello"), 5);
}

TEST_F(Rbd, ClosedWriter_LetsTheNextOneIn) {
    open();
    close(std::move(node_));

    EXPECT_EQ(refusal(image_, ",own-connection=on"), "opened");
}

TEST_F(Rbd, Takeover_CutsTheOldWriterOff) {
    const test::CapturedLog log;
    std::unique_ptr<BlockNode> old = opened(image_, ",own-connection=on");
    ASSERT_TRUE(write(*old, {0, 4096}, 7));

    open(",own-connection=on,force-takeover=on");

    const Result<void> first = write(*old, {0, 4096}, 9);
    const Result<void> second = write(*old, {0, 4096}, 9);
    const Result<void> reading = read(*old, {0, 4096});
    const Result<void> flushing = submit(*old, flush_request());
    ASSERT_FALSE(first || second || reading || flushing);
    EXPECT_EQ(first.error().code, Errc::io);
    EXPECT_STREQ(first.error().text, kFenced);
    EXPECT_STREQ(second.error().text, kFenced);
    EXPECT_STREQ(reading.error().text, kFenced);
    EXPECT_STREQ(flushing.error().text, kFenced);
    EXPECT_TRUE(appears_in(log, "now in use by the client at 127.0.0.1:"));
    close(std::move(old));
    EXPECT_TRUE(holds({0, 4096}, 7));
    EXPECT_TRUE(write(*node_, {0, 4096}, 8));
}

TEST_F(Rbd, TakeoverOfWhatIsFree_IsAnOpen) {
    EXPECT_EQ(refusal(image_, ",force-takeover=on"), "opened");
}

TEST_F(Rbd, ClientThatWasCutOff_IsNotSharedAgain) {
    create("other", kMiB);
    std::unique_ptr<BlockNode> old = opened(image_);
    open(",own-connection=on,force-takeover=on");
    ASSERT_FALSE(write(*old, {0, 512}, 1));

    std::unique_ptr<BlockNode> next = opened("other");

    ASSERT_NE(next, nullptr);
    EXPECT_TRUE(write(*next, {0, 512}, 1));
    close(std::move(next));
    close(std::move(old));
}

TEST_F(Rbd, ClientThatWasCutOffUnawares_IsReplacedAtTheNextOpen) {
    create("another", kMiB);
    std::unique_ptr<BlockNode> old = opened(image_);
    open(",own-connection=on,force-takeover=on");

    std::unique_ptr<BlockNode> next = opened("another");

    ASSERT_NE(next, nullptr);
    EXPECT_TRUE(write(*next, {0, 512}, 1));
    close(std::move(next));
    close(std::move(old));
}

// --- Changes from outside -----------------------------------------------------------------------

TEST_F(Rbd, ImageMadeSmaller_FailsWhatIsBeyond) {
    open();
    Peer peer;
    peer.open(image_);

    ASSERT_EQ(::rbd_resize(peer.image(), 32 * kMiB), 0);

    // Across the new end, where librbd would take the write for done.
    EXPECT_EQ(text_of_first_failed_write({32 * kMiB - 512, 1024}),
              "the image was made smaller: this range is gone");
    EXPECT_EQ(node_->info().size, 67'108'864U);
    EXPECT_TRUE(write(*node_, {0, 512}, 1));
    EXPECT_FALSE(submit(*node_, range_request(Op::write_zeroes, {32 * kMiB, 512})));
    EXPECT_FALSE(read(*node_, {48 * kMiB, 512}));
}

TEST_F(Rbd, ImageMadeLarger_KeepsTheDiskAsItIs) {
    const test::CapturedLog log;
    open();
    Peer peer;
    peer.open(image_);

    ASSERT_EQ(::rbd_resize(peer.image(), 128 * kMiB), 0);

    EXPECT_TRUE(appears_in(log, "resized by somebody, from 64 MiB to 128 MiB"));
    EXPECT_EQ(node_->info().size, 67'108'864U);
    EXPECT_FALSE(write(*node_, {64 * kMiB, 512}, 1));
}

}  // namespace
}  // namespace zbdkit
