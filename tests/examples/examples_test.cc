// SPDX-License-Identifier: Apache-2.0
// That the examples of docs/graph.md do what the page says.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "io/blocking_pool.h"
#include "tests/examples/drivers.h"
#include "tests/support/io/manual_engine.h"
#include "tests/support/node/timed_node.h"

namespace zbdkit::examples {
namespace {

class Examples : public testing::Test {
  protected:
    void TearDown() override {
        if (node_) EXPECT_TRUE(reactor_.run_to_end(node_->close()).has_value());
    }

    /// Opens the driver over the present node, and returns the message if that fails.
    std::string open(const DriverInfo& driver, std::string_view options) {
        const OptionValues values = options.empty()
                                        ? OptionValues("test")
                                        : OptionValues::parse(options, "", "test").value();
        ChildNodes children;
        if (!driver.children.empty()) children.push_back(std::move(node_));
        Outcome<std::unique_ptr<BlockNode>> opened =
            reactor_.run_to_end(driver.open(context_, values, children));
        if (!opened) {
            if (!children.empty()) node_ = std::move(children.front());
            return opened.error().message;
        }
        node_ = std::move(*opened);
        return "";
    }
    std::optional<Errc> submit(Request request) {
        const Result<void> result = reactor_.run_to_end(node_->submit(request));
        if (result) return std::nullopt;
        return result.error().code;
    }
    std::optional<Errc> write(std::uint64_t offset, std::uint8_t value) {
        std::ranges::fill(buffer_.bytes(), std::byte{value});
        return submit(write_request({offset, 512}, IoSegments(&segment_, 1)));
    }
    std::optional<Errc> read(std::uint64_t offset) {
        return submit(read_request({offset, 512}, IoSegments(&segment_, 1)));
    }

    Reactor reactor_{std::make_unique<test::ManualEngine>()};
    BlockingPool pool_{1};
    OpenContext context_{reactor_, pool_};
    AlignedBuffer buffer_{512};
    const iovec segment_ = segment_of(buffer_.bytes());
    std::vector<test::TimedNode::Arrival> arrivals_;
    std::unique_ptr<BlockNode> node_;
};

TEST_F(Examples, ram_keeps_what_was_written) {
    ASSERT_EQ(open(kRamDriver, "size=1M"), "");
    EXPECT_EQ(write(4096, 0x11), std::nullopt);
    EXPECT_EQ(read(0), std::nullopt);
    EXPECT_EQ(buffer_.bytes()[0], std::byte{0});
    EXPECT_EQ(read(4096), std::nullopt);
    EXPECT_EQ(buffer_.bytes()[0], std::byte{0x11});
    EXPECT_EQ(submit(range_request(Op::write_zeroes, {4096, 512})), std::nullopt);
    EXPECT_EQ(read(4096), std::nullopt);
    EXPECT_EQ(buffer_.bytes()[0], std::byte{0});
    EXPECT_EQ(submit(flush_request()), std::nullopt);
}

TEST_F(Examples, ram_refuses_what_it_says_it_has_not) {
    ASSERT_EQ(open(kRamDriver, "size=1M"), "");
    EXPECT_EQ(submit(range_request(Op::discard, {0, 512})), Errc::not_supported);
    EXPECT_EQ(write(1048576, 0x11), Errc::out_of_range);
}

TEST_F(Examples, ram_wants_a_size_that_fits) {
    EXPECT_EQ(open(kRamDriver, ""), "test: option 'size' is missing");
    EXPECT_EQ(open(kRamDriver, "size=2G"), "driver 'ram': option 'size': more than 1G");
}

TEST_F(Examples, window_leaves_out_the_start) {
    ASSERT_EQ(open(kRamDriver, "size=1M"), "");
    ASSERT_EQ(write(4096, 0x22), std::nullopt);
    ASSERT_EQ(open(kWindowDriver, "skip=4k"), "");
    EXPECT_EQ(node_->info().size, 1048576U - 4096U);
    EXPECT_EQ(read(0), std::nullopt);
    EXPECT_EQ(buffer_.bytes()[0], std::byte{0x22});
    EXPECT_EQ(write(1048576 - 4096, 0x11), Errc::out_of_range);
    EXPECT_EQ(submit(flush_request()), std::nullopt);
}

TEST_F(Examples, window_refuses_zones_and_a_skip_that_does_not_fit) {
    node_ = std::make_unique<test::TimedNode>(reactor_, arrivals_);
    EXPECT_EQ(open(kWindowDriver, ""), "driver 'window': 'timed' is zoned");
    ASSERT_EQ(open(kRamDriver, "size=64k"), "");
    EXPECT_EQ(open(kWindowDriver, "skip=100"),
              "driver 'window': option 'skip': expected a multiple of 512, up to 65536");
    EXPECT_EQ(open(kWindowDriver, "skip=1M"),
              "driver 'window': option 'skip': expected a multiple of 512, up to 65536");
}

TEST_F(Examples, count_lets_so_many_through_and_keeps_the_zones) {
    node_ = std::make_unique<test::TimedNode>(reactor_, arrivals_);
    ASSERT_EQ(open(kCountDriver, "most=2"), "");
    EXPECT_EQ(node_->info().zones.model, ZoneModel::host_managed);
    EXPECT_EQ(submit(zone_request(Op::zone_open, 0)), std::nullopt);
    EXPECT_EQ(submit(flush_request()), std::nullopt);
    EXPECT_EQ(submit(flush_request()), Errc::io);
    EXPECT_EQ(arrivals_.size(), 2U);
}

}  // namespace
}  // namespace zbdkit::examples
