// SPDX-License-Identifier: Apache-2.0
// For tests of the driver 'nbd': nbdkit as the server, a node on it, and requests of one line.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/buffer.h"
#include "io/scope.h"
#include "node/protocol/nbd.h"
#include "tests/support/io/uring_reactor.h"
#include "tests/support/node/nbdkit.h"

namespace zbdkit::test {

/// What a request answered: nothing for success.
using Answer = std::optional<Errc>;
constexpr Answer kOk = std::nullopt;

/// A request of one segment that runs while the test does something else.
struct Pending {
    explicit Pending(std::size_t size) : buffer(size), segment(segment_of(buffer.bytes())) {}

    AlignedBuffer buffer;
    iovec segment;
    Request request;
    bool is_done = false;
    Result<void> result;

    [[nodiscard]] Answer answer() const {
        if (result) return kOk;
        return result.error().code;
    }
};

inline Task<void> drive(BlockNode& node, Pending& pending) {
    pending.result = co_await node.submit(pending.request);
    pending.is_done = true;
}

class Nbd : public testing::Test {
  protected:
    void SetUp() override {
        if (!test::Nbdkit::is_installed()) GTEST_SKIP() << "there is no nbdkit on this host";
    }
    void TearDown() override {
        if (node_ == nullptr) return;
        EXPECT_TRUE(reactor_.run_to_end(node_->close()).has_value());
    }

    Outcome<std::unique_ptr<BlockNode>> try_open(const std::string& options) {
        OpenContext context{reactor_, pool_};
        ChildNodes none;
        const OptionValues values = OptionValues::parse(options, "", "driver 'nbd'").value();
        return reactor_.run_to_end(kNbdDriver.open(context, values, none));
    }
    /// Why it cannot be opened; "" if it can.
    std::string refusal_of(const std::string& options) {
        const Outcome<std::unique_ptr<BlockNode>> node = try_open(options);
        return node ? "" : node.error().message;
    }
    /// Opens the test's own server.
    std::string open(const std::string& more = "") {
        Outcome<std::unique_ptr<BlockNode>> node = try_open("uri=" + server_.uri() + more);
        if (!node) return node.error().message;
        node_ = std::move(*node);
        return "";
    }

    Result<void> submit(Request request) { return reactor_.run_to_end(node_->submit(request)); }
    Answer answer_of(Request request) {
        const Result<void> result = submit(request);
        if (result) return kOk;
        return result.error().code;
    }
    Answer write(ByteRange range, std::uint8_t value, bool fua = false) {
        AlignedBuffer buffer(range.length);
        std::ranges::fill(buffer.bytes(), std::byte{value});
        const iovec segment = segment_of(buffer.bytes());
        return answer_of(write_request(range, IoSegments(&segment, 1), fua));
    }
    /// How many bytes of a range have that value; none if it cannot be read.
    std::size_t count(ByteRange range, std::uint8_t value) {
        AlignedBuffer buffer(range.length);
        const iovec segment = segment_of(buffer.bytes());
        if (!submit(read_request(range, IoSegments(&segment, 1)))) return 0;
        return static_cast<std::size_t>(std::ranges::count(buffer.bytes(), std::byte{value}));
    }
    Answer flush() { return answer_of(flush_request()); }

    void start(Pending& pending, Request request) {
        pending.request = request;
        scope_.spawn(drive(*node_, pending));
    }
    void start_read(Pending& pending, std::uint64_t offset) {
        start(pending,
              read_request({offset, pending.buffer.size()}, IoSegments(&pending.segment, 1)));
    }
    void start_write(Pending& pending, std::uint64_t offset, std::uint8_t value) {
        std::ranges::fill(pending.buffer.bytes(), std::byte{value});
        start(pending,
              write_request({offset, pending.buffer.size()}, IoSegments(&pending.segment, 1)));
    }
    void run_until(const bool& condition) {
        while (!condition) reactor_.turn(true);
    }
    void finish() {
        while (scope_.running() != 0) reactor_.turn(true);
    }

    [[nodiscard]] std::string image() const { return (server_.folder() / "x.img").string(); }
    void make_image(std::uint64_t size) {
        std::ofstream(image()).close();
        std::filesystem::resize_file(image(), size);
    }
    [[nodiscard]] std::string log_of_server() const {
        std::ifstream file(server_.folder() / "requests.log");
        return {std::istreambuf_iterator<char>(file), {}};
    }
    [[nodiscard]] std::string log_option() const {
        return "logfile=" + (server_.folder() / "requests.log").string();
    }

    test::UringReactor reactor_;
    BlockingPool pool_{1};
    test::Nbdkit server_;
    TaskScope scope_;
    std::unique_ptr<BlockNode> node_;
};

inline bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

}  // namespace zbdkit::test
